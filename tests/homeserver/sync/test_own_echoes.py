"""What somebody has sent, told to the device that sent it: not before the request is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from tests.homeserver.sync.people import Follower, joined, texts
from tests.homeserver.sync.windows import Window, bodies, first
from tricord.homeserver.rooms.append import Draft, Log
from tricord.homeserver.rooms.client_format import Reader
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.unanswered import Unanswered
from tricord.protocol.identifiers import DeviceId, UserId

ALICE, HER_PHONE = UserId("@alice:hs.test"), DeviceId("PHONE")
NOW_MS = 1_000_000


@dataclass(frozen=True)
class Said:
    """What waiting asks of an event."""

    sender: UserId
    origin_server_ts: int


@dataclass(frozen=True)
class Stored:
    """The same, as the log has it."""

    event: Said
    transaction_id: str
    sender_device: DeviceId


class Clock:
    """A clock that stands."""

    def now_ms(self) -> int:
        return NOW_MS


def sent(transaction_id: str, age_ms: int = 0) -> StoredEvent:
    return cast("StoredEvent", Stored(Said(ALICE, NOW_MS - age_ms), transaction_id, HER_PHONE))


async def next_said(person: Follower, room: str) -> list[str]:
    while "rooms" not in (news := await person.news(wait=60)):
        pass  # somebody has come or gone
    return texts(joined(news, room))


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> trio.Event:
    """Let nobody who sends be answered until this is set, though all is committed."""
    answering, append_all = trio.Event(), Log.append_all

    async def hesitant(log: Log, drafts: Sequence[Draft]) -> list[StoredEvent]:
        stored = await append_all(log, drafts)
        if drafts[0].type == "m.room.message":
            await answering.wait()
        return stored

    monkeypatch.setattr(Log, "append_all", hesitant)
    return answering


@pytest.mark.parametrize("by", ["/sync", "a window"])
async def test_a_device_hears_of_its_own_message_after_the_answer(
    by: str, alice: Follower, bob: Follower, answering: trio.Event
) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    await alice.sync()
    await bob.sync()
    window = Window(alice, first(1))
    await window.look()
    order: list[str] = []

    async def send() -> None:
        await alice.say(room, "hello")
        order.append("answered")

    async def hear() -> None:
        if by == "/sync":
            said = await next_said(alice, room)
        else:
            said = bodies((await window.look(wait_ms=60_000))["rooms"][room])
        assert said == ["hello"]
        order.append("heard")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear)
        nursery.start_soon(send)
        # Others need not wait for that.
        assert await next_said(bob, room) == ["hello"]
        await trio.testing.wait_all_tasks_blocked()
        assert order == []
        answering.set()
    assert order == ["answered", "heard"]


async def test_for_an_answer_that_does_not_come_nobody_waits_long(autojump_clock: MockClock) -> None:
    unanswered = Unanswered(Clock(), elsewhere=False)
    with unanswered.request(Reader(ALICE, HER_PHONE), "1"):
        await unanswered.wait(Reader(ALICE, HER_PHONE), [sent("1")])
    assert trio.current_time() == 1


@pytest.mark.parametrize(
    ("reader", "transaction_id"),
    [
        (Reader(ALICE, DeviceId("LAPTOP")), "1"),
        (Reader(ALICE, HER_PHONE), "2"),
        (Reader(UserId("@bob:hs.test"), None), "1"),
    ],
)
async def test_only_the_device_that_sent_waits_and_only_for_what_it_sent(
    reader: Reader, transaction_id: str, autojump_clock: MockClock
) -> None:
    unanswered = Unanswered(Clock(), elsewhere=False)
    with unanswered.request(Reader(ALICE, HER_PHONE), "1"):
        await unanswered.wait(reader, [sent(transaction_id)])
    assert trio.current_time() == 0


@pytest.mark.parametrize(("age_ms", "waited"), [(5, 0.02), (500, 0)])
async def test_another_process_gets_a_moment_to_answer_what_it_has_just_written(
    age_ms: int, waited: float, autojump_clock: MockClock
) -> None:
    await Unanswered(Clock(), elsewhere=True).wait(Reader(ALICE, HER_PHONE), [sent("1", age_ms)])
    assert trio.current_time() == pytest.approx(waited)
