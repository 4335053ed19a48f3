"""Events and state of rooms, for servers that are in them."""

from __future__ import annotations

from typing import Literal

from tricord.clients.endpoint import Authentication, Endpoint, Model


class GetEvent(Endpoint):
    """An event.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1eventeventid
    """

    method = "GET"
    path = "/_matrix/federation/v1/event/{event_id}"
    authentication = Authentication.SIGNED_REQUEST


class GetEventAuth(Endpoint):
    """The events that vouch for an event.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1event_authroomideventid
    """

    method = "GET"
    path = "/_matrix/federation/v1/event_auth/{room_id}/{event_id}"
    authentication = Authentication.SIGNED_REQUEST


class GetState(Endpoint):
    """The state before an event, and what vouches for it.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1stateroomid
    """

    method = "GET"
    path = "/_matrix/federation/v1/state/{room_id}"
    authentication = Authentication.SIGNED_REQUEST

    class Query(Model):
        """The event before which it is asked for."""

        event_id: str


class GetStateIds(Endpoint):
    """The ids of the state before an event, and of what vouches for it.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1state_idsroomid
    """

    method = "GET"
    path = "/_matrix/federation/v1/state_ids/{room_id}"
    authentication = Authentication.SIGNED_REQUEST

    class Query(Model):
        """The event before which it is asked for."""

        event_id: str


class Backfill(Endpoint):
    """Events before some events.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1backfillroomid
    """

    method = "GET"
    path = "/_matrix/federation/v1/backfill/{room_id}"
    authentication = Authentication.SIGNED_REQUEST

    class Query(Model):
        """From where, and how many."""

        v: list[str]
        limit: int


class GetMissingEvents(Endpoint):
    """Events between some events and others.

    https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1get_missing_eventsroomid
    """

    method = "POST"
    path = "/_matrix/federation/v1/get_missing_events/{room_id}"
    authentication = Authentication.SIGNED_REQUEST

    class Body(Model):
        """Between which events, and how many."""

        earliest_events: list[str]
        latest_events: list[str]
        limit: int = 10
        min_depth: int = 0


class TimestampToEvent(Endpoint):
    """The event closest to a time.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid
    """

    method = "GET"
    path = "/_matrix/federation/v1/timestamp_to_event/{room_id}"
    authentication = Authentication.SIGNED_REQUEST

    class Query(Model):
        """The time, and which way to look from it."""

        ts: int
        dir: Literal["f", "b"]


class GetHierarchy(Endpoint):
    """A space and the rooms in it.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid
    """

    method = "GET"
    path = "/_matrix/federation/v1/hierarchy/{room_id}"
    authentication = Authentication.SIGNED_REQUEST

    class Query(Model):
        """Whether only the rooms that the space suggests."""

        suggested_only: bool = False
