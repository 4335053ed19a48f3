"""What cannot be read is not lost: a bad room comes when it is well, and after a database that was away comes all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.homeserver.sync.people import Follower, joined, texts
from tests.homeserver.sync.server import sync_server
from tests.homeserver.sync.windows import SYNC, Window, bodies, first
from tricord.homeserver.push.counts import NotificationCounts
from tricord.homeserver.rooms.aggregations import Aggregations
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.homeserver.stream.tokens import MOST_LEFT_OUT, decode_left_out, decode_token, encode_token
from tricord.homeserver.sync import teller
from tricord.homeserver.sync.sections.invites import InviteSection
from tricord.homeserver.sync.sections.members import LazyMembers
from tricord.homeserver.sync.sections.summary import SummarySection
from tricord.homeserver.sync.sliding.rooms import RoomReader
from tricord.homeserver.sync.windows import Windows

LAZY = {"state": {"lazy_load_members": True}}
SHORT = {"timeline": {"limit": 2}, **LAZY}


class Sick:
    """Makes what is read of some rooms fail, wherever it is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.rooms: set[str] = set()
        self.failures = 0

    def fails(self, owner: Any, name: str) -> None:
        """Let one way of reading fail that is given one of the rooms."""
        original: Callable[..., Any] = getattr(owner, name)

        def read(*args: Any, **kwargs: Any) -> Any:
            if any(_concerns(args[1:] if isinstance(owner, type) else args, room) for room in self.rooms):
                self.failures += 1
                raise ValueError("a bad row")
            return original(*args, **kwargs)

        self._patch.setattr(owner, name, read)


def _concerns(arguments: tuple[Any, ...], room: str) -> bool:
    events = [one for some in arguments if isinstance(some, (list, tuple)) for one in some]
    return room in repr(arguments) or any(isinstance(one, StoredEvent) and one.event.room_id == room for one in events)


@pytest.fixture
def sick(monkeypatch: pytest.MonkeyPatch) -> Sick:
    return Sick(monkeypatch)


@contextmanager
def reports() -> Iterator[list[MutableMapping[str, Any]]]:
    """Collect what the log says about rooms that are left out."""
    told: list[MutableMapping[str, Any]] = []
    with capture_logs() as logs:
        yield told
    told += [entry for entry in logs if entry["event"] == "a room is left out of a sync"]


async def two_rooms(alice: Follower, bob: Follower) -> tuple[str, str]:
    """Return two rooms of Alice and Bob; Bob has been told of them."""
    good, bad = [await alice.create_room(preset="public_chat") for _ in range(2)]
    for room in (good, bad):
        await bob.join(room)
    return good, bad


READS: list[tuple[Any, str, dict[str, Any]]] = [
    (RoomState, "current", {}),
    (Windows, "shared_in_rooms", {}),
    (NotificationCounts, "by_thread", {}),
    (teller, "news_for", {}),
    (LazyMembers, "lacking", LAZY),
    (Windows, "load", {"timeline": {"types": ["m.room.message"]}}),
    (Aggregations, "of", SHORT),
]


@pytest.mark.parametrize(("owner", "name", "wanted"), READS, ids=[name for _, name, _ in READS])
async def test_a_bad_room_harms_no_other_and_comes_when_it_is_well(
    alice: Follower, bob: Follower, sick: Sick, owner: Any, name: str, wanted: dict[str, Any]
) -> None:
    good, bad = await two_rooms(alice, bob)
    before = (await bob.sync(room=wanted))["next_batch"]
    for room in (good, bad):
        await alice.say(room, "one")
        two = await alice.say(room, "two")
        await alice.say(room, "three", **{"m.relates_to": {"rel_type": "m.reference", "event_id": two}})
    sick.fails(owner, name)
    sick.rooms = {bad}
    with reports() as told:
        answer = await bob.sync(since=before, room=wanted)
        assert set(answer["rooms"]["join"]) == {good}
        assert "rooms" not in await bob.news(room=wanted)
    assert sick.failures
    assert [entry["room_id"] for entry in told] == [bad]
    sick.rooms.clear()
    ill = bob.since
    for _ in range(2):
        # The first answer may be lost.
        answer = await bob.sync(since=ill, room=wanted)
        room = joined(answer, bad)
        assert texts(room)[-1] == "three"
        assert room["timeline"]["limited"] is ("limit" in wanted.get("timeline", {}))
    assert decode_left_out(answer["next_batch"]) == {}
    assert "rooms" not in await bob.news(room=wanted)


@pytest.mark.parametrize(
    ("owner", "name", "wanted"),
    [
        (Windows, "load", {}),
        (Windows, "add_members", LAZY),
        (Visibility, "seen", {}),
        (Aggregations, "of", {}),
        (SummarySection, "of", {}),
        (NotificationCounts, "by_thread", {}),
        (LazyMembers, "lacking", LAZY),
    ],
)
async def test_a_client_that_begins_gets_a_bad_room_whole_when_it_is_well(
    alice: Follower, bob: Follower, sick: Sick, owner: Any, name: str, wanted: dict[str, Any]
) -> None:
    good, bad = await two_rooms(alice, bob)
    said = await alice.say(bad, "said before")
    reference = {"m.relates_to": {"rel_type": "m.reference", "event_id": said}}
    await alice.put(f"/v3/rooms/{bad}/send/org.example.answer/reference", reference)
    sick.fails(owner, name)
    sick.rooms = {bad}
    answer = await bob.sync(room=wanted)
    assert set(answer["rooms"]["join"]) == {good}
    sick.rooms.clear()
    room = joined(await bob.news(room=wanted), bad)
    assert texts(room) == ["said before"]
    state = [*room["state"]["events"], *room["timeline"]["events"]]
    assert {"m.room.create", "m.room.member", "m.room.power_levels"} <= {event["type"] for event in state}
    assert "rooms" not in await bob.news(room=wanted)


async def test_a_bad_invitation_and_a_bad_farewell_come_when_they_are_well(
    alice: Follower, bob: Follower, sick: Sick
) -> None:
    _, left = await two_rooms(alice, bob)
    asked = await alice.create_room(name="Tea")
    await bob.sync()
    await alice.invite(asked, bob)
    await bob.post(f"/v3/rooms/{left}/leave")
    sick.fails(InviteSection, "stripped_state")
    sick.rooms = {asked}
    assert "invite" not in (await bob.news()).get("rooms", {})
    sick.fails(Windows, "load")
    sick.rooms = {left}
    answer = await bob.news()
    assert set(answer["rooms"]["invite"]) == {asked}
    sick.rooms.clear()
    await bob.news()
    assert decode_left_out(bob.since or "") == {}


async def test_a_room_that_was_left_while_it_was_bad_is_told_as_left(
    alice: Follower, bob: Follower, sick: Sick
) -> None:
    _, bad = await two_rooms(alice, bob)
    await bob.sync()
    await alice.say(bad, "hello")
    sick.fails(Windows, "shared_in_rooms")
    sick.fails(Windows, "load")
    sick.rooms = {bad}
    await bob.news()
    await bob.post(f"/v3/rooms/{bad}/leave")
    assert "leave" not in (await bob.news()).get("rooms", {})
    await alice.say(bad, "none of his business")
    sick.rooms.clear()
    room = (await bob.news())["rooms"]["leave"][bad]
    assert texts(room) == ["hello"]
    assert room["timeline"]["events"][-1]["content"]["membership"] == "leave"


async def test_nobody_is_told_more_by_claiming_to_have_been_told_less(
    alice: Follower, bob: Follower, sick: Sick
) -> None:
    room = await alice.create_room(
        preset="public_chat",
        initial_state=[{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}],
    )
    await alice.say(room, "before him")
    await bob.join(room)
    await bob.sync()
    sick.fails(Windows, "shared_in_rooms")
    await alice.say(room, "with him")
    sick.rooms = {room}
    (mark,) = decode_left_out((await bob.news())["next_batch"])
    sick.rooms.clear()
    position = decode_token(bob.since or "")
    for after in (0, 1, position - 1, position + 99):
        answer = await bob.sync(since=encode_token(position, left_out={mark: after, "0" * 16: 5}))
        assert "before him" not in str(answer)


async def test_a_server_that_can_read_next_to_nothing_says_so(alice: Follower, sick: Sick) -> None:
    for _ in range(MOST_LEFT_OUT + 1):
        await alice.create_room()
    sick.fails(Windows, "load")
    sick.rooms = {"!"}
    status, _ = await alice.call("GET", "/v3/sync?timeout=0")
    assert status == 500


async def spoil(tx: Transaction, room: str) -> None:
    """Make the messages of a room such that they cannot be decoded."""
    await tx.execute(
        "UPDATE events SET json = '{' || json FROM rooms r"
        " WHERE r.room_nid = events.room_nid AND r.room_id = $1 AND type = 'm.room.message'",
        room,
    )


async def heal(tx: Transaction, room: str) -> None:
    await tx.execute(
        "UPDATE events SET json = substring(json FROM 2) FROM rooms r"
        " WHERE r.room_nid = events.room_nid AND r.room_id = $1 AND type = 'm.room.message'",
        room,
    )


async def test_rows_that_cannot_be_decoded_are_told_when_they_are_mended_by_every_way_to_sync(
    database: Database,
) -> None:
    async with sync_server(database) as server:
        alice, bob = server.person("alice"), server.person("bob")
        good, bad = await two_rooms(alice, bob)
        window = Window(bob, first(5))
        await window.look()
        await bob.sync()
        for room in (good, bad):
            await alice.say(room, "hello")
    await database.run(spoil, bad)
    async with sync_server(database) as server:
        server.take_over(bob)
        assert set((await bob.news())["rooms"]["join"]) == {good}
        assert set((await window.look())["rooms"]) == {good}
        assert (await window.look())["rooms"] == {}
        viewer_since = bob.since
    await database.run(heal, bad)
    async with sync_server(database) as server:
        server.take_over(bob)
        answer = await bob.sync(since=viewer_since)
        assert {room: texts(told) for room, told in answer["rooms"]["join"].items()} == {bad: ["hello"]}
        told = (await window.look())["rooms"]
        assert {room: bodies(of_room) for room, of_room in told.items()} == {bad: ["hello"]}
        assert told[bad]["num_live"] == 1 or told[bad]["limited"] is False
        assert "rooms" not in await bob.news()
        assert (await window.look())["rooms"] == {}


@pytest.mark.parametrize("name", ["read", "sections"])
async def test_a_window_on_a_bad_room_shows_the_others(alice: Follower, bob: Follower, sick: Sick, name: str) -> None:
    good, bad = await two_rooms(alice, bob)
    window = Window(bob, first(5, state=[["m.room.member", "$LAZY"]]))
    await window.look()
    for room in (good, bad):
        await alice.say(room, "hello")
    sick.fails(RoomReader, name)
    sick.rooms = {bad}
    with reports() as told:
        assert set((await window.look())["rooms"]) == {good}
        assert (await window.look())["rooms"] == {}
    assert [entry["room_id"] for entry in told] == [bad]
    await bob.post(f"/v3/rooms/{good}/leave")
    sick.rooms.add(good)
    await window.look()
    sick.rooms.clear()
    rooms = (await window.look())["rooms"]
    assert bodies(rooms[bad]) == ["hello"]
    assert rooms[good]["membership"] == "leave"
    assert (await window.look())["rooms"] == {}


async def test_who_follows_without_asking_again_is_told_of_a_bad_room_with_what_comes_next(
    alice: Follower, bob: Follower, sick: Sick
) -> None:
    good, bad = await two_rooms(alice, bob)
    since = decode_token((await bob.sync())["next_batch"])
    for room in (good, bad):
        await alice.say(room, "hello")
    sick.fails(Windows, "shared_in_rooms")
    sick.rooms = {bad}
    async with bob.engine.follow(await bob.viewer()) as following:
        delta = await following.next_delta(since)
        assert set(delta.joined) == {good}
        assert set(delta.left_out) == {bad}
        sick.rooms.clear()
        await alice.say(good, "and now?")
        delta = await following.next_delta(delta.upto)
        assert set(delta.joined) == {good, bad}
        assert not delta.left_out


_reads_left: ContextVar[list[int] | None] = ContextVar("reads left", default=None)


class GoesAway:
    """A database that is away for one who asks, from one of their reads on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        original = Database.read

        async def read(database: Database, *args: Any, **kwargs: Any) -> Any:
            left = _reads_left.get()
            if left is not None:
                left[0] -= 1
                if left[0] < 0:
                    raise DatabaseUnavailable("it is away")
            return await original(database, *args, **kwargs)

        monkeypatch.setattr(Database, "read", read)

    async def after(self, reads: int, ask: Callable[[], Awaitable[tuple[int, Any]]]) -> tuple[int, bool]:
        """Return the status that somebody is answered, and whether they noticed."""
        left = [reads]
        token = _reads_left.set(left)
        try:
            status, _ = await ask()
        finally:
            _reads_left.reset(token)
        return status, left[0] < 0


@pytest.fixture
def goes_away(monkeypatch: pytest.MonkeyPatch) -> GoesAway:
    return GoesAway(monkeypatch)


@pytest.mark.parametrize("way", ["the beginning", "a position", "a window", "another window"])
async def test_whenever_the_database_goes_away_the_sync_fails_and_the_next_tells_all(
    database: Database, goes_away: GoesAway, way: str
) -> None:
    async with sync_server(database) as server:
        alice, bob = server.person("alice"), server.person("bob")
        rooms = await two_rooms(alice, bob)
        since = (await bob.sync())["next_batch"]
        window = Window(bob, first(5, state=[["m.room.member", "$LAZY"]]))
        if way == "a window":
            await window.look()
        for room in rooms:
            await alice.say(room, "hello")
            await alice.put(f"/v3/rooms/{room}/state/m.room.topic", {"topic": "tea"})
        await bob.put(f"/v3/user/{bob.user_id}/account_data/org.example.note", {"text": "milk"})
        asked = await alice.create_room(name="Tea")
        await alice.invite(asked, bob)

    async def ask() -> tuple[int, Any]:
        if "window" in way:
            return await bob.call("POST", SYNC + window.query(), window.body())
        wanted = '{"room":{"timeline":{"limit":1},"state":{"lazy_load_members":true}}}'
        query = f"?timeout=0&filter={wanted}" + (f"&since={since}" if way == "a position" else "")
        return await bob.call("GET", f"/v3/sync{query}")

    for reads in range(100):
        # Memory helps nobody: each time it is another server.
        async with sync_server(database) as server:
            server.take_over(bob)
            status, noticed = await goes_away.after(reads, ask)
            assert status == (503 if noticed else 200), reads
            status, answer = await ask()
            assert status == 200
            told = answer["rooms"] if "window" in way else {**answer["rooms"]["join"], **answer["rooms"]["invite"]}
            assert set(told) == {*rooms, asked}
        if not noticed:
            break
    assert reads > 5
