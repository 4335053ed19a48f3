"""Routes of events that are sent later."""

from __future__ import annotations

import re
from typing import Any, get_args

from tricord.clients.api.delayed_events import (
    DELAY,
    Action,
    GetDelayedEvent,
    GetDelayedEvents,
    ScheduleEvent,
    UpdateDelayedEvent,
    UpdateDelayedEventByBody,
)
from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.delayed_events import DelayedEvents, described
from tricord.homeserver.serving.call import Call, Route
from tricord.homeserver.storage.delayed_events import DelayedPage
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import parse_room_id
from tricord.protocol.strict_json import JsonObject

_PAGE = 100
_END = 1 << 53
_PLACE = re.compile(r"([0-9]{1,16})_([\w-]{0,64})")


class DelayedEventsApi:
    """Events that are sent later."""

    def __init__(self, delayed: DelayedEvents, clock: Clock) -> None:
        self._delayed = delayed
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(ScheduleEvent, self.schedule),
            Route(GetDelayedEvents, self.page),
            Route(GetDelayedEvent, self.one),
            Route(UpdateDelayedEvent, self.update),
            Route(UpdateDelayedEventByBody, self.update_by_body),
        ]

    async def schedule(self, call: Call[ScheduleEvent.Body, Any]) -> ScheduleEvent.Response:
        """Keep an event for later."""
        path, body = call.path, call.body
        delay_id = await self._delayed.schedule(
            call.requester,
            parse_room_id(path["room_id"]),
            path["event_type"],
            body.state_key,
            body.content,
            delay_ms=body.delay,
            transaction_id=path["txn_id"],
        )
        return ScheduleEvent.Response(delay_id=delay_id)

    async def page(self, call: Call[Any, GetDelayedEvents.Query]) -> JsonObject:
        """List events."""
        wanted = call.query
        backward = wanted.dir == "b"
        page = DelayedPage(
            wanted.order_by,
            backward,
            self._start(wanted, backward=backward),
            _PAGE + 1,
            None if wanted.status is None else wanted.status == "finalised",
            wanted.room_id,
            wanted.type,
            wanted.outcome,
            wanted.reason,
        )
        found = await self._delayed.page(call.requester.user_id, page)
        answer: JsonObject = {"delayed_events": [described(event) for _, event in found[:_PAGE]]}
        if len(found) > _PAGE:
            ordinal, last = found[_PAGE - 1]
            answer["prev_batch" if backward else "next_batch"] = f"{ordinal}_{last.delay_id}"
        return answer

    async def one(self, call: Call[Any, Any]) -> JsonObject:
        """Look at one event."""
        return described(await self._delayed.one(call.requester.user_id, call.path["delay_id"]))

    async def update(self, call: Call[Any, Any]) -> JsonObject:
        """Send an event, cancel it or restart it."""
        action: Any = call.path["action"]
        if action not in get_args(Action):
            raise InvalidParam(f"{action!r:.50} is nothing that can be done with a delayed event")
        await self._delayed.act(call.path["delay_id"], action)
        return {}

    async def update_by_body(self, call: Call[UpdateDelayedEventByBody.Body, Any]) -> JsonObject:
        """Do the same, as older clients ask for it."""
        await self._delayed.act(call.path["delay_id"], call.body.action)
        return {}

    def _start(self, wanted: GetDelayedEvents.Query, *, backward: bool) -> tuple[int, str]:
        if wanted.from_ is not None:
            place = _PLACE.fullmatch(wanted.from_)
            if place is None:
                raise InvalidParam("`from` is not a token of this list")
            return int(place[1]), place[2]
        if wanted.since_ts == "end":
            return _END, ""
        since = self._clock.now_ms() if wanted.since_ts is None else int(wanted.since_ts)
        # Before all that are at the same time; after them where it goes backward.
        return (since + 1, "") if backward else (since, "")


def wanted_delay(call: Call[Any, Any]) -> int | None:
    """Return how much later an event is to be sent, if a request says so in its query, the older way."""
    values = call.parameters.get(DELAY)
    if not values:
        return None
    if not values[-1].isascii() or not values[-1].isdecimal() or len(values[-1]) > 15:
        raise InvalidParam(f"`{DELAY}` is the number of milliseconds to wait")
    return int(values[-1])
