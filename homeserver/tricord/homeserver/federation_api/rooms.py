"""Routes of events and state, for servers that are in the room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tricord.federation.api.history import (
    AtEventQuery,
    Backfill,
    GetEvent,
    GetEventAuth,
    GetMissingEvents,
    GetState,
    GetStateIds,
    TimestampToEvent,
)
from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.server_reads import ServerReads
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.timeline import Direction, Timeline
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import NotFound
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId, RoomId, ServerName, parse_room_id
from tricord.protocol.strict_json import JsonObject

_MOST_BACKFILLED = 100
_MOST_MISSING = 50
_MOST_NAMED = 50


class FederationRoomsApi:
    """Shows rooms to the servers in them."""

    def __init__(self, reads: ServerReads, timeline: Timeline, server_name: ServerName, clock: Clock) -> None:
        self._reads = reads
        self._timeline = timeline
        self._server_name = server_name
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(GetEvent, self.event),
            Route(GetEventAuth, self.event_auth),
            Route(GetState, self.state),
            Route(GetStateIds, self.state_ids),
            Route(Backfill, self.backfill),
            Route(GetMissingEvents, self.missing_events),
            Route(TimestampToEvent, self.timestamp_to_event),
        ]

    async def event(self, call: Call[Any, Any]) -> JsonObject:
        """Show an event."""
        event = await self._reads.event(call.origin, EventId(call.path["event_id"]))
        return self._transaction([event])

    async def event_auth(self, call: Call[Any, Any]) -> JsonObject:
        """Show what vouches for an event."""
        room_id = await self._room_of(call)
        event = await self._timeline.event(EventId(call.path["event_id"]))
        if event is None or event.event.room_id != room_id:
            raise NotFound(f"there is no event {call.path['event_id']} in {room_id} on this server")
        return {"auth_chain": _stored(await self._reads.auth_chain([event]))}

    async def state(self, call: Call[Any, AtEventQuery]) -> JsonObject:
        """Show the state before an event."""
        state, chain = await self._state(call, call.query.event_id)
        return {"pdus": _stored(state), "auth_chain": _stored(chain)}

    async def state_ids(self, call: Call[Any, AtEventQuery]) -> JsonObject:
        """Name the state before an event."""
        state, chain = await self._state(call, call.query.event_id)
        return {
            "pdu_ids": [one.event.event_id for one in state],
            "auth_chain_ids": [one.event.event_id for one in chain],
        }

    async def backfill(self, call: Call[Any, Backfill.Query]) -> JsonObject:
        """Show some events and those before them."""
        room_id = await self._room_of(call)
        limit = min(call.query.limit, _MOST_BACKFILLED)
        start = call.query.v[:_MOST_NAMED]
        return self._transaction(await self._reads.backfill(call.origin, room_id, start, limit))

    async def missing_events(self, call: Call[GetMissingEvents.Body, Any]) -> JsonObject:
        """Show the events between some events and others."""
        room_id, body = await self._room_of(call), call.body
        limit = min(body.limit, _MOST_MISSING)
        events = await self._reads.missing(
            call.origin, room_id, body.earliest_events[:_MOST_NAMED], body.latest_events[:_MOST_NAMED], limit
        )
        return {"events": _events([event for event in events if event.depth >= body.min_depth])}

    async def timestamp_to_event(self, call: Call[Any, TimestampToEvent.Query]) -> JsonObject:
        """Name the event closest to a time."""
        room_id = await self._room_of(call)
        found = await self._timeline.closest_to(room_id, call.query.ts, Direction(call.query.dir))
        if found is None:
            raise NotFound("there is no event on that side of the time")
        return {"event_id": found.event.event_id, "origin_server_ts": found.event.origin_server_ts}

    async def _room_of(self, call: Call[Any, Any]) -> RoomId:
        room_id = parse_room_id(call.path["room_id"])
        await self._reads.check_in_room(call.origin, room_id)
        return room_id

    async def _state(self, call: Call[Any, Any], event_id: str) -> tuple[list[StoredEvent], list[StoredEvent]]:
        room_id = await self._room_of(call)
        state = await self._reads.state_before(await self._reads.placed(room_id, EventId(event_id)))
        return state, await self._reads.auth_chain(state)

    def _transaction(self, events: Sequence[Event]) -> JsonObject:
        return {
            "origin": self._server_name,
            "origin_server_ts": self._clock.now_ms(),
            "pdus": _events(events),
        }


def _events(events: Sequence[Event]) -> list[orjson.Fragment]:
    return [orjson.Fragment(event.json) for event in events]


def _stored(events: Sequence[StoredEvent]) -> list[orjson.Fragment]:
    return _events([stored.event for stored in events])
