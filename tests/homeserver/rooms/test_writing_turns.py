"""Two processes and one busy room: they write to it in turns, and everything is there, once, whatever happens."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from functools import partial

import pytest
import trio

from tests.homeserver.rooms.foreign import ZOE, Foreign
from tests.homeserver.rooms.house import ALICE, BOB, CAROL, House, opened_house
from tests.servers import in_common
from tricord.homeserver.assembly.foundation import Common
from tricord.homeserver.rooms import cached_rooms
from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.coming_heads import ComingHeads
from tricord.homeserver.rooms.placement import Arrival, Outcome, Placement, Verdict
from tricord.homeserver.rooms.resolution import StateResolver
from tricord.homeserver.rooms.room_write import RoomWrite
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.writing_turns import WritingTurns
from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.homeserver.stream import common_memory, publisher
from tricord.homeserver.stream.common_memory import RoomTurns
from tricord.homeserver.stream.interests import COMING, WRITING
from tricord.homeserver.stream.siblings import Topic
from tricord.protocol.identifiers import RoomId

_PATIENCE_SECONDS = 60
_ROOM = RoomId("!busy:house.test")

Act = Callable[[], Awaitable[object]]


class Pair:
    """Two processes that both write, and a room that the one has just written to."""

    def __init__(self, one: House, other: House, commons: Sequence[Common], room_id: RoomId) -> None:
        self.one = one
        self.other = other
        self.commons = commons
        self.room_id = room_id

    @property
    def turns(self) -> tuple[RoomTurns, RoomTurns]:
        """What each sees of the turns in rooms."""
        one, other = (common.memory.room_turns for common in self.commons)
        return one, other

    async def other_wants(self) -> None:
        """Wait until the other wants the turn in the room."""
        with trio.fail_after(_PATIENCE_SECONDS):
            while not self.commons[0].memory.interests.elsewhere(self.room_id, WRITING):  # noqa: ASYNC110
                await trio.sleep(0.01)

    def hand_on(self) -> None:
        """Let the one hand on its turn in the room."""
        assert self.one.log._turns is not None
        self.one.log._turns.hand_on([self.room_id])


@pytest.fixture
async def pair(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    # However slow the machine is.
    monkeypatch.setattr(common_memory, "_WRITING_MS", 1_000 * _PATIENCE_SECONDS)
    monkeypatch.setattr(common_memory, "_NEXT_MS", 1_000 * _PATIENCE_SECONDS)
    with in_common(2) as commons:
        async with opened_house(database_url, commons[0]) as one, opened_house(database_url, commons[1]) as other:
            with trio.fail_after(_PATIENCE_SECONDS):
                while not all(common.siblings.reached for common in commons):  # noqa: ASYNC110
                    await trio.sleep(0.01)
            room_id = await one.create()
            await one.member(room_id, BOB, "join")
            await other.publisher.catch_up()
            pair = Pair(one, other, commons, room_id)
            pair.turns[1].begin()
            yield pair


async def test_both_write_to_a_room_at_once_and_neither_computes_in_vain(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts = _watched(pair.one, monkeypatch), _watched(pair.other, monkeypatch)

    async def converse(house: House, name: str) -> None:
        for number in range(10):
            stored = await house.say(pair.room_id, f"{name} {number}", BOB)
            assert house.publisher.position >= (stored.position or 0)

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(converse, pair.one, f"one {number}")
            nursery.start_soon(converse, pair.other, f"other {number}")
    assert all(map(all, puts))
    # By turns, however much each of them has.
    assert all(10 <= len(groups) <= 30 for groups in puts)
    await pair.one.publisher.catch_up()
    said = await pair.one.bodies(pair.room_id)
    assert sorted(said) == sorted(f"{who} {n} {m}" for who in ("one", "other") for n in range(4) for m in range(10))
    await pair.other.publisher.catch_up()
    assert await pair.other.bodies(pair.room_id) == said


async def test_who_writes_alone_takes_no_turns_and_does_as_soon_as_another_one_writes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair.turns
    taken = list[RoomId]()
    monkeypatch.setattr(one, "take", taken.append)
    with monkeypatch.context() as long_after:
        long_after.setattr(common_memory, "_APART_MS", 0)
        await pair.one.say(pair.room_id, "alone", BOB)
        assert taken == []
    # As though both had begun at the same moment: who is too late computes again.
    put_late = _put_after_the_other(pair)
    with monkeypatch.context() as at_once:
        at_once.setattr(common_memory, "_APART_MS", 0)
        at_once.setattr(pair.one.log._committer, "put", put_late)
        await pair.one.say(pair.room_id, "second", BOB)
        assert taken == []
    assert other.holder(pair.room_id) is None
    await pair.one.say(pair.room_id, "third", BOB)
    assert taken == [pair.room_id]
    assert await pair.one.bodies(pair.room_id) == ["alone", "first", "second", "third"]


async def test_what_one_has_written_the_other_need_not_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    # A notification that overtakes what is told directly would have the room forgotten, and read again.
    monkeypatch.setattr(publisher, "_GATHER_SECONDS", _PATIENCE_SECONDS)
    await pair.other.state.current(pair.room_id, [("m.room.name", "")])
    before = pair.one.publisher.position
    written = []
    for number in range(5):
        written.append(await pair.one.say(pair.room_id, f"{number}"))
        written.append(await pair.one.set(pair.room_id, "m.room.name", "", {"name": f"Tea {number}"}))
    with trio.fail_after(_PATIENCE_SECONDS):
        while pair.other.publisher.position < pair.one.publisher.position:  # noqa: ASYNC110
            await trio.sleep(0.01)

    async def read(*_: object) -> None:
        raise AssertionError("it was told")

    with monkeypatch.context() as told_only:
        told_only.setattr(pair.other.database, "read", read)
        assert await _after(pair.other, pair.room_id, before) == written
        name = (await pair.other.state.current(pair.room_id, [("m.room.name", "")]))["m.room.name", ""]
    assert name == written[-1]
    assert name.event.content == {"name": "Tea 4"}

    redaction = await pair.one.redact(pair.room_id, written[0].event.event_id)
    with trio.fail_after(_PATIENCE_SECONDS):
        while pair.other.publisher.position < pair.one.publisher.position:  # noqa: ASYNC110
            await trio.sleep(0.01)
    redacted, *others = await _after(pair.other, pair.room_id, before)
    assert redacted.event.content == {}
    assert redacted.redacted_because == redaction.event.event_id
    assert others == [*written[1:], redaction]
    assert [one.event.json for one in others[:-1]] == [one.event.json for one in written[1:]]


async def test_what_is_lost_with_a_connection_is_found_though_nobody_asks_and_nothing_follows(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, lost = pair.commons[1].siblings, trio.Event()

    async def notify(_channel: str, _payload: str) -> None:
        raise AssertionError("it was told directly")

    monkeypatch.setattr(pair.one.database, "notify", notify)
    with monkeypatch.context() as deaf:
        deaf.setitem(ours._listeners, Topic.COMMITS, lambda _news: lost.set())
        stored = await pair.one.say(pair.room_id, "hello", BOB)
        with trio.fail_after(_PATIENCE_SECONDS):
            await lost.wait()
    assert stored.position is not None
    assert pair.other.publisher.position < stored.position
    await ours._lines[0]._stream.aclose()
    with trio.fail_after(_PATIENCE_SECONDS):
        while pair.other.publisher.position < stored.position:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert await pair.other.bodies(pair.room_id) == ["hello"]


async def test_a_room_that_nobody_asks_for_is_forgotten_when_much_is_told_of_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_rooms, "_MOST_TOLD_BYTES", 5_000)
    await pair.other.rooms.room(pair.room_id)
    for number in range(20):
        await pair.one.say(pair.room_id, f"{number}")
    with trio.fail_after(_PATIENCE_SECONDS):
        while pair.other.publisher.position < pair.one.publisher.position:  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert pair.room_id not in pair.other.rooms._rooms
    assert pair.other.rooms._size == 0
    assert await pair.other.bodies(pair.room_id) == [f"{number}" for number in range(20)]


async def test_whoever_has_waited_longest_goes_first_and_who_takes_too_long_is_not_waited_for(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (common.memory.turns for common in pair.commons)
    with monkeypatch.context() as patient:
        patient.setattr(common_memory, "TURN_SECONDS", 3_600)
        one.begin()
        other.begin()
        assert (one.has_come, other.has_come) == (True, False)
        one.end()
        assert other.has_come
        other.end()
    one.begin()
    await pair.other.say(pair.room_id, "hello", BOB)
    one.end()
    assert await pair.other.bodies(pair.room_id) == ["hello"]


async def test_a_turn_is_waited_for_and_goes_on_to_who_wants_it(pair: Pair) -> None:
    one, other = pair.turns
    one.take(pair.room_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.other.say, pair.room_id, "second", BOB)
        await pair.other_wants()
        assert await pair.one.bodies(pair.room_id) == []
        pair.hand_on()
        assert one.holder(pair.room_id) == 1
    assert other.holder(pair.room_id) is None
    await pair.one.say(pair.room_id, "third", BOB)
    assert await pair.one.bodies(pair.room_id) == ["second", "third"]


async def test_who_dies_in_its_turn_is_not_waited_for(pair: Pair) -> None:
    pair.turns[0].take(pair.room_id)
    pair.commons[1].siblings._lines.pop(0)
    with trio.fail_after(_PATIENCE_SECONDS / 2):
        await pair.other.say(pair.room_id, "hello", BOB)
    assert await pair.other.bodies(pair.room_id) == ["hello"]


async def test_who_takes_too_long_loses_its_turn_and_writes_on_top_of_what_came_meanwhile(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair.one.log._committer, "put", _put_after_the_other(pair))
    monkeypatch.setattr(common_memory, "_WRITING_MS", -1)
    await pair.one.say(pair.room_id, "second", BOB)
    assert await pair.one.bodies(pair.room_id) == ["first", "second"]


async def test_who_takes_too_long_does_not_take_a_membership_for_newer_than_what_came_meanwhile(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = pair.one.log._committer.put

    async def answered_late(writes: Collection[RoomWrite]) -> tuple[Collection[int], dict[int, int]]:
        written = await put(writes)
        pair.other.rooms.forget(pair.room_id)
        await pair.other.member(pair.room_id, CAROL, "leave")
        await pair.one.publisher.catch_up()
        assert await pair.one.memberships.joined_members(pair.room_id) == {ALICE, BOB}
        return written

    monkeypatch.setattr(common_memory, "_WRITING_MS", -1)
    monkeypatch.setattr(pair.one.log._committer, "put", answered_late)
    await pair.one.member(pair.room_id, CAROL, "join")
    assert await pair.one.memberships.joined_members(pair.room_id) == {ALICE, BOB}
    assert await pair.one.memberships.joined_rooms(CAROL) == set()


async def test_a_turn_that_comes_too_late_to_be_wanted_goes_on(pair: Pair) -> None:
    one, other = pair.turns
    one.take(pair.room_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.other.say, pair.room_id, "never mind", BOB)
        await pair.other_wants()
        nursery.cancel_scope.cancel()
    pair.hand_on()
    with trio.fail_after(_PATIENCE_SECONDS / 2):
        await pair.one.say(pair.room_id, "hello", BOB)
    assert other.holder(pair.room_id) is None
    assert await pair.one.bodies(pair.room_id) == ["hello"]


async def test_a_turn_that_was_waited_for_is_kept_while_the_room_is_held(pair: Pair) -> None:
    one, _ = pair.turns
    one.take(pair.room_id)
    is_held, may_end = trio.Event(), trio.Event()

    async def hold() -> None:
        async with pair.other.log.held(pair.room_id):
            is_held.set()
            await may_end.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await pair.other_wants()
        pair.hand_on()
        await is_held.wait()
        await pair.other.say(await pair.other.create(), "elsewhere")
        assert one.holder(pair.room_id) == 1
        may_end.set()
    assert one.holder(pair.room_id) is None


async def test_a_turn_that_nobody_takes_is_over_soon(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common_memory, "_NEXT_MS", 0)
    one, _ = pair.turns
    one.take(pair.room_id)
    assert one.hand_on(pair.room_id, 1)
    with trio.fail_after(_PATIENCE_SECONDS / 2):
        await pair.one.say(pair.room_id, "hello", BOB)


class Gate:
    """One of a pair commits late: others compute on top of that meanwhile."""

    def __init__(self, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = trio.Event()
        self.opened = trio.Event()
        self.error: Exception | None = None
        self._pair = pair
        self._put = pair.one.log._committer.put
        monkeypatch.setattr(pair.one.log._committer, "put", self._put_late)
        assert pair.one.log._turns is not None
        # Otherwise nobody is told before.
        pair.one.log._turns._note_others(pair.room_id)

    async def _put_late(self, writes: Collection[RoomWrite]) -> tuple[Collection[int], dict[int, int]]:
        self.reached.set()
        await self.opened.wait()
        if self.error is not None:
            raise self.error
        return await self._put(writes)

    async def holds_up(self, one: Act, other: Act) -> None:
        """Have the one do something, which is committed once the other waits for it with what it has begun then."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            await self.reached.wait()
            nursery.start_soon(other)
            await self._awaited()
            self.opened.set()

    async def _awaited(self) -> None:
        with trio.fail_after(_PATIENCE_SECONDS):
            while not self._pair.commons[0].memory.interests.elsewhere(self._pair.room_id, COMING):  # noqa: ASYNC110
                await trio.sleep(0.01)


async def test_while_one_commits_messages_the_other_computes_on_top_of_them(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(pair, monkeypatch)
    puts = _watched(pair.other, monkeypatch)
    await gate.holds_up(
        partial(pair.one.say, pair.room_id, "first", BOB), partial(pair.other.say, pair.room_id, "second", BOB)
    )
    assert puts == [True]
    first, second = (await _after(pair.other, pair.room_id, 0))[-2:]
    assert second.event.prev_events == (first.event.event_id,)
    assert await pair.other.bodies(pair.room_id) == ["first", "second"]


async def test_what_was_computed_on_top_of_what_is_never_committed_is_computed_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(pair, monkeypatch)
    gate.error = DatabaseUnavailable("it is being restarted")
    puts = _watched(pair.other, monkeypatch)

    async def say_in_vain() -> None:
        with pytest.raises(DatabaseUnavailable):
            await pair.one.say(pair.room_id, "lost", BOB)

    await gate.holds_up(say_in_vain, partial(pair.other.say, pair.room_id, "kept", BOB))
    assert puts == [True]
    assert await pair.other.bodies(pair.room_id) == ["kept"]


async def test_what_must_know_more_of_what_comes_before_it_waits_until_that_is_committed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(pair, monkeypatch)
    puts = _watched(pair.other, monkeypatch)
    await gate.holds_up(
        partial(pair.one.say, pair.room_id, "first", BOB),
        partial(pair.other.set, pair.room_id, "m.room.name", "", {"name": "Tea"}),
    )
    assert puts == [True]
    first, name = (await _after(pair.other, pair.room_id, 0))[-2:]
    assert name.event.prev_events == (first.event.event_id,)


async def test_others_wait_with_what_they_compute_while_the_state_of_a_room_changes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(pair, monkeypatch)
    puts = _watched(pair.other, monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pair.one.set, pair.room_id, "m.room.name", "", {"name": "Tea"})
        await gate.reached.wait()
        nursery.start_soon(pair.other.say, pair.room_id, "hello", BOB)
        await pair.other_wants()
        assert not pair.commons[0].memory.interests.elsewhere(pair.room_id, COMING)
        gate.opened.set()
    assert puts == [True]


async def test_several_heads_that_are_coming_are_followed_if_all_of_them_have_been_told(pair: Pair) -> None:
    room = await pair.other.rooms.room(pair.room_id)
    assert room is not None
    heads = ComingHeads(pair.commons[1].siblings, pair.other.rooms)

    def hear(head: int, event_id: str, follows: str = "") -> list[int]:
        last = [(event_id, 7, 7)] if event_id else []
        heads._hear(pickle.dumps((pair.room_id, room.head + head, last, [follows] if follows else [])))
        return [coming.head - room.head for coming in heads.ahead([room]).values()]

    assert hear(2, "$b", "$a") == []
    assert hear(1, "$a", "$now") == [1]
    assert hear(2, "$b", "$a") == [2]
    assert hear(2, "") == []
    assert hear(3, "$c", "$b") == []
    # Something else came in the place of the first, and it is not known what.
    assert hear(1, "$a", "$now") == [1]
    assert hear(2, "$c", "$other") == []


async def test_what_comes_from_elsewhere_has_its_turn_and_is_placed_again_if_somebody_writes_out_of_turn(
    pair: Pair,
) -> None:
    house = pair.other
    resolver = StateResolver(house.database, house.nodes)
    placement = Placement(house.database, house.log, house.rooms, house.nodes, resolver)
    join = await Foreign(house, pair.room_id).joins(ZOE)
    write_now, said = house.log.write, list[str]()
    # As though it had waited for too long.
    pair.one.log._turns = None

    async def write_late(write: RoomWrite) -> bool:
        if len(said) < 3:
            said.append(f"{len(said)}")
            await pair.one.say(pair.room_id, said[-1], BOB)
        return await write_now(write)

    house.log.write = write_late  # type: ignore[method-assign]  # to make it late
    with trio.fail_after(_PATIENCE_SECONDS):
        outcomes = await placement.place(pair.room_id, [Arrival(join)])
    assert outcomes == {join.event_id: Outcome(Verdict.ACCEPTED)}
    assert pair.turns[0].holder(pair.room_id) is None
    assert await house.bodies(pair.room_id) == said == ["0", "1", "2"]


async def test_those_who_want_a_room_come_round_by_their_places(pair: Pair) -> None:
    with in_common(3) as commons:
        rooms = CachedRooms(pair.one.database, pair.one.publisher)
        turns = [WritingTurns(common.siblings, common.memory, rooms) for common in commons]
        for wanting in (0, 2):
            commons[wanting].memory.interests.note(_ROOM, WRITING)
        turns[1].take([_ROOM])
        turns[1].hand_on([_ROOM])
        holders = []
        for _ in range(2):
            holder = commons[1].memory.room_turns.holder(_ROOM)
            assert holder is not None
            holders.append(holder)
            turns[holder].take([_ROOM])
            turns[holder].hand_on([_ROOM])
        assert holders == [2, 0]


def _watched(house: House, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note for each commit of a process from now on whether it has been made, or was computed in vain."""
    put, noted = house.log._committer.put, list[bool]()

    async def put_and_note(writes: Collection[RoomWrite]) -> tuple[Collection[int], dict[int, int]]:
        written = await put(writes)
        noted.append(bool(written[0]))
        return written

    monkeypatch.setattr(house.log._committer, "put", put_and_note)
    return noted


async def _after(house: House, room_id: RoomId, position: int) -> list[StoredEvent]:
    upto = house.publisher.position
    return list((await house.timeline.recent(room_id, after=position, upto=upto, limit=20)).events)


def _put_after_the_other(
    pair: Pair,
) -> Callable[[Collection[RoomWrite]], Awaitable[tuple[Collection[int], dict[int, int]]]]:
    """Return how the one commits when, the first time, the other says something before that."""
    put, is_late = pair.one.log._committer.put, trio.Event()

    async def put_late(writes: Collection[RoomWrite]) -> tuple[Collection[int], dict[int, int]]:
        if not is_late.is_set():
            is_late.set()
            await pair.other.say(pair.room_id, "first", BOB)
        return await put(writes)

    return put_late
