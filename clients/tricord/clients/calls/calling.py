"""What calls of many need: their servers, and events that are sent when somebody is gone."""

from __future__ import annotations

from typing import Any

from tricord.clients.api import delayed_events as api
from tricord.clients.api.rtc import GetRtcTransports
from tricord.clients.calls.base import Calls, given, new_transaction_id
from tricord.protocol.identifiers import RoomId


class CallingCalls(Calls):
    """Delayed events, and the servers of calls."""

    async def send_later(
        self, room_id: RoomId, event_type: str, content: dict[str, Any], *, delay_ms: int, state_key: str | None = None
    ) -> str:
        """Have an event sent later, with a state key as state; return the id by which it can be changed until then.

        https://github.com/matrix-org/matrix-spec-proposals/pull/4140
        """
        path = {"room_id": room_id, "event_type": event_type, "txn_id": new_transaction_id()}
        body = given({"delay": delay_ms, "state_key": state_key, "content": content})
        return (await self.http.typed(api.ScheduleEvent, api.ScheduleEvent.Response, path, body=body)).delay_id

    async def delayed_events(self, **wanted: Any) -> list[api.DelayedEvent]:
        """Return the first page of our delayed events; `wanted` are parameters of the request."""
        query = given(wanted)
        return (await self.http.typed(api.GetDelayedEvents, api.GetDelayedEvents.Response, query=query)).delayed_events

    async def delayed_event(self, delay_id: str) -> api.DelayedEvent:
        """Return one of our delayed events."""
        return await self.http.typed(api.GetDelayedEvent, api.DelayedEvent, {"delay_id": delay_id})

    async def update_delayed_event(self, delay_id: str, action: api.Action) -> None:
        """Send an event now, or never, or let it wait anew."""
        await self.http.call(api.UpdateDelayedEvent, {"delay_id": delay_id, "action": action})

    async def rtc_transports(self) -> list[dict[str, Any]]:
        """Return the servers that carry calls.

        https://github.com/matrix-org/matrix-spec-proposals/pull/4143
        """
        return (await self.http.typed(GetRtcTransports, GetRtcTransports.Response)).rtc_transports
