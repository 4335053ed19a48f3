"""The history and the state of rooms, as another server has them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tricord.federation.api import history
from tricord.federation.calls.base import (
    EVENTS_BYTES,
    EVENTS_SECONDS,
    QUICK_SECONDS,
    WHOLE_ROOM_BYTES,
    WHOLE_ROOM_SECONDS,
    PeerCalls,
)
from tricord.federation.errors import PeerAnswerInvalid
from tricord.protocol.identifiers import EventId, RoomId, ServerName
from tricord.protocol.strict_json import JsonObject


class HistoryCalls(PeerCalls):
    """Events, and the state before them."""

    async def backfill(
        self, destination: ServerName, room_id: RoomId, event_ids: Sequence[EventId], limit: int
    ) -> list[JsonObject]:
        """Return events up to and before some, newest first."""
        answer = await self._client.typed(
            destination,
            history.Backfill,
            history.TransactionOfPdus,
            {"room_id": room_id},
            {"v": list(event_ids), "limit": limit},
            timeout_seconds=EVENTS_SECONDS,
            max_bytes=EVENTS_BYTES,
        )
        return answer.pdus

    async def missing_events(
        self,
        destination: ServerName,
        room_id: RoomId,
        earliest: Collection[EventId],
        latest: Collection[EventId],
        limit: int,
        min_depth: int = 0,
    ) -> list[JsonObject]:
        """Return the events between some that we have and some newer ones."""
        answer = await self._client.typed(
            destination,
            history.GetMissingEvents,
            history.GetMissingEvents.Response,
            {"room_id": room_id},
            body={
                "earliest_events": list(earliest),
                "latest_events": list(latest),
                "limit": limit,
                "min_depth": min_depth,
            },
            timeout_seconds=EVENTS_SECONDS,
            max_bytes=EVENTS_BYTES,
        )
        return answer.events

    async def event(self, destination: ServerName, event_id: EventId) -> JsonObject:
        """Return one event."""
        answer = await self._client.typed(
            destination, history.GetEvent, history.TransactionOfPdus, {"event_id": event_id}
        )
        if len(answer.pdus) != 1:
            raise PeerAnswerInvalid(destination, f"was asked for one event and gave {len(answer.pdus)}")
        return answer.pdus[0]

    async def event_auth(self, destination: ServerName, room_id: RoomId, event_id: EventId) -> list[JsonObject]:
        """Return the auth chain of an event."""
        answer = await self._client.typed(
            destination,
            history.GetEventAuth,
            history.GetEventAuth.Response,
            {"room_id": room_id, "event_id": event_id},
            timeout_seconds=EVENTS_SECONDS,
            max_bytes=WHOLE_ROOM_BYTES,
        )
        return answer.auth_chain

    async def state(
        self, destination: ServerName, room_id: RoomId, event_id: EventId
    ) -> tuple[list[JsonObject], list[JsonObject]]:
        """Return the state before an event, and its auth chain."""
        answer = await self._client.typed(
            destination,
            history.GetState,
            history.GetState.Response,
            {"room_id": room_id},
            {"event_id": event_id},
            timeout_seconds=WHOLE_ROOM_SECONDS,
            max_bytes=WHOLE_ROOM_BYTES,
        )
        return answer.pdus, answer.auth_chain

    async def state_ids(
        self, destination: ServerName, room_id: RoomId, event_id: EventId
    ) -> tuple[list[EventId], list[EventId]]:
        """Return the ids of the state before an event, and of its auth chain."""
        answer = await self._client.typed(
            destination,
            history.GetStateIds,
            history.GetStateIds.Response,
            {"room_id": room_id},
            {"event_id": event_id},
            timeout_seconds=EVENTS_SECONDS,
            max_bytes=EVENTS_BYTES,
        )
        return answer.pdu_ids, answer.auth_chain_ids

    async def timestamp_to_event(
        self, destination: ServerName, room_id: RoomId, timestamp_ms: int, direction: str
    ) -> tuple[EventId, int]:
        """Return the event closest to a time, "f"orwards or "b"ackwards from it, and its `origin_server_ts`."""
        answer = await self._client.typed(
            destination,
            history.TimestampToEvent,
            history.TimestampToEvent.Response,
            {"room_id": room_id},
            {"ts": timestamp_ms, "dir": direction},
            timeout_seconds=QUICK_SECONDS,
        )
        return answer.event_id, answer.origin_server_ts
