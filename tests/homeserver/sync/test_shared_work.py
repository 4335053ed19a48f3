"""What a message costs that many wait for: its own work once, and of theirs only to answer them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import pytest
import trio

from tests.homeserver.sync.conftest import People
from tests.homeserver.sync.people import Follower, joined, texts
from tests.homeserver.sync.server import sync_server
from tests.homeserver.sync.windows import Window, bodies, first
from tricord.homeserver.clock import SystemClock
from tricord.homeserver.rooms import cached_rooms
from tricord.homeserver.storage.database import Database
from tricord.homeserver.sync.engine import SyncEngine
from tricord.homeserver.sync.plan import Plan
from tricord.homeserver.sync.planner import Planner
from tricord.homeserver.sync.sections import rooms as rendering

WAITING = 100


class Work:
    """Counts what is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: Counter[str] = Counter()
        self._patch = monkeypatch
        self._count(Database, "read")
        self._count(SyncEngine, "delta")
        self._count(rendering, "_render")

    def _count(self, owner: Any, name: str) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.done[name] += 1
            return original(*args, **kwargs)

        self._patch.setattr(owner, name, counted)


async def crowd_in(room: str, people: People) -> list[Follower]:
    """Return a hundred devices of ten members, who have been told everything."""
    names = [f"guest{number % 10}" for number in range(WAITING)]
    devices = [people(name) for name in names]
    for device in devices[:10]:
        await device.join(room)
    for device in devices:
        await device.sync()
    return devices


async def all_wait(waits: Sequence[Callable[[], Awaitable[Any]]], then: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Let some wait, do something, and return what they are told."""
    told: list[Any] = []

    async def wait(one: Callable[[], Awaitable[Any]]) -> None:
        told.append(await one())

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for one in waits:
                nursery.start_soon(wait, one)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await then()
    return told


async def test_a_message_that_a_hundred_wait_for_is_read_and_rendered_once(
    alice: Follower, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await alice.create_room(preset="public_chat")
    devices = await crowd_in(room, people)
    waits = [partial(device.news, wait=60) for device in devices]
    await all_wait(waits, lambda: alice.say(room, "warm"))
    work = Work(monkeypatch)
    told = await all_wait(waits, lambda: alice.say(room, "hot"))
    assert [texts(joined(answer, room)) for answer in told] == [["hot"]] * WAITING
    assert work.done["_render"] == 1
    assert work.done["read"] < 10
    assert work.done["delta"] == WAITING


async def test_a_gap_that_a_hundred_come_back_to_is_read_and_rendered_once(
    alice: Follower, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await alice.create_room(preset="public_chat")
    devices = await crowd_in(room, people)
    await all_wait([partial(device.news, wait=60) for device in devices], lambda: alice.say(room, "warm"))
    said = [f"{number}" for number in range(11)]
    for text in said:
        await alice.say(room, text)
    work = Work(monkeypatch)
    told = await all_wait([device.news for device in devices], trio.lowlevel.checkpoint)
    assert [texts(joined(answer, room)) for answer in told] == [said[1:]] * WAITING
    assert all(joined(answer, room)["timeline"]["limited"] for answer in told)
    assert work.done["_render"] == 1
    assert work.done["read"] < 10


async def test_whoever_speaks_for_the_first_time_in_a_large_room_is_known_from_memory(
    alice: Follower, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_rooms, "_MOST_LOOKED_THROUGH", 3)
    lazily = {"state": {"lazy_load_members": True}}
    room = await alice.create_room(preset="public_chat")
    devices, guest = await crowd_in(room, people), people("guest7")
    waits = [partial(device.news, wait=60, room=lazily) for device in devices]
    await all_wait(waits, lambda: alice.say(room, "warm"))
    work = Work(monkeypatch)
    told = await all_wait(waits, lambda: guest.say(room, "hello"))
    assert [[event["state_key"] for event in joined(answer, room)["state"]["events"]] for answer in told] == [
        [guest.user_id]
    ] * WAITING
    assert work.done["read"] < 10


async def test_a_crowd_that_joins_at_once_is_looked_up_together(
    alice: Follower, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await alice.create_room(preset="public_chat")
    crowd = [people(f"guest{number}") for number in range(WAITING)]
    work = Work(monkeypatch)
    async with trio.open_nursery() as nursery:
        for guest in crowd:
            nursery.start_soon(guest.join, room)
    reads = work.done["read"]
    assert joined(await alice.sync(), room)["summary"]["m.joined_member_count"] == 1 + WAITING
    # Who they are, how they are called, and what they are to the room.
    assert reads < 20


async def test_a_room_that_a_hundred_begin_with_is_read_and_rendered_once(
    alice: Follower, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await alice.create_room(preset="public_chat")
    devices = await crowd_in(room, people)
    said = [f"{number}" for number in range(10)]
    for text in said:
        await alice.say(room, text)
    work = Work(monkeypatch)
    answers: list[Any] = []

    async def begin(device: Follower) -> None:
        answers.append(await device.sync())

    async with trio.open_nursery() as nursery:
        for device in devices[10:]:
            nursery.start_soon(begin, device)
    assert [texts(joined(answer, room)) for answer in answers] == [said] * len(answers)
    assert work.done["_render"] == 1
    # Their own memberships and account data, who is there of those they know, and what waits for their devices.
    assert work.done["read"] < 6 * len(answers)
    await alice.say(room, "more")
    assert texts(joined(await devices[0].sync(), room)) == [*said[1:], "more"]


async def test_who_begins_is_told_how_old_events_are_now(
    alice: Follower, bob: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    await alice.say(room, "hello")
    ages = []
    for ahead in (0, 3600):
        monkeypatch.setattr(SystemClock, "now_ms", lambda _, ahead=ahead: int((time.time() + ahead) * 1000))
        ages.append(joined(await bob.sync(), room)["timeline"]["events"][-1]["unsigned"]["age"])
    assert ages[1] - ages[0] >= 3_600_000


async def test_who_waits_is_not_woken_by_what_is_none_of_theirs(
    alice: Follower, bob: Follower, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, other = await alice.create_room(preset="public_chat"), await bob.create_room()
    devices = await crowd_in(room, people)
    work = Work(monkeypatch)

    async def elsewhere() -> None:
        for number in range(5):
            await bob.say(other, f"{number}")
        await bob.set_account_data("org.example.note", {})
        await trio.testing.wait_all_tasks_blocked(0.01)
        work.done["deltas before"] = work.done["delta"]
        await alice.say(room, "now")

    waits = [partial(device.news, wait=60) for device in devices[:10]]
    await all_wait(waits, elsewhere)
    assert work.done["deltas before"] == 0
    assert work.done["delta"] == 10


async def test_windows_that_wait_for_the_same_message_read_it_once(
    alice: Follower, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await alice.create_room(preset="public_chat")
    windows = [Window(device, first(5)) for device in await crowd_in(room, people)]
    for window in windows:
        await window.look()
    waits = [partial(window.look, 60_000) for window in windows]
    await all_wait(waits, lambda: alice.say(room, "warm"))
    work = Work(monkeypatch)
    told = await all_wait(waits, lambda: alice.say(room, "hot"))
    assert [bodies(answer["rooms"][room]) for answer in told] == [["hot"]] * WAITING
    assert work.done["read"] < 10


async def by_window(reader: Follower, rooms: list[str], _since: str) -> Any:
    state = [["m.room.member", "$LAZY"], ["m.room.create", ""]]
    extensions = {name: {"enabled": True} for name in ("account_data", "receipts", "typing", "threads")}
    return (await Window(reader, first(len(rooms), state=state), extensions=extensions).look())["rooms"]


async def from_the_beginning(reader: Follower, rooms: list[str], _since: str) -> Any:
    return (await reader.sync(room={"rooms": rooms, "state": {"lazy_load_members": True}}))["rooms"]["join"]


async def what_a_filter_lets_through(reader: Follower, rooms: list[str], _since: str) -> Any:
    timeline = {"not_types": ["m.room.topic"], "limit": 50}
    return (await reader.sync(room={"rooms": rooms, "timeline": timeline}))["rooms"]["join"]


async def after_a_while(reader: Follower, rooms: list[str], since: str) -> Any:
    return (await reader.sync(since=since, room={"rooms": rooms, "timeline": {"limit": 2}}))["rooms"]["join"]


async def after_a_while_lazily(reader: Follower, rooms: list[str], since: str) -> Any:
    wanted = {"rooms": rooms, "timeline": {"limit": 2}, "state": {"lazy_load_members": True}}
    return (await reader.sync(since=since, room=wanted))["rooms"]["join"]


@pytest.mark.parametrize(
    "look", [by_window, from_the_beginning, what_a_filter_lets_through, after_a_while, after_a_while_lazily]
)
async def test_the_database_is_asked_as_often_for_many_rooms_as_for_few(
    database: Database, monkeypatch: pytest.MonkeyPatch, look: Callable[[Follower, list[str], str], Awaitable[Any]]
) -> None:
    async with sync_server(database) as server:
        alice, bob = server.person("alice"), server.person("bob")
        rooms = [await alice.create_room(preset="public_chat") for _ in range(10)]
        for room in rooms:
            await bob.join(room)
        since = (await bob.sync())["next_batch"]
        for room in rooms:
            await alice.put(f"/v3/rooms/{room}/state/m.room.topic", {"topic": "tea"})
            for number in range(3):
                await alice.say(room, f"{number}")
    work = Work(monkeypatch)
    asked = []
    for count in (2, 10):
        async with sync_server(database) as fresh:
            reader = fresh.person("bob")
            work.done.clear()
            assert len(await look(reader, rooms[:count], since)) == count
            asked.append(work.done["read"])
    few, many = asked
    # What goes on beside, presence for one, asks now and then, too.
    assert many <= few + 3


async def test_few_first_syncs_are_made_at_a_time_however_many_ask(
    alice: Follower, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await alice.create_room(preset="public_chat")
    await alice.say(room, "hello")
    newcomers = [people("alice") for _ in range(20)]
    at_once, most, four = 0, 0, trio.Event()
    plan = Planner.plan

    async def counted(*args: Any, **kwargs: Any) -> Plan:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        if at_once == 4:
            four.set()
        await four.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        try:
            return await plan(*args, **kwargs)
        finally:
            at_once -= 1

    monkeypatch.setattr(Planner, "plan", counted)
    told = await all_wait([newcomer.sync for newcomer in newcomers], trio.lowlevel.checkpoint)
    assert [texts(joined(answer, room)) for answer in told] == [["hello"]] * 20
    assert most == 4
