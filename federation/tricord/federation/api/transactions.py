"""What servers send each other as it happens."""

from __future__ import annotations

from tricord.clients.endpoint import Authentication, Endpoint


class SendTransaction(Endpoint):
    """Events and ephemeral data. At most 50 PDUs and 100 EDUs.

    https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1sendtxnid
    """

    method = "PUT"
    path = "/_matrix/federation/v1/send/{txn_id}"
    authentication = Authentication.SIGNED_REQUEST
    hot = True
    # 50 events of 64 KiB, and as many ephemeral ones again.
    max_body = 10 << 20
