"""Routes of a room's timeline: sending, redacting, reading."""

from __future__ import annotations

from typing import Any

import orjson

from tricord.clients.api.messages import (
    EventIdResponse,
    GetContext,
    GetEvent,
    GetMessages,
    RedactEvent,
    SendMessage,
    TimestampToEvent,
)
from tricord.homeserver.client_api.delayed_events import wanted_delay
from tricord.homeserver.rooms.client_format import Reader
from tricord.homeserver.rooms.delayed_events import DelayedEvents
from tricord.homeserver.rooms.history import History, PageRequest
from tricord.homeserver.rooms.send import Sending
from tricord.homeserver.rooms.timeline import Direction
from tricord.homeserver.rooms.unanswered import Unanswered
from tricord.homeserver.serving.call import Answer, Call, Requester, Route
from tricord.homeserver.stream.tokens import decode_place
from tricord.protocol.errors import InvalidParam
from tricord.protocol.event_filters import RoomEventFilter
from tricord.protocol.identifiers import EventId, parse_event_id, parse_room_id
from tricord.protocol.strict_json import JsonObject, parse_object


class MessagesApi:
    """What is written into rooms, and read back."""

    def __init__(self, sending: Sending, delayed: DelayedEvents, history: History, unanswered: Unanswered) -> None:
        self._sending = sending
        self._unanswered = unanswered
        self._delayed = delayed
        self._history = history

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(SendMessage, self.send),
            Route(RedactEvent, self.redact),
            Route(GetMessages, self.messages),
            Route(GetContext, self.context),
            Route(GetEvent, self.event),
            Route(TimestampToEvent, self.closest_to),
        ]

    async def send(self, call: Call[JsonObject, Any]) -> JsonObject:
        """Send a message event."""
        path, room_id = call.path, parse_room_id(call.path["room_id"])
        if (delay := wanted_delay(call)) is not None:
            delay_id = await self._delayed.schedule(
                call.requester,
                room_id,
                path["event_type"],
                None,
                call.body,
                delay_ms=delay,
                transaction_id=path["txn_id"],
            )
            return {"delay_id": delay_id}
        with self._unanswered.request(_device(call.requester), path["txn_id"]):
            event_id = await self._sending.send_message(
                call.requester, room_id, path["event_type"], call.body, path["txn_id"]
            )
        return {"event_id": event_id}

    async def redact(self, call: Call[JsonObject, Any]) -> EventIdResponse:
        """Redact an event."""
        path = call.path
        with self._unanswered.request(_device(call.requester), path["txn_id"]):
            event_id = await self._sending.redact(
                call.requester,
                parse_room_id(path["room_id"]),
                parse_event_id(path["event_id"]),
                call.body,
                path["txn_id"],
            )
        return EventIdResponse(event_id=event_id)

    async def messages(self, call: Call[Any, GetMessages.Query]) -> JsonObject:
        """Read a page of history."""
        wanted = call.query
        request = PageRequest(
            direction=Direction(wanted.dir),
            start=None if wanted.from_ is None else decode_place(wanted.from_),
            end=None if wanted.to is None else decode_place(wanted.to),
            limit=_checked_limit(wanted.limit),
            wanted=_filter(wanted.filter),
        )
        return await self._history.page(call.requester, parse_room_id(call.path["room_id"]), request)

    async def context(self, call: Call[Any, GetContext.Query]) -> JsonObject:
        """Read an event and its surroundings."""
        room_id, event_id = parse_room_id(call.path["room_id"]), EventId(call.path["event_id"])
        limit, wanted = _checked_limit(call.query.limit), _filter(call.query.filter)
        return await self._history.context(call.requester, room_id, event_id, limit, wanted)

    async def event(self, call: Call[Any, Any]) -> Answer:
        """Read one event."""
        room_id, event_id = parse_room_id(call.path["room_id"]), EventId(call.path["event_id"])
        return Answer(orjson.dumps(await self._history.event(call.requester, room_id, event_id)))

    async def closest_to(self, call: Call[Any, TimestampToEvent.Query]) -> TimestampToEvent.Response:
        """Find the event closest to a time."""
        room_id, wanted = parse_room_id(call.path["room_id"]), call.query
        found = await self._history.closest_to(call.requester, room_id, wanted.ts, Direction(wanted.dir))
        return TimestampToEvent.Response(event_id=found.event.event_id, origin_server_ts=found.event.origin_server_ts)


def _device(requester: Requester) -> Reader:
    return Reader(requester.user_id, requester.device_id)


def _checked_limit(limit: int) -> int:
    if limit < 0:
        raise InvalidParam("`limit` is negative")
    return limit


def _filter(text: str | None) -> RoomEventFilter:
    return RoomEventFilter() if text is None else RoomEventFilter.parse(parse_object(text))
