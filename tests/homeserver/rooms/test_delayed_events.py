"""Events that are sent later: when their time comes, at a word, or never."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.servers import PASSWORD, running_homeserver
from tricord.clients import Client, Refused
from tricord.clients.api.delayed_events import UpdateDelayedEventByBody
from tricord.clients.api.messages import SendMessage
from tricord.clients.api.rooms import SetState
from tricord.clients.api.well_known import GetClientWellKnown
from tricord.homeserver.clock import SystemClock
from tricord.protocol.identifiers import RoomId

MEMBER = "org.matrix.msc3401.call.member"


class LaterClock(SystemClock):
    """The time of day, and what the test adds."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@asynccontextmanager
async def alice_at(
    database_url: str, folder: Path, clock: LaterClock | None = None, **settings: Any
) -> AsyncIterator[Client]:
    """Run a homeserver, and be Alice there, registered or signed in."""
    async with (
        running_homeserver(database_url, folder, clock=clock, **settings) as homeserver,
        Client(homeserver.urls[0], patience_seconds=0) as alice,
    ):
        if await alice.is_available("alice"):
            await alice.register("alice", PASSWORD)
        else:
            await alice.login("alice", PASSWORD)
        yield alice


async def said(alice: Client, room_id: RoomId) -> list[str]:
    page = await alice.messages(room_id, limit=100)
    return [event["content"]["body"] for event in reversed(page.chunk) if event["type"] == "m.room.message"]


async def until_finalised(alice: Client, delay_id: str) -> Any:
    with trio.fail_after(60):
        while (event := await alice.delayed_event(delay_id)).outcome is None:  # noqa: ASYNC110 - nothing else says it
            await trio.sleep(0.02)
    return event


async def test_an_event_is_sent_when_its_time_comes(database_url: str, tmp_path: Path) -> None:
    async with alice_at(database_url, tmp_path) as alice:
        room = await alice.create_room()
        soon = await alice.send_later(room, "m.room.message", {"body": "soon"}, delay_ms=50)
        await alice.send_later(room, "m.room.message", {"body": "much later"}, delay_ms=3_600_000)
        sent = await until_finalised(alice, soon)
        assert (sent.outcome, sent.reason) == ("send", "delay")
        assert await said(alice, room) == ["soon"]
        event = await alice.event(room, sent.event_id)
        assert event["unsigned"]["org.matrix.msc4140.delay_id"] == soon
        assert "transaction_id" not in event["unsigned"]


async def test_what_was_due_while_no_server_ran_is_sent_after_the_restart(database_url: str, tmp_path: Path) -> None:
    clock = LaterClock()
    async with alice_at(database_url, tmp_path, clock) as alice:
        room = await alice.create_room()
        delay_id = await alice.send_later(room, MEMBER, {"left": True}, delay_ms=60_000, state_key="_alice")
    clock.ahead_ms += 61_000
    async with alice_at(database_url, tmp_path, clock) as alice:
        assert (await until_finalised(alice, delay_id)).outcome == "send"
        assert await alice.state(room, MEMBER, "_alice") == {"left": True}


async def test_the_older_ways_to_schedule_and_to_act_are_understood(database_url: str, tmp_path: Path) -> None:
    async with alice_at(database_url, tmp_path) as alice:
        room = await alice.create_room()
        delay = {"org.matrix.msc4140.delay": 3_600_000}
        path = {"room_id": room, "event_type": MEMBER}
        first = await alice.http.call(SendMessage, {**path, "txn_id": "t1"}, query=delay, body={"a": 1})
        assert await alice.http.call(SendMessage, {**path, "txn_id": "t1"}, query=delay, body={"a": 1}) == first
        state = await alice.http.call(SetState, {**path, "state_key": "_alice"}, query=delay, body={"a": 2})
        act = {"delay_id": state["delay_id"]}
        await alice.http.call(UpdateDelayedEventByBody, act, body={"action": "send"})
        assert await alice.state(room, MEMBER, "_alice") == {"a": 2}
        assert [event.delay_id for event in await alice.delayed_events(status="scheduled")] == [first["delay_id"]]
        for wrong in ("-1", "x", "1" * 30, "1.5"):
            with pytest.raises(Refused) as refusal:
                await alice.http.call(SendMessage, {**path, "txn_id": "t"}, query={"org.matrix.msc4140.delay": wrong})
            assert refusal.value.errcode == "M_INVALID_PARAM"


@pytest.mark.parametrize("settings", [{"longest_delay_seconds": 10}, {"longest_delay_seconds": 0}])
async def test_longer_than_allowed_is_refused(database_url: str, tmp_path: Path, settings: dict[str, int]) -> None:
    async with alice_at(database_url, tmp_path, delayed_events=settings) as alice:
        room = await alice.create_room()
        with pytest.raises(Refused) as refusal:
            await alice.send_later(room, "m.room.message", {"body": "x"}, delay_ms=10_001)
        assert (refusal.value.status, refusal.value.errcode) == (400, "ORG.MATRIX.MSC4140_MAX_DELAY_EXCEEDED")
        assert refusal.value.body["org.matrix.msc4140.max_delay"] == settings["longest_delay_seconds"] * 1000
        allowed = settings["longest_delay_seconds"] > 0
        assert (await alice.versions()).unstable_features["org.matrix.msc4140"] is allowed


async def test_only_so_many_wait_at_a_time(database_url: str, tmp_path: Path) -> None:
    async with alice_at(database_url, tmp_path, delayed_events={"most_per_user": 2}) as alice:
        room = await alice.create_room()
        ids = [await alice.send_later(room, "m.room.message", {}, delay_ms=60_000) for _ in range(2)]
        with pytest.raises(Refused) as refusal:
            await alice.send_later(room, "m.room.message", {}, delay_ms=60_000)
        assert (refusal.value.status, refusal.value.errcode) == (429, "M_LIMIT_EXCEEDED")
        assert refusal.value.body["retry_after_ms"] <= 60_000
        await alice.update_delayed_event(ids[0], "cancel")
        await alice.send_later(room, "m.room.message", {}, delay_ms=60_000)


async def test_an_event_is_sent_cancelled_and_restarted_at_a_word(database_url: str, tmp_path: Path) -> None:
    clock = LaterClock()
    async with alice_at(database_url, tmp_path, clock) as alice:
        room = await alice.create_room()
        now, never, again = [
            await alice.send_later(room, "m.room.message", {"body": body}, delay_ms=3_600_000)
            for body in ("now", "never", "again")
        ]
        await alice.update_delayed_event(now, "send")
        await alice.update_delayed_event(now, "send")
        await alice.update_delayed_event(never, "cancel")
        await alice.update_delayed_event(never, "cancel")
        before = await alice.delayed_event(again)
        clock.ahead_ms += 3_000_000
        await alice.update_delayed_event(again, "restart")
        assert (await alice.delayed_event(again)).running_since >= before.running_since + 3_000_000
        assert await said(alice, room) == ["now"]
        for delay_id, action in ((now, "cancel"), (now, "restart"), (never, "send"), (never, "restart")):
            with pytest.raises(Refused) as refusal:
                await alice.update_delayed_event(delay_id, action)  # type: ignore[arg-type]  # each is an action
            assert (refusal.value.status, refusal.value.errcode) == (409, "M_UNKNOWN")
        assert [event.delay_id for event in await alice.delayed_events(status="scheduled")] == [again]
        finalised = await alice.delayed_events(status="finalised", since_ts="0")
        assert {event.delay_id: (event.outcome, event.reason) for event in finalised} == {
            now: ("send", "action"),
            never: ("cancel", "action"),
        }
        backward = await alice.delayed_events(dir="b", since_ts="end", outcome="cancel")
        assert [event.delay_id for event in backward] == [never]


async def test_what_cannot_be_sent_stays_until_its_time_and_says_why(database_url: str, tmp_path: Path) -> None:
    clock = LaterClock()
    async with alice_at(database_url, tmp_path, clock) as alice:
        room = await alice.create_room()
        delay_id = await alice.send_later(room, "m.room.message", {"body": "x"}, delay_ms=60_000)
        await alice.leave(room)
        with pytest.raises(Refused) as refusal:
            await alice.update_delayed_event(delay_id, "send")
        assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")
        assert (await alice.delayed_event(delay_id)).outcome is None
        clock.ahead_ms += 60_000
        # To have it looked for.
        await alice.send_later(await alice.create_room(), "m.room.message", {"body": "y"}, delay_ms=60_000)
        failed = await until_finalised(alice, delay_id)
        assert failed.outcome == "error"
        assert failed.error["errcode"] == "M_FORBIDDEN"


async def test_whoever_does_not_know_the_id_learns_and_changes_nothing(database_url: str, tmp_path: Path) -> None:
    async with (
        running_homeserver(database_url, tmp_path) as homeserver,
        Client(homeserver.urls[0]) as alice,
        Client(homeserver.urls[0]) as bob,
    ):
        await alice.register("alice", PASSWORD)
        await bob.register("bob", PASSWORD)
        room = await alice.create_room()
        delay_id = await alice.send_later(room, "m.room.message", {"body": "x"}, delay_ms=60_000)
        assert await bob.delayed_events(since_ts="0") == []
        with pytest.raises(Refused) as refusal:
            await bob.delayed_event(delay_id)
        assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")
        for wrong in ("x", "x" * 5_000, "%00", "..%2f"):
            with pytest.raises(Refused) as refusal:
                await bob.update_delayed_event(wrong, "cancel")
            assert refusal.value.status in (400, 404)


@pytest.mark.parametrize("delay", [0, -1])
async def test_a_delay_that_is_none_is_refused(database_url: str, tmp_path: Path, delay: int) -> None:
    async with alice_at(database_url, tmp_path) as alice:
        room = await alice.create_room()
        with pytest.raises(Refused) as refusal:
            await alice.send_later(room, "m.room.message", {"body": "x"}, delay_ms=delay)
        assert refusal.value.errcode == "M_INVALID_PARAM"


async def test_calls_are_told_their_servers(database_url: str, tmp_path: Path) -> None:
    rtc = {"livekit_service_urls": ["https://rtc.hs.test"]}
    async with alice_at(database_url, tmp_path, rtc=rtc) as alice:
        transports = [{"type": "livekit", "livekit_service_url": "https://rtc.hs.test"}]
        assert await alice.rtc_transports() == transports
        found = await alice.http.call(GetClientWellKnown)
        assert found["org.matrix.msc4143.rtc_foci"] == transports
