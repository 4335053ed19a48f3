"""Two processes and one busy room: one of them writes, and what the other hands it is there, once, whatever happens."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Sequence

import pytest
import trio

from tests.homeserver.rooms.foreign import ZOE, Foreign
from tests.homeserver.rooms.house import BOB, House, opened_house
from tests.servers import in_common
from tricord.homeserver.assembly.foundation import Common
from tricord.homeserver.rooms import cached_rooms
from tricord.homeserver.rooms.drafts import Draft
from tricord.homeserver.rooms.placement import Arrival, Outcome, Placement, Verdict
from tricord.homeserver.rooms.resolution import StateResolver
from tricord.homeserver.rooms.room_write import RoomWrite
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.stream import common_memory, publisher, siblings
from tricord.homeserver.stream.siblings import Topic
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import RoomId, UserId

_PATIENCE_SECONDS = 60


class Pair:
    """Two processes, and a room that the one has just written to."""

    def __init__(self, one: House, other: House, commons: Sequence[Common], room_id: RoomId) -> None:
        self.one = one
        self.other = other
        self.commons = commons
        self.room_id = room_id

    def let_one_write(self) -> None:
        """Make it the writer of the room."""
        self.commons[0].memory.writers.note(self.room_id)

    def hands_over(self) -> list[bytes]:
        """Note what the other asks of the one from now on."""
        asked: list[bytes] = []
        ask = self.commons[1].siblings.ask

        async def noted(place: int, question: bytes) -> bytes | None:
            asked.append(question)
            return await ask(place, question)

        self.commons[1].siblings.ask = noted  # type: ignore[method-assign]  # to look on
        return asked


@pytest.fixture
async def pair(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    # However slow the machine is.
    monkeypatch.setattr(common_memory, "_WRITER_MS", 1_000 * _PATIENCE_SECONDS)
    with in_common(2) as commons:
        async with opened_house(database_url, commons[0]) as one, opened_house(database_url, commons[1]) as other:
            with trio.fail_after(_PATIENCE_SECONDS):
                while not all(common.siblings.reached for common in commons):  # noqa: ASYNC110
                    await trio.sleep(0.01)
            room_id = await one.create()
            await one.member(room_id, BOB, "join")
            await other.publisher.catch_up()
            yield Pair(one, other, commons, room_id)


async def test_what_both_have_for_a_room_one_of_them_writes(pair: Pair) -> None:
    asked = pair.hands_over()
    pair.let_one_write()

    async def say(house: House, text: str) -> None:
        pair.let_one_write()
        stored = await house.say(pair.room_id, text, BOB, transaction_id=text)
        assert house.publisher.position >= (stored.position or 0)

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(say, pair.one, f"one {number}")
            nursery.start_soon(say, pair.other, f"other {number}")
    handed_over = [drafts for question in asked for drafts in pickle.loads(question)]  # noqa: S301  # our own
    assert len(handed_over) == 40
    said = await pair.one.bodies(pair.room_id)
    assert sorted(said) == sorted(f"{who} {number}" for who in ("one", "other") for number in range(40))
    assert await pair.other.bodies(pair.room_id) == said


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


async def _after(house: House, room_id: RoomId, position: int) -> list[StoredEvent]:
    upto = house.publisher.position
    return list((await house.timeline.recent(room_id, after=position, upto=upto, limit=20)).events)


async def test_whoever_is_refused_by_the_writer_is_told_why(pair: Pair) -> None:
    asked = pair.hands_over()
    pair.let_one_write()
    with pytest.raises(Forbidden):
        await pair.other.say(pair.room_id, "hello", UserId("@nobody:house.test"), transaction_id="t")
    assert len(asked) == 1


async def test_what_a_writer_did_before_it_died_is_done_once(pair: Pair) -> None:
    done: list[StoredEvent] = []

    async def append_and_die(asked: Sequence[Sequence[Draft]]) -> list[list[StoredEvent] | None]:
        for stored in await pair.one.log._append_for_others(asked):
            done.extend(stored or [])
        raise OSError("killed")

    others = pair.one.log._others
    assert others is not None
    others.write_with(append_and_die)
    pair.let_one_write()
    stored = await pair.other.say(pair.room_id, "hello", BOB, transaction_id="once")
    pair.let_one_write()
    await pair.other.set(pair.room_id, "m.room.name", "", {"name": "Tea"})
    assert len(done) == 2
    assert stored == done[0]
    await pair.other.publisher.catch_up()
    assert await pair.one.bodies(pair.room_id) == await pair.other.bodies(pair.room_id) == ["hello"]


async def test_who_waits_in_vain_for_a_writer_writes_alone(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on, has_gone_on = trio.Event(), trio.Event()

    async def append_late(asked: Sequence[Sequence[Draft]]) -> list[list[StoredEvent] | None]:
        await may_go_on.wait()
        stored = await pair.one.log._append_for_others(asked)
        has_gone_on.set()
        return stored

    others = pair.one.log._others
    assert others is not None
    others.write_with(append_late)
    monkeypatch.setattr(siblings, "_PATIENCE_SECONDS", 0.01)
    pair.let_one_write()
    await pair.other.say(pair.room_id, "hello", BOB, transaction_id="once")
    assert pair.commons[0].memory.writers.other(pair.room_id) in (1, None)
    may_go_on.set()
    with trio.fail_after(_PATIENCE_SECONDS):
        await has_gone_on.wait()
    await pair.one.publisher.catch_up()
    assert await pair.one.bodies(pair.room_id) == ["hello"]


async def test_a_message_that_nobody_could_tell_from_its_double_is_not_handed_over(pair: Pair) -> None:
    asked = pair.hands_over()
    pair.let_one_write()
    await pair.other.say(pair.room_id, "hello", BOB)
    assert not asked


async def test_what_comes_from_elsewhere_gets_its_place_however_busy_the_other_process_is(pair: Pair) -> None:
    """It takes longer to place than to append, so that each time the other would have written something meanwhile."""
    house = pair.other
    resolver = StateResolver(house.database, house.nodes)
    placement = Placement(house.database, house.log, house.rooms, house.nodes, resolver)
    join = await Foreign(house, pair.room_id).joins(ZOE)
    write_now, has_said, said = house.log.write, [trio.Event()], list[str]()
    others = house.log._others
    assert others is not None

    async def append_for_one(asked: Sequence[Sequence[Draft]]) -> list[list[StoredEvent] | None]:
        has_said[-1].set()
        return await house.log._append_for_others(asked)

    async def say() -> None:
        said.append(f"{len(said)}")
        stored = await pair.one.say(pair.room_id, said[-1], BOB, transaction_id=said[-1])
        assert stored.position is not None
        has_said[-1].set()

    async def write_late(write: RoomWrite) -> bool:
        has_said.append(trio.Event())
        nursery.start_soon(say)
        await has_said[-1].wait()
        return await write_now(write)

    others.write_with(append_for_one)
    house.log.write = write_late  # type: ignore[method-assign]  # to make it late
    pair.let_one_write()
    with trio.fail_after(_PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            outcomes = await placement.place(pair.room_id, [Arrival(join)])
    assert outcomes == {join.event_id: Outcome(Verdict.ACCEPTED)}
    assert sorted(await house.bodies(pair.room_id)) == sorted(said)
