"""Clients that load members lazily pay for what they are told, not for the size of the room."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.homeserver.sync.conftest import People
from tests.homeserver.sync.people import Follower, joined
from tests.homeserver.sync.server import sync_server
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.storage.database import Database
from tricord.homeserver.sync.sections import presence

LAZILY: dict[str, Any] = {"lazy_load_members": True}
_MEMBERS = 30


async def lively_room(alice: Follower, people: People) -> str:
    """Return a room of many who say nothing, where state was set, set again and taken back while some came."""
    room = await alice.create_room(preset="public_chat", name="Hall")
    crowd = [people(f"guest{number}") for number in range(_MEMBERS)]
    for guest in crowd[:-2]:
        await guest.join(room)
    await alice.say(room, "welcome")
    await alice.put(f"/v3/rooms/{room}/state/m.room.topic", {"topic": "first"})
    await crowd[-2].join(room)
    await alice.put(f"/v3/rooms/{room}/state/m.room.topic", {"topic": "second"})
    await alice.put(f"/v3/rooms/{room}/state/org.example.thing/one", {"is": "new"})
    await crowd[-1].join(room)
    await crowd[-1].say(room, "hello")
    await crowd[0].post(f"/v3/rooms/{room}/leave")
    await alice.put(f"/v3/rooms/{room}/state/m.room.topic", {"topic": "third"})
    await alice.say(room, "the end")
    return room


@pytest.mark.parametrize("after", [False, True])
async def test_the_state_is_that_of_a_client_which_wants_everybody_but_for_members(
    alice: Follower, people: People, *, after: bool
) -> None:
    room = await lively_room(alice, people)
    for limit in (0, 1, 2, 4, 6, 9, 12, 60):
        timeline = {"limit": limit}
        told = joined(await alice.sync(room={"timeline": timeline}, use_state_after=after), room)
        lazily = joined(await alice.sync(room={"timeline": timeline, "state": LAZILY}, use_state_after=after), room)
        section = "state_after" if after else "state"
        everything, some = (_by_key(answer.get(section, {"events": []})) for answer in (told, lazily))
        assert _but_for_members(some) == _but_for_members(everything)
        assert _members(some).items() <= _members(everything).items()
        shown = {event["sender"] for event in lazily["timeline"]["events"]} | {alice.user_id}
        assert _members(some).keys() >= shown & _members(everything).keys()
        assert _ageless(lazily["timeline"]) == _ageless(told["timeline"])


async def test_members_who_are_not_told_are_not_read(
    alice: Follower, people: People, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await lively_room(alice, people)
    # The last fifty events are read together anyway, and what is unread would be counted from the log.
    for number in range(50):
        await alice.say(room, f"{number}")
    newest = (await alice.get(f"/v3/rooms/{room}/messages?dir=b&limit=1"))["chunk"][0]["event_id"]
    await alice.post(f"/v3/rooms/{room}/receipt/m.read/{newest}")
    read: list[str] = []
    stored = StoredEvent.from_row

    def counted(row: Any) -> Any:
        one = stored(row)
        read.append(one.event.type)
        return one

    async with sync_server(database) as fresh:
        monkeypatch.setattr(StoredEvent, "from_row", counted)
        told = joined(await fresh.person("alice").sync(room={"timeline": {"limit": 3}, "state": LAZILY}), room)
    members = [event for event in told["state"]["events"] if event["type"] == "m.room.member"]
    assert read.count("m.room.member") <= 2 * len(members) + len(told["timeline"]["events"])
    assert len(members) < _MEMBERS / 2


def _ageless(section: Any) -> list[Any]:
    return [event | {"unsigned": event["unsigned"] | {"age": 0}} for event in section["events"]]


def _by_key(section: Any) -> dict[tuple[str, str], Any]:
    return {(event["type"], event["state_key"]): event for event in _ageless(section)}


def _members(state: dict[tuple[str, str], Any]) -> dict[str, Any]:
    return {key[1]: event for key, event in state.items() if key[0] == "m.room.member"}


def _but_for_members(state: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    return {key: event for key, event in state.items() if key[0] != "m.room.member"}


@pytest.mark.parametrize(("most_asked", "at_least"), [(4, 3), (100, 4)])
async def test_who_begins_is_told_who_is_there_of_those_they_know(
    alice: Follower, people: People, monkeypatch: pytest.MonkeyPatch, most_asked: int, at_least: int
) -> None:
    room = await alice.create_room(preset="public_chat")
    guests = [people(f"guest{number}") for number in range(5)]
    for guest in guests:
        await guest.join(room)
    stranger = people("stranger")
    for one in (*guests, stranger):
        state = "offline" if one is guests[0] else "online"
        await one.put(f"/v3/presence/{one.user_id}/status", {"presence": state})
    here = {guest.user_id for guest in guests[1:]}
    # Presence is told in its own time.
    heard = _present(await alice.sync())
    with trio.fail_after(60):
        while not here <= heard:
            heard |= _present(await alice.news(wait=60))
    monkeypatch.setattr(presence, "_MOST_ASKED", most_asked)
    told = _present(await alice.sync())
    # Of many, those are looked through who were told of last, and the stranger may be among them.
    assert here >= told
    assert len(told) >= at_least


def _present(answer: Any) -> set[str]:
    events = answer.get("presence", {"events": []})["events"]
    return {event["sender"] for event in events if event["content"]["presence"] == "online"}
