"""Presence over time."""

from __future__ import annotations

import mmap
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tricord.homeserver.accounts import presence_elsewhere
from tricord.homeserver.accounts.presence import Presences
from tricord.homeserver.storage.database import Database, open_database
from tricord.homeserver.storage.presence import presence_of
from tricord.homeserver.stream.common_memory import SIZE, CommonMemory
from tricord.homeserver.stream.publisher import Publisher
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import RoomId, UserId

THEIRS = RoomId("!theirs:hs")
ALICE, BOB, CAROL = UserId("@alice:hs"), UserId("@bob:hs"), UserId("@carol:hs")


class TrioClock:
    def now_ms(self) -> int:
        return int(trio.current_time() * 1000)


class Friends:
    """Alice and Bob share a room; Carol is alone."""

    async def share_a_room(self, one: UserId, other: UserId) -> bool:
        return {one, other} == {ALICE, BOB}

    async def joined_rooms_of(self, user_ids: Collection[UserId]) -> Mapping[UserId, Collection[RoomId]]:
        return {user_id: [THEIRS] if user_id != CAROL else [] for user_id in user_ids}

    async def joined_members_in(self, room_ids: Collection[RoomId]) -> Mapping[RoomId, Collection[UserId]]:
        return {room_id: [ALICE, BOB] for room_id in room_ids}


class Crowd(Friends):
    """Alice knows everybody."""

    async def joined_members_in(self, room_ids: Collection[RoomId]) -> Mapping[RoomId, Collection[UserId]]:
        return {room_id: [UserId(f"@{number}:hs") for number in range(5000)] for room_id in room_ids}


@asynccontextmanager
async def two_processes(url: str) -> AsyncIterator[tuple[Presences, Presences]]:
    """Run presence in two processes of one homeserver."""
    memory = mmap.mmap(-1, SIZE)
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        both = []
        for place in range(2):
            database = await stack.enter_async_context(open_database(url))
            publisher = Publisher(database, 0, CommonMemory(memory, place, 2).frontier)
            both.append(Presences(database, publisher, Friends(), TrioClock()))
            await nursery.start(database.run_listeners)
            nursery.start_soon(publisher.run)
            await nursery.start(both[-1].run)
        yield both[0], both[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def presences_on(database: Database, friends: Friends | None = None) -> AsyncIterator[Presences]:
    presences = Presences(database, Publisher(database, 0), friends or Friends(), TrioClock())
    async with trio.open_nursery() as nursery:
        await nursery.start(presences.run)
        yield presences
        nursery.cancel_scope.cancel()


async def state(presences: Presences, user_id: UserId = ALICE) -> Any:
    return (await presences.seen_by(BOB if user_id == ALICE else ALICE, user_id))["presence"]


async def pass_time(clock: MockClock, seconds: float) -> None:
    await trio.sleep(0.05)
    clock.jump(seconds)
    await trio.sleep(0.05)


@pytest.fixture
def clock(mock_clock: MockClock) -> MockClock:
    # Time passes as ever, and is moved on by hand: the database answers in real time.
    mock_clock.rate = 1
    return mock_clock


async def test_whoever_syncs_is_online_and_offline_half_a_minute_later(database: Database, clock: MockClock) -> None:
    async with presences_on(database) as presences:
        assert await state(presences) == "offline"
        with presences.syncing(ALICE, "online"):
            assert await state(presences) == "online"
            await pass_time(clock, 100)
            assert await state(presences) == "online"
        await pass_time(clock, 20)
        assert await state(presences) == "online"
        await pass_time(clock, 11)
        await until(presences, "offline")


async def test_whoever_does_nothing_for_five_minutes_is_away(database: Database, clock: MockClock) -> None:
    async with presences_on(database) as presences:
        with presences.syncing(ALICE, "online"):
            presences.active(ALICE)
            await pass_time(clock, 290)
            seen = await presences.seen_by(BOB, ALICE)
            assert (seen["presence"], seen["currently_active"]) == ("online", True)
            await pass_time(clock, 20)
            await until(presences, "unavailable")
            presences.active(ALICE)
            seen = await presences.seen_by(BOB, ALICE)
            assert (seen["presence"], seen["currently_active"]) == ("online", True)
            assert seen["last_active_ago"] < 1000


async def test_a_sync_that_hides_does_not_count(database: Database, clock: MockClock) -> None:
    async with presences_on(database) as presences:
        with presences.syncing(ALICE, "offline"):
            assert await state(presences) == "offline"


async def test_what_users_say_themselves_stands(database: Database, clock: MockClock) -> None:
    async with presences_on(database) as presences:
        await presences.set(ALICE, "unavailable", "at lunch")
        with presences.syncing(ALICE, "online"):
            seen = await presences.seen_by(BOB, ALICE)
        assert (seen["presence"], seen["status_msg"]) == ("unavailable", "at lunch")


async def test_strangers_see_nothing(database: Database, clock: MockClock) -> None:
    async with presences_on(database) as presences:
        with pytest.raises(Forbidden):
            await presences.seen_by(CAROL, ALICE)
        assert await presences.seen_by(CAROL, CAROL) == {"presence": "offline"}


async def test_those_who_were_there_before_a_restart_go_offline(database: Database, clock: MockClock) -> None:
    async with presences_on(database) as presences:
        await presences.set(ALICE, "online", None)
    async with presences_on(database) as presences:
        assert await state(presences) == "online"
        await pass_time(clock, 31)
        await until(presences, "offline")


async def test_many_are_told_of_many_changes_at_once(database: Database, clock: MockClock) -> None:
    async def written(user_id: UserId) -> list[str]:
        return [presence.state for presence in await database.read(presence_of, [user_id])]

    async with presences_on(database, Crowd()) as presences:
        await presences.set(ALICE, "online", None)
        assert await written(ALICE) == ["online"]
        await presences.set(ALICE, "unavailable", None)
        await presences.set(BOB, "online", None)
        await pass_time(clock, 2)
        assert (await written(ALICE), await written(BOB)) == (["online"], [])
        assert await state(presences) == "unavailable"
        await pass_time(clock, 9)
        with trio.fail_after(60):
            while await written(BOB) != ["online"]:  # noqa: ASYNC110  # the table is all there is to look at
                await trio.sleep(0.01)
        assert await written(ALICE) == ["unavailable"]


async def until(presences: Presences, wanted: str) -> dict[str, Any]:
    """Wait until Bob sees Alice in a state, and return what he saw then."""
    with trio.fail_after(60):
        while (seen := await presences.seen_by(BOB, ALICE))["presence"] != wanted:  # noqa: ASYNC110  # another process has to hear of it
            await trio.sleep(0.02)
    return seen


async def test_whoever_goes_to_another_process_stays_online(
    database_url: str, clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_elsewhere, "ANSWER_SECONDS", 1000)
    async with two_processes(database_url) as (one, other):
        with one.syncing(ALICE, "online"):
            await until(other, "online")
        with other.syncing(ALICE, "online"):
            for _ in range(3):
                await pass_time(clock, 31)
                assert await state(one) == "online"
                assert await state(other) == "online"


async def test_what_somebody_says_in_one_process_is_known_in_the_other(database_url: str, clock: MockClock) -> None:
    async with two_processes(database_url) as (one, other):
        with one.syncing(ALICE, "online"):
            await until(other, "online")
            with other.syncing(ALICE, "online"):
                await one.set(ALICE, "unavailable", "at lunch")
                # Whoever has seen it once sees it from then on.
                assert (await until(other, "unavailable"))["status_msg"] == "at lunch"
                assert (await other.seen_by(BOB, ALICE))["status_msg"] == "at lunch"
