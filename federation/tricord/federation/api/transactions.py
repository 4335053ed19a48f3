"""The transactions by which servers send each other events.

https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.federation.api.fields import AnEventId, AServerName

MAX_PDUS = 50
MAX_EDUS = 100
# Fifty events of 64 KiB and a hundred EDUs of about as much, with room for what others take for 64 KiB.
MAX_TRANSACTION_BYTES = 14 << 20


class PduResult(Model):
    """How an event fared: no `error` means that it was taken."""

    error: str | None = None


class SendTransaction(Endpoint):
    """Send events and ephemeral messages.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1sendtxnid
    """

    method = "PUT"
    path = "/_matrix/federation/v1/send/{txn_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    max_body = MAX_TRANSACTION_BYTES

    class Body(Model):
        """A transaction. Its events and ephemeral messages are judged one by one, so here they may be anything."""

        origin: AServerName
        origin_server_ts: int
        pdus: list[Any] = Field(max_length=MAX_PDUS)
        edus: list[Any] = Field(default_factory=list, max_length=MAX_EDUS)

    class Response(Model):
        """What became of each event."""

        pdus: dict[AnEventId, PduResult]
