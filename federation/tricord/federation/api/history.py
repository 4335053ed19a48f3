"""Events and state of rooms, for servers that miss them.

https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events
https://spec.matrix.org/v1.19/server-server-api/#retrieving-events
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.federation.api.fields import AnEventId, Pdu
from tricord.protocol.strict_json import MAX_INTEGER


class TransactionOfPdus(Model):
    """Events in the wrapping of a transaction; who made it and when says nothing."""

    pdus: list[Pdu]


class AtEventQuery(Model):
    """The event before which the state is asked for."""

    event_id: AnEventId


class Backfill(Endpoint):
    """Give events up to and before some events, newest first.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1backfillroomid
    """

    method = "GET"
    path = "/_matrix/federation/v1/backfill/{room_id}"
    hot = True
    authentication = Authentication.SIGNED_REQUEST
    body_kind = "none"
    Response = TransactionOfPdus

    class Query(Model):
        """From which events, and how many."""

        v: list[AnEventId] = Field(min_length=1, max_length=100)
        limit: int = Field(ge=0)


class GetMissingEvents(Endpoint):
    """Give the events between some newer and some older ones.

    https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1get_missing_eventsroomid
    """

    method = "POST"
    path = "/_matrix/federation/v1/get_missing_events/{room_id}"
    hot = True
    authentication = Authentication.SIGNED_REQUEST

    class Body(Model):
        """Between which, and how many."""

        earliest_events: list[AnEventId] = Field(max_length=1000)
        latest_events: list[AnEventId] = Field(max_length=1000)
        limit: int = Field(10, ge=0)
        min_depth: int = 0

    class Response(Model):
        """The events, in topological order."""

        events: list[Pdu]


class GetEvent(Endpoint):
    """Give one event.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1eventeventid
    """

    method = "GET"
    path = "/_matrix/federation/v1/event/{event_id}"
    hot = True
    authentication = Authentication.SIGNED_REQUEST
    body_kind = "none"
    Response = TransactionOfPdus


class GetEventAuth(Endpoint):
    """Give the whole auth chain of an event.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1event_authroomideventid
    """

    method = "GET"
    path = "/_matrix/federation/v1/event_auth/{room_id}/{event_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    body_kind = "none"

    class Response(Model):
        """The events of the chain."""

        auth_chain: list[Pdu]


class GetState(Endpoint):
    """Give the state before an event.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1stateroomid
    """

    method = "GET"
    path = "/_matrix/federation/v1/state/{room_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    body_kind = "none"
    Query = AtEventQuery

    class Response(Model):
        """The state, and its auth chain."""

        pdus: list[Pdu]
        auth_chain: list[Pdu]


class GetStateIds(Endpoint):
    """Name the state before an event.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1state_idsroomid
    """

    method = "GET"
    path = "/_matrix/federation/v1/state_ids/{room_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    body_kind = "none"
    Query = AtEventQuery

    class Response(Model):
        """The state, and its auth chain."""

        pdu_ids: list[AnEventId]
        auth_chain_ids: list[AnEventId]


class TimestampToEvent(Endpoint):
    """Name the event that is closest to a time.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid
    """

    method = "GET"
    path = "/_matrix/federation/v1/timestamp_to_event/{room_id}"
    authentication = Authentication.SIGNED_REQUEST
    body_kind = "none"

    class Query(Model):
        """When, and on which side of it."""

        ts: int = Field(ge=-MAX_INTEGER, le=MAX_INTEGER)
        dir: Literal["f", "b"]

    class Response(Model):
        """The event, and when it says it was."""

        event_id: AnEventId
        origin_server_ts: int
