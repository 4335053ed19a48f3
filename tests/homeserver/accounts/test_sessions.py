"""Sessions begin, are refreshed, and end; and tokens open them only in between."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.homeserver.accounts.conftest import SetClock
from tricord.homeserver.accounts.deactivation import Deactivation
from tricord.homeserver.accounts.login import LoginTokens
from tricord.homeserver.accounts.password_change import PasswordChange
from tricord.homeserver.accounts.requesters import Requesters
from tricord.homeserver.accounts.revocations import Revocations
from tricord.homeserver.accounts.sessions import Sessions
from tricord.homeserver.accounts.settings import LoginSettings
from tricord.homeserver.accounts.sightings import Sightings
from tricord.homeserver.accounts.tokens import token_hash
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.storage.accounts import set_locked
from tricord.homeserver.storage.database import Database, open_database
from tricord.homeserver.storage.devices import devices_of
from tricord.protocol.errors import Forbidden, InvalidParam, UnknownToken, UserDeactivated, UserLocked
from tricord.protocol.identifiers import DeviceId, UserId


@pytest.fixture
def sightings(database: Database, clock: SetClock) -> Sightings:
    return Sightings(database, clock)


@pytest.fixture
def requesters(database: Database, revocations: Revocations, sightings: Sightings, clock: SetClock) -> Requesters:
    return Requesters(database, revocations, sightings, clock)


async def who(requesters: Requesters, token: str | None) -> Requester:
    return await requesters.authenticate(token or "", client_address="192.0.2.1", user_agent="tests")


async def refused(requesters: Requesters, token: str | None) -> UnknownToken:
    with pytest.raises(UnknownToken) as refusal:
        await who(requesters, token)
    return refusal.value


async def test_a_token_names_its_user_and_device(sessions: Sessions, requesters: Requesters, alice: UserId) -> None:
    session = await sessions.start(alice, device_id="PHONE", device_name="Phone")
    assert session.tokens.access_token.startswith("trc_")
    assert session.tokens.expires_in_ms is None
    for _ in range(2):
        requester = await who(requesters, session.tokens.access_token)
        assert (requester.user_id, requester.device_id) == (alice, "PHONE")


async def test_whose_token_it_is_is_forgotten_once_it_would_be_looked_up_again(
    sessions: Sessions, requesters: Requesters, alice: UserId, mock_clock: MockClock
) -> None:
    one, other = [(await sessions.start(alice)).tokens.access_token for _ in range(2)]
    await who(requesters, one)
    mock_clock.jump(59)
    await who(requesters, other)
    mock_clock.jump(2)
    requesters.let_go()
    assert list(requesters._entries) == [token_hash(other)]
    for token in (one, other):
        assert (await who(requesters, token)).user_id == alice


async def test_no_token_is_in_the_database(sessions: Sessions, database: Database, alice: UserId) -> None:
    session = await sessions.start(alice, refreshable=True)
    async with database.transaction() as tx:
        rows = await tx.fetch("SELECT access_token_hash, refresh_token_hash FROM token_pairs")
    assert [tuple(row) for row in rows] == [
        (token_hash(session.tokens.access_token), token_hash(session.tokens.refresh_token or ""))
    ]


@pytest.mark.parametrize("token", ["", "trc_nonsense", "\0", "é" * 1000])
async def test_an_unknown_token_opens_nothing(requesters: Requesters, token: str) -> None:
    assert "soft_logout" not in (await refused(requesters, token)).extra


async def test_signing_in_again_on_a_device_ends_its_earlier_session(
    sessions: Sessions, requesters: Requesters, revocations: Revocations, alice: UserId
) -> None:
    ended: list[frozenset[int]] = []
    revocations.on_revoked(ended.append)
    first = await sessions.start(alice, device_id="PHONE", device_name="Phone")
    session_id = (await who(requesters, first.tokens.access_token)).session_id
    second = await sessions.start(alice, device_id="PHONE", device_name="Other name")
    await refused(requesters, first.tokens.access_token)
    assert await who(requesters, second.tokens.access_token)
    assert ended == [frozenset({session_id})]


async def test_signing_out_ends_the_session_and_forgets_the_device(
    sessions: Sessions, requesters: Requesters, database: Database, alice: UserId
) -> None:
    phone = await sessions.start(alice, device_id="PHONE")
    desk = await sessions.start(alice, device_id="DESK")
    await who(requesters, phone.tokens.access_token)
    await sessions.end(alice, [DeviceId("PHONE")])
    await refused(requesters, phone.tokens.access_token)
    assert await who(requesters, desk.tokens.access_token)
    assert [device.device_id for device in await database.read(devices_of, alice)] == ["DESK"]
    await sessions.end_all(alice)
    await refused(requesters, desk.tokens.access_token)


async def test_another_process_hears_of_the_end_of_a_session(
    sessions: Sessions, database_url: str, clock: SetClock, alice: UserId
) -> None:
    session = await sessions.start(alice)
    async with open_database(database_url) as other, trio.open_nursery() as nursery:
        revocations = Revocations(other)
        requesters = Requesters(other, revocations, Sightings(other, clock), clock)
        heard = trio.Event()
        revocations.on_revoked(lambda _: heard.set())
        await nursery.start(other.run_listeners)
        await who(requesters, session.tokens.access_token)
        await sessions.end_all(alice)
        with trio.fail_after(60):
            await heard.wait()
        await refused(requesters, session.tokens.access_token)
        nursery.cancel_scope.cancel()


async def test_another_process_hears_of_the_end_of_a_session_that_was_asked_for_in_it(
    sessions: Sessions, revocations: Revocations, database_url: str, alice: UserId
) -> None:
    await sessions.start(alice)
    async with open_database(database_url) as other, trio.open_nursery() as nursery:
        heard = trio.Event()
        Revocations(other).on_revoked(lambda _: heard.set())
        await nursery.start(other.run_listeners)
        with trio.CancelScope() as request:
            # As whatever comes over a WebSocket ends with its session.
            revocations.on_revoked(lambda _: request.cancel())
            await sessions.end_all(alice)
        with trio.fail_after(60):
            await heard.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("by", ["the new access token", "the new refresh token"])
async def test_another_process_hears_that_tokens_have_given_way_to_newer_ones(
    database_url: str, sessions: Sessions, requesters: Requesters, clock: SetClock, alice: UserId, by: str
) -> None:
    old = (await sessions.start(alice, refreshable=True)).tokens
    async with open_database(database_url) as other, trio.open_nursery() as nursery:
        revocations = Revocations(other)
        heard = trio.Event()
        there = Requesters(other, revocations, Sightings(other, clock), clock)
        revocations.on_replaced(lambda _session: heard.set())
        await nursery.start(other.run_listeners)
        await who(there, old.access_token)
        new = await sessions.refresh(old.refresh_token or "")
        await who(there, old.access_token)
        if by == "the new access token":
            await who(requesters, new.access_token)
        else:
            await sessions.refresh(new.refresh_token or "")
        with trio.fail_after(60):
            await heard.wait()
        await refused(there, old.access_token)
        await who(there, new.access_token)
        nursery.cancel_scope.cancel()


async def test_an_expired_token_can_be_refreshed(
    sessions: Sessions, requesters: Requesters, clock: SetClock, alice: UserId
) -> None:
    tokens = (await sessions.start(alice, device_id="PHONE", refreshable=True)).tokens
    assert tokens.expires_in_ms == 3_600_000
    await who(requesters, tokens.access_token)
    clock.advance(3600)
    assert (await refused(requesters, tokens.access_token)).extra == {"soft_logout": True}
    fresh = await sessions.refresh(tokens.refresh_token or "")
    assert (await who(requesters, fresh.access_token)).device_id == "PHONE"


async def test_the_old_tokens_live_until_the_new_ones_are_used(
    sessions: Sessions, requesters: Requesters, alice: UserId
) -> None:
    old = (await sessions.start(alice, refreshable=True)).tokens
    await who(requesters, old.access_token)
    lost = await sessions.refresh(old.refresh_token or "")
    kept = await sessions.refresh(old.refresh_token or "")
    await who(requesters, old.access_token)
    await refused(requesters, lost.access_token)
    await who(requesters, kept.access_token)
    await refused(requesters, old.access_token)
    with pytest.raises(UnknownToken):
        await sessions.refresh(old.refresh_token or "")


async def test_using_the_new_refresh_token_ends_the_old_tokens(sessions: Sessions, alice: UserId) -> None:
    old = (await sessions.start(alice, refreshable=True)).tokens
    new = await sessions.refresh(old.refresh_token or "")
    newest = await sessions.refresh(new.refresh_token or "")
    with pytest.raises(UnknownToken):
        await sessions.refresh(old.refresh_token or "")
    assert await sessions.refresh(newest.refresh_token or "")


async def test_of_parallel_refreshes_one_pair_stays(sessions: Sessions, database: Database, alice: UserId) -> None:
    old = (await sessions.start(alice, refreshable=True)).tokens
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(sessions.refresh, old.refresh_token or "")
    async with database.transaction() as tx:
        assert await tx.fetchval("SELECT count(*) FROM token_pairs") == 2


async def test_a_refresh_token_may_expire(
    database: Database, revocations: Revocations, clock: SetClock, alice: UserId
) -> None:
    sessions = Sessions(database, revocations, clock, LoginSettings(refresh_token_lifetime=7200))
    tokens = (await sessions.start(alice, refreshable=True)).tokens
    clock.advance(7200)
    with pytest.raises(UnknownToken) as refusal:
        await sessions.refresh(tokens.refresh_token or "")
    assert refusal.value.extra == {"soft_logout": True}


async def test_a_deactivated_user_gets_no_session_whatever_the_way(
    sessions: Sessions,
    requesters: Requesters,
    login_tokens: LoginTokens,
    deactivation: Deactivation,
    database: Database,
    alice: UserId,
) -> None:
    tokens = (await sessions.start(alice, refreshable=True)).tokens
    login_token = await login_tokens.make(alice)
    await who(requesters, tokens.access_token)
    await deactivation.deactivate(alice)
    with pytest.raises(UserDeactivated):
        await sessions.start(alice)
    with pytest.raises(UnknownToken):
        await sessions.refresh(tokens.refresh_token or "")
    with pytest.raises(Forbidden):
        await login_tokens.take(login_token)
    await refused(requesters, tokens.access_token)
    async with database.transaction() as tx:
        assert await tx.fetchval("SELECT count(*) FROM sessions") == 0


async def test_a_locked_user_keeps_the_session_for_later(
    sessions: Sessions, requesters: Requesters, database: Database, alice: UserId
) -> None:
    token = (await sessions.start(alice)).tokens.access_token
    await database.run(set_locked, alice, locked=True)
    with pytest.raises(UserLocked):
        await who(requesters, token)
    with pytest.raises(UserLocked):
        await sessions.start(alice)
    await database.run(set_locked, alice, locked=False)
    assert await who(requesters, token)


async def test_a_new_password_signs_out_all_but_the_device_that_asked(
    sessions: Sessions, requesters: Requesters, password_change: PasswordChange, alice: UserId
) -> None:
    here = await sessions.start(alice, device_id="HERE")
    there = await sessions.start(alice, device_id="THERE")
    await password_change.change(alice, "battery staple", but=here.device_id)
    assert await who(requesters, here.tokens.access_token)
    await refused(requesters, there.tokens.access_token)


@pytest.mark.parametrize("device_id", ["", "x" * 256, "a\0b", "a\nb"])
async def test_a_device_id_that_cannot_be_kept_is_refused(sessions: Sessions, alice: UserId, device_id: str) -> None:
    with pytest.raises(InvalidParam):
        await sessions.start(alice, device_id=device_id)


async def test_where_a_device_was_last_seen_is_noted_once_a_minute(
    sessions: Sessions,
    requesters: Requesters,
    sightings: Sightings,
    database: Database,
    clock: SetClock,
    alice: UserId,
) -> None:
    token = (await sessions.start(alice)).tokens.access_token
    for address in ("192.0.2.1", "192.0.2.2"):
        await requesters.authenticate(token, client_address=address, user_agent="tests\0")
    await sightings.write()
    clock.advance(1)
    await who(requesters, token)
    await sightings.write()
    device = (await database.read(devices_of, alice))[0]
    assert (device.last_seen_ip, device.last_seen_ts) == ("192.0.2.1", clock.now - 1000)
