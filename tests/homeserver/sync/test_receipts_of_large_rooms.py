"""Of a room that begins, clients are told who has read it last, and always up to where they have read it themselves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.homeserver.sync.conftest import People
from tests.homeserver.sync.people import Follower, joined
from tricord.homeserver.sync import windows


def readers(answer: Any, room: str) -> set[str]:
    """Return who is told to have read something."""
    events = joined(answer, room).get("ephemeral", {"events": []})["events"]
    contents = [event["content"] for event in events if event["type"] == "m.receipt"]
    return {u for content in contents for kinds in content.values() for users in kinds.values() for u in users}


async def read(person: Follower, room: str, event_id: str, kind: str = "m.read") -> None:
    await person.post(f"/v3/rooms/{room}/receipt/{kind}/{event_id}", {})


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST_RECEIPTS", 3)


@pytest.mark.parametrize("lazily", [False, True])
async def test_the_last_and_ones_own_are_told(alice: Follower, people: People, *, lazily: bool) -> None:
    room = await alice.create_room(preset="public_chat")
    crowd = [people(f"guest{number}") for number in range(6)]
    for guest in crowd:
        await guest.join(room)
    said = await alice.say(room, "hello")
    for guest in crowd:
        await read(guest, room, said)
    wanted = {"state": {"lazy_load_members": lazily}}
    last = {guest.user_id for guest in crowd[-3:]}
    assert readers(await alice.sync(room=wanted), room) == last
    for guest in crowd:
        assert readers(await guest.sync(room=wanted), room) == last | {guest.user_id}


async def test_who_reads_in_private_learns_it_and_nobody_else_does(alice: Follower, people: People) -> None:
    room = await alice.create_room(preset="public_chat")
    bob, carol = people("bob"), people("carol")
    said = await alice.say(room, "hello")
    for guest in (bob, carol):
        await guest.join(room)
    await read(bob, room, said, "m.read.private")
    await read(carol, room, said)
    assert readers(await alice.sync(), room) == {carol.user_id}
    assert readers(await bob.sync(), room) == {bob.user_id, carol.user_id}
    assert readers(await carol.sync(), room) == {carol.user_id}


async def test_in_a_small_room_all_are_told(alice: Follower, bob: Follower) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    said = await alice.say(room, "hello")
    for person in (alice, bob):
        await read(person, room, said)
    for person in (alice, bob):
        assert readers(await person.sync(), room) == {alice.user_id, bob.user_id}
