"""Encrypted rooms by sliding sync: what it tells reaches the machine, and what it does not tell is asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clients.either_server import real_server
from tests.clients.encryption.town import ROOM, Somebody, Town, member
from tricord.clients import Client, Encryption
from tricord.clients.encryption.opened import OpenedEvent
from tricord.clients.encryption.requests import RoomState
from tricord.clients.encryption.sliding import followed_rooms, with_position
from tricord.clients.testing import PASSWORD, Person
from tricord.protocol.identifiers import RoomId

EXTENSIONS = {"e2ee": {"enabled": True}, "to_device": {"enabled": True}}
EVERYBODY = [["m.room.member", "*"], ["m.room.encryption", ""], ["m.room.history_visibility", ""]]


class Slider(Somebody):
    """A device that is told by sliding sync."""

    def slide(self, *events: dict[str, Any], state: tuple[dict[str, Any], ...] = (), follows: bool = False) -> None:
        """Take in what is new."""
        content = self.content()
        messages = content.pop("to_device")
        answer = {
            "pos": content.pop("next_batch"),
            "extensions": {"to_device": {"next_batch": "m1", **messages}, "e2ee": content},
            "rooms": {ROOM: {"timeline": list(events), "required_state": list(state)}} if events or state else {},
        }
        self.machine.receive_sliding(answer, since=self.since, follows={ROOM} if follows else ())
        self.since = answer["pos"]
        self.settle()


def test_keys_come_by_sliding_sync_and_new_devices_are_given_keys() -> None:
    town = Town()
    alice, bob = Slider(town, "alice"), Slider(town, "bob")
    event = alice.say("Hello")
    bob.slide()
    assert bob.read(event).content["body"] == "Hello"
    tablet = Slider(town, "bob", "TABLET")
    alice.slide()
    event = alice.say("to the tablet too")
    tablet.slide()
    assert tablet.read(event).content["body"] == "to the tablet too"
    assert tablet.machine.position_of_messages == "m1"


def test_who_has_come_or_gone_unseen_is_asked_before_the_next_message() -> None:
    town = Town()
    alice, bob = Slider(town, "alice"), Slider(town, "bob")
    alice.say("with Bob")
    del town.members[bob.user_id]
    alice.slide()
    event = alice.say("without Bob")
    bob.slide()
    assert bob.reason(event).code is None
    assert event["content"]["session_id"] != town.timeline[0]["content"]["session_id"]


def test_a_room_of_which_everything_is_told_is_not_asked_about() -> None:
    town = Town()
    alice, bob = Slider(town, "alice"), Slider(town, "bob")
    alice.say("with Bob")
    town.made.clear()
    alice.slide(follows=True)
    alice.say("again")
    del town.members[bob.user_id]
    alice.slide(state=(member(bob.user_id, "leave"),), follows=True)
    event = alice.say("without Bob")
    assert not [request for request in town.made if isinstance(request, RoomState)]
    assert event["content"]["session_id"] != town.timeline[0]["content"]["session_id"]


def test_an_answer_without_the_extension_is_no_gap_in_the_news_of_devices() -> None:
    town = Town()
    alice, _ = Slider(town, "alice"), Slider(town, "bob")
    alice.say()
    alice.slide()
    town.made.clear()
    alice.machine.receive_sliding({"pos": "elsewhere", "rooms": {}}, since=None, follows={ROOM})
    alice.slide(follows=True)
    assert town.made == []


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"extensions": None, "rooms": None},
        {"extensions": {"e2ee": 1, "to_device": {"events": 1}}, "rooms": {ROOM: None}},
        {"extensions": {"e2ee": {}}, "rooms": {ROOM: {"timeline": 1, "required_state": {}}}},
    ],
)
def test_nothing_that_a_homeserver_answers_raises(answer: dict[str, Any]) -> None:
    Slider(Town(), "alice").machine.receive_sliding(answer)


def test_which_rooms_are_followed() -> None:
    assert followed_rooms({ROOM: {"required_state": EVERYBODY}}, {}) == {ROOM}
    assert followed_rooms({ROOM: {"required_state": [["*", "*"]]}}, {}) == {ROOM}
    new = [{"type": event_type, "state_key": key} for event_type, key in EVERYBODY]
    assert followed_rooms({ROOM: {"required_state": {"include": new}}}, {}) == {ROOM}
    assert followed_rooms({ROOM: {"required_state": {"include": new, "lazy_members": True}}}, {}) == set()
    assert followed_rooms({ROOM: {"required_state": [["m.room.member", "$LAZY"], *EVERYBODY[1:]]}}, {}) == set()
    assert followed_rooms({ROOM: {}}, {}) == set()
    expanded = {"rooms": {ROOM: {"unstable_expanded_timeline": True}}}
    assert followed_rooms({ROOM: {"required_state": EVERYBODY}}, expanded) == set()


def test_messages_are_asked_for_from_where_they_were_taken_in() -> None:
    assert with_position(EXTENSIONS, "m7") == {**EXTENSIONS, "to_device": {"enabled": True, "since": "m7"}}
    assert with_position({"to_device": {"since": "m1"}}, "m7") == {"to_device": {"since": "m1"}}
    assert with_position(None, "m7") is None


@pytest.fixture
async def people(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Person, Person]]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(real_server(database_url, tmp_path))
        made = []
        for name in ("alice", "bob"):
            encryption = Encryption(tmp_path / f"{name}.keys")
            person = await stack.enter_async_context(Person(server.url, encryption=encryption))
            await person.register(name, PASSWORD)
            made.append(person)
        yield made[0], made[1]


class Sliding:
    """Somebody who looks at one room by sliding sync."""

    def __init__(self, client: Client, room_id: RoomId) -> None:
        self._client = client
        self._room_id = room_id
        self._pos: str | None = None

    async def news(self) -> list[str]:
        """Return what was said since the last time, as far as it can be opened."""
        answer = await self._client.sliding_sync(
            pos=self._pos,
            room_subscriptions={self._room_id: {"timeline_limit": 20, "required_state": EVERYBODY}},
            extensions=EXTENSIONS,
        )
        self._pos = answer.pos
        room = answer.rooms.get(self._room_id)
        events = [] if room is None else room.timeline
        return [event["content"]["body"] for event in events if isinstance(event, OpenedEvent)]


async def test_two_talk_by_sliding_sync(people: tuple[Person, Person]) -> None:
    alice, bob = people
    for person in people:
        await person.sliding_sync(extensions=EXTENSIONS)
    room_id = await alice.create_room(invite=[bob.user_id], encrypted=True)
    await bob.join(room_id)
    of_alice, of_bob = Sliding(alice, room_id), Sliding(bob, room_id)
    assert await of_alice.news() == await of_bob.news() == []
    await alice.send_text(room_id, "Hello")
    assert await of_bob.news() == ["Hello"]
    await bob.send_text(room_id, "I can read it")
    assert await of_alice.news() == ["Hello", "I can read it"]
    assert await of_bob.news() == ["I can read it"]
    assert alice.encryption.machine.position_of_messages is not None


async def test_what_is_to_be_sent_later_is_encrypted(people: tuple[Person, Person]) -> None:
    alice, bob = people
    for person in people:
        await person.sliding_sync(extensions=EXTENSIONS)
    room_id = await alice.create_room(invite=[bob.user_id], encrypted=True)
    await bob.join(room_id)
    delay_id = await alice.send_later(room_id, "m.room.message", {"body": "Gone"}, delay_ms=3_600_000)
    waiting = await alice.delayed_event(delay_id)
    assert waiting.type == "m.room.encrypted"
    assert "Gone" not in str(waiting.content)
    await alice.update_delayed_event(delay_id, "send")
    of_bob = Sliding(bob, room_id)
    assert await of_bob.news() == ["Gone"]
