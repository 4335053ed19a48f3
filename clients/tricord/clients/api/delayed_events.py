"""Events that are sent later, unless they are cancelled or restarted before: by which calls end when somebody is gone.

https://github.com/matrix-org/matrix-spec-proposals/pull/4140

The older way to schedule one is `org.matrix.msc4140.delay` in the query of the usual endpoints that send; the older way
to act on one names the action in the body.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import EventId, RoomId

DELAY = "org.matrix.msc4140.delay"
"""The parameter of the older way."""

_PREFIX = "/_matrix/client/unstable/org.matrix.msc4140"

Action = Literal["send", "cancel", "restart"]


class DelayedEvent(Model):
    """An event that waits, or what became of it."""

    delay_id: str
    room_id: RoomId
    type: str
    state_key: str | None = None
    delay: int
    running_since: int
    content: dict[str, Any]
    event_id: EventId | None = None
    outcome: Literal["send", "cancel", "error"] | None = None
    reason: Literal["action", "delay"] | None = None
    error: dict[str, Any] | None = None
    origin_server_ts: int | None = None


class ScheduleEvent(Endpoint):
    """Send an event later; with a state key, state."""

    method = "PUT"
    path = f"{_PREFIX}/rooms/{{room_id}}/delayed_event/{{event_type}}/{{txn_id}}"
    authentication = Authentication.GUEST
    hot = True

    class Body(Model):
        """What to send, and in how many milliseconds."""

        delay: int
        state_key: str | None = None
        content: dict[str, Any]

    class Response(Model):
        """By which it can be sent, cancelled and restarted, by anybody who knows it."""

        delay_id: str


class GetDelayedEvents(Endpoint):
    """List one's events that wait, and what became of others."""

    method = "GET"
    path = f"{_PREFIX}/delayed_events"
    authentication = Authentication.GUEST
    body_kind = "none"

    class Query(Model):
        """Which of them, and in which order."""

        order_by: Literal["send_ts", "origin_server_ts", "running_since"] = "send_ts"
        dir: Literal["f", "b"] = "f"
        since_ts: str | None = Field(None, pattern=r"^([0-9]{1,15}|end)$")
        from_: str | None = Field(None, alias="from")
        status: Literal["scheduled", "finalised"] | None = None
        room_id: str | None = None
        type: str | None = None
        outcome: Literal["send", "cancel", "error"] | None = None
        reason: Literal["action", "delay"] | None = None

    class Response(Model):
        """A page of them."""

        delayed_events: list[DelayedEvent]
        next_batch: str | None = None
        prev_batch: str | None = None


class GetDelayedEvent(Endpoint):
    """Look at one of one's events."""

    method = "GET"
    path = f"{_PREFIX}/delayed_events/{{delay_id}}"
    authentication = Authentication.GUEST
    body_kind = "none"
    Response = DelayedEvent


class UpdateDelayedEvent(Endpoint):
    """Send an event now, never, or later than it would be; whoever knows its id may."""

    method = "POST"
    path = f"{_PREFIX}/delayed_events/{{delay_id}}/{{action}}"
    authentication = Authentication.NONE
    hot = True


class UpdateDelayedEventByBody(Endpoint):
    """Do the same, the older way."""

    method = "POST"
    path = f"{_PREFIX}/delayed_events/{{delay_id}}"
    authentication = Authentication.NONE
    hot = True

    class Body(Model):
        """What to do."""

        action: Action
