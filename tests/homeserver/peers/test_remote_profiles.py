"""Profiles of other servers' users are asked for once in a while, and shown as they were when nobody answers."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tricord.federation.client import FederationClient
from tricord.federation.errors import PeerError, PeerRefused, PeerUnreachable
from tricord.federation.peers import Peers
from tricord.federation.transport import NoNetwork
from tricord.homeserver.peers.remote_profiles import RemoteProfiles
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import ServerName, UserId
from tricord.protocol.signing import SigningKey
from tricord.protocol.strict_json import JsonObject

BOB = UserId("@bob:far.test")
FAR = ServerName("far.test")


class OnePeer(Peers):
    """A server that says what it is told to."""

    def __init__(self) -> None:
        super().__init__(FederationClient(NoNetwork(), ServerName("near.test"), SigningKey.generate()))
        self.answer: JsonObject | PeerError = {"displayname": "Bob"}
        self.asked = 0

    async def query_profile(
        self,
        destination: ServerName,  # noqa: ARG002
        user_id: UserId,  # noqa: ARG002
        field: str | None = None,  # noqa: ARG002
    ) -> JsonObject:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        if isinstance(self.answer, PeerError):
            raise self.answer
        return self.answer


@pytest.fixture
def peer() -> OnePeer:
    """The server of bob."""
    return OnePeer()


@pytest.fixture
def profiles(peer: OnePeer) -> RemoteProfiles:
    """What is remembered."""
    return RemoteProfiles(peer)


async def test_a_profile_is_asked_for_once_in_a_while(
    peer: OnePeer, profiles: RemoteProfiles, mock_clock: MockClock
) -> None:
    assert await profiles.profile(BOB) == {"displayname": "Bob"}
    peer.answer = {"displayname": "Robert"}
    assert await profiles.profile(BOB) == {"displayname": "Bob"}
    assert peer.asked == 1
    mock_clock.jump(301)
    assert await profiles.profile(BOB) == {"displayname": "Robert"}
    assert peer.asked == 2


async def test_many_who_ask_at_once_are_one_request(peer: OnePeer, profiles: RemoteProfiles) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(profiles.profile, BOB)
    assert peer.asked == 1


@pytest.mark.parametrize("error", [PeerUnreachable(FAR, "away"), PeerRefused(FAR, 429, {}), PeerRefused(FAR, 500, {})])
async def test_where_nobody_answers_the_profile_of_before_is_shown_for_a_day(
    peer: OnePeer, profiles: RemoteProfiles, mock_clock: MockClock, error: PeerError
) -> None:
    await profiles.profile(BOB)
    peer.answer = error
    mock_clock.jump(3600)
    assert await profiles.profile(BOB) == {"displayname": "Bob"}
    mock_clock.jump(24 * 3600)
    with pytest.raises(NotFound):
        await profiles.profile(BOB)


async def test_that_there_is_none_is_remembered_for_a_minute(
    peer: OnePeer, profiles: RemoteProfiles, mock_clock: MockClock
) -> None:
    peer.answer = PeerRefused(FAR, 404, {"errcode": "M_NOT_FOUND"})
    for _ in range(3):
        with pytest.raises(NotFound):
            await profiles.profile(BOB)
    assert peer.asked == 1
    peer.answer = {"displayname": "Bob"}
    mock_clock.jump(61)
    assert await profiles.profile(BOB) == {"displayname": "Bob"}


async def test_what_is_remembered_has_a_bound(peer: OnePeer, profiles: RemoteProfiles) -> None:
    peer.answer = {"displayname": "x" * 60_000}
    for number in range(400):
        await profiles.profile(UserId(f"@user{number}:far.test"))
    assert peer.asked == 400
    await profiles.profile(UserId("@user399:far.test"))
    assert peer.asked == 400
    await profiles.profile(UserId("@user0:far.test"))
    assert peer.asked == 401


async def test_a_profile_that_is_too_large_is_not_kept(peer: OnePeer, profiles: RemoteProfiles) -> None:
    peer.answer = {"displayname": "x" * 70_000}
    await profiles.profile(BOB)
    await profiles.profile(BOB)
    assert peer.asked == 2
