"""Events that are sent later: scheduled by users, and sent when their time comes, even if nobody is there any more.

https://github.com/matrix-org/matrix-spec-proposals/pull/4140
"""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import Literal

import orjson
import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.delayed_settings import DelayedEventSettings
from tricord.homeserver.rooms.draft_checks import check_content, check_server_acl
from tricord.homeserver.rooms.membership_checks import check_joined
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.send import Sending
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.storage.accounts import account_by_id
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.delayed_events import (
    DelayedEvent,
    DelayedPage,
    Reason,
    delayed_event,
    delayed_events_of,
    finalise_events,
    free_event,
    lease_due_events,
    lease_event,
    next_send_ts,
    next_send_ts_of,
    prune_delayed_events,
    put_delayed_event,
    restart_event,
)
from tricord.homeserver.storage.errors import DatabaseError
from tricord.protocol.errors import BadJson, InvalidParam, LimitExceeded, MatrixError, NotFound
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

Action = Literal["send", "cancel", "restart"]

_LEASE_MS = 60_000
_AT_ONCE = 20
# For what another process had scheduled before it ended.
_LOOK_EVERY_SECONDS = 10
_PRUNE_EVERY_MS = 3600_000
_FINALISED_LAST_MS = 7 * 24 * 3600_000
_MOST_FINALISED = 1_000
_LONGEST_TRANSACTION_ID = 512

_logger = structlog.get_logger(__name__)


class MaxDelayExceeded(MatrixError):
    """The event would be sent later than this server allows."""

    errcode = "ORG.MATRIX.MSC4140_MAX_DELAY_EXCEEDED"


class AlreadyFinalised(MatrixError):
    """Something else has become of the event."""

    status = 409


class DelayedEvents:
    """Keeps events until their time comes."""

    def __init__(
        self,
        database: Database,
        sending: Sending,
        memberships: Memberships,
        clock: Clock,
        settings: DelayedEventSettings,
    ) -> None:
        self._database = database
        self._memberships = memberships
        self._sending = sending
        self._clock = clock
        self._longest_ms = settings.longest_delay_seconds * 1000
        self._most = settings.most_per_user
        self._changed = trio.Event()
        self._prune_at = 0

    async def schedule(
        self,
        requester: Requester,
        room_id: RoomId,
        event_type: str,
        state_key: str | None,
        content: JsonObject,
        *,
        delay_ms: int,
        transaction_id: str | None = None,
    ) -> str:
        """Keep an event for later and return the id by which it is sent, cancelled or restarted."""
        if delay_ms <= 0:
            raise InvalidParam("`delay` is the number of milliseconds to wait: at least one")
        if delay_ms > self._longest_ms:
            raise MaxDelayExceeded(
                f"events are sent at most {self._longest_ms} ms later here",
                **{"org.matrix.msc4140.max_delay": self._longest_ms},
            )
        # What they may send there is judged when the event is sent; outsiders have nothing to prepare.
        await check_joined(self._memberships, requester.user_id, room_id)
        check_content(event_type, state_key, content)
        check_server_acl(event_type, state_key, content, requester.user_id)
        if "\0" in event_type or "\0" in (state_key or "") or len(transaction_id or "") > _LONGEST_TRANSACTION_ID:
            raise BadJson("event types and state keys have no NUL in them, and transaction ids are short")
        event = DelayedEvent(
            secrets.token_urlsafe(24),
            requester.user_id,
            requester.device_id,
            room_id,
            event_type,
            state_key,
            orjson.dumps(content),
            delay_ms,
            self._clock.now_ms(),
        )
        request = None if transaction_id is None else _digest(requester, event, transaction_id)
        delay_id = await self._database.run(put_delayed_event, event, request, most=self._most)
        if delay_id is None:
            await self._refuse_more(requester.user_id)
        self._wake()
        return delay_id or ""

    async def act(self, delay_id: str, action: Action) -> None:
        """Send an event now, never, or later."""
        event = await self._database.read(delayed_event, delay_id)
        if event is None:
            raise NotFound("there is no such delayed event")
        if event.outcome is None:
            match action:
                case "send":
                    await self._send(event)
                case "cancel":
                    await self._cancel(event)
                case "restart":
                    await self._restart(event)
            return
        if action == "restart" or (action == "send") is not (event.outcome == "send"):
            raise AlreadyFinalised(f"the delayed event has been {'sent' if event.outcome == 'send' else 'cancelled'}")

    async def one(self, user_id: UserId, delay_id: str) -> DelayedEvent:
        """Return an event of a user."""
        event = await self._database.read(delayed_event, delay_id)
        if event is None or event.user_id != user_id:
            raise NotFound("you have no such delayed event")
        return event

    async def page(self, user_id: UserId, page: DelayedPage) -> list[tuple[int, DelayedEvent]]:
        """Return some of a user's events, each with the time that it is ordered by."""
        return await self._database.read(delayed_events_of, user_id, page)

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            self._changed = trio.Event()
            pause = float(_LOOK_EVERY_SECONDS)
            try:
                await self.send_due()
                await self._prune()
                next_ts = await self._database.read(next_send_ts)
                if next_ts is not None:
                    # What is due and still there is being sent by somebody, or cannot be sent now.
                    due_in = (next_ts - self._clock.now_ms()) / 1000
                    pause = min(pause, due_in) if due_in > 0 else 1.0
            except DatabaseError as error:
                _logger.warning("sending delayed events is interrupted", reason=str(error))
            with trio.move_on_after(pause):
                await self._changed.wait()

    async def send_due(self) -> None:
        """Send what is due now."""
        while True:
            now = self._clock.now_ms()
            due = await self._database.run(lease_due_events, now, now + _LEASE_MS, _AT_ONCE)
            if not due:
                return
            for event in due:
                await self._send_due(event)

    async def _send_due(self, event: DelayedEvent) -> None:
        try:
            event_id = await self._append(event)
        except MatrixError as refusal:
            _logger.info("a delayed event is not sent", room_id=event.room_id, reason=refusal.message)
            error = orjson.dumps(refusal.body())
            await self._finalise(event, "error", "delay", error=error)
        except DatabaseError:
            raise
        except Exception:
            # One event must not keep the others from being sent.
            _logger.exception("sending a delayed event failed", room_id=event.room_id)
            error = orjson.dumps({"errcode": "M_UNKNOWN", "error": "the event could not be sent"})
            await self._finalise(event, "error", "delay", error=error)
        else:
            await self._finalise(event, "send", "delay", event_id=event_id)

    async def _send(self, event: DelayedEvent) -> None:
        await self._take(event)
        try:
            event_id = await self._append(event)
        except MatrixError:
            # It stays for its time: what keeps it from being sent may be over by then.
            await self._database.run(free_event, event.delay_id)
            raise
        await self._finalise(event, "send", "action", event_id=event_id)

    async def _cancel(self, event: DelayedEvent) -> None:
        await self._take(event)
        await self._finalise(event, "cancel", "action")

    async def _restart(self, event: DelayedEvent) -> None:
        if not await self._database.run(restart_event, event.delay_id, self._clock.now_ms()):
            raise AlreadyFinalised("the delayed event is being sent")
        self._wake()

    async def _take(self, event: DelayedEvent) -> None:
        now = self._clock.now_ms()
        if not await self._database.run(lease_event, event.delay_id, now, now + _LEASE_MS):
            raise AlreadyFinalised("the delayed event is being sent")

    async def _append(self, event: DelayedEvent) -> EventId:
        account = await self._database.read(account_by_id, event.user_id)
        is_suspended = account is not None and account.suspended
        requester = Requester(
            event.user_id, event.device_id, 0, is_guest=False, is_admin=False, is_suspended=is_suspended
        )
        content = orjson.loads(event.content)
        return await self._sending.send_delayed(
            requester, event.room_id, event.type, event.state_key, content, event.delay_id
        )

    async def _finalise(
        self,
        event: DelayedEvent,
        outcome: Literal["send", "cancel", "error"],
        reason: Reason,
        *,
        event_id: EventId | None = None,
        error: bytes | None = None,
    ) -> None:
        await self._database.run(
            finalise_events, [event.delay_id], self._clock.now_ms(), outcome, reason, event_id=event_id, error=error
        )

    async def _prune(self) -> None:
        now = self._clock.now_ms()
        if now >= self._prune_at:
            self._prune_at = now + _PRUNE_EVERY_MS
            await self._database.run(prune_delayed_events, now - _FINALISED_LAST_MS, _MOST_FINALISED)

    async def _refuse_more(self, user_id: UserId) -> None:
        next_ts = await self._database.read(next_send_ts_of, user_id)
        wait_ms = max((next_ts or 0) - self._clock.now_ms(), 1)
        raise LimitExceeded(f"at most {self._most} delayed events of a user wait at a time", retry_after_ms=wait_ms)

    def _wake(self) -> None:
        self._changed.set()


def described(event: DelayedEvent) -> JsonObject:
    """Return an event as its user sees it."""
    answer: JsonObject = {
        "delay_id": event.delay_id,
        "room_id": event.room_id,
        "type": event.type,
        "delay": event.delay_ms,
        "running_since": event.running_since_ts,
        "content": orjson.Fragment(event.content),
    }
    further = {
        "state_key": event.state_key,
        "event_id": event.event_id,
        "outcome": event.outcome,
        "reason": event.reason,
        "origin_server_ts": event.finalised_ts,
        "error": None if event.error is None else orjson.Fragment(event.error),
    }
    return answer | {key: value for key, value in further.items() if value is not None}


def _digest(requester: Requester, event: DelayedEvent, transaction_id: str) -> bytes:
    device = requester.device_id or f"session {requester.session_id}"
    parts = (requester.user_id, device, event.room_id, event.type, transaction_id)
    return blake2b(orjson.dumps(parts), digest_size=24).digest()
