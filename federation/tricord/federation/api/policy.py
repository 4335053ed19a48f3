"""Policy servers, which sign the events that a room shall see.

https://spec.matrix.org/v1.19/server-server-api/#policy-servers
"""

from __future__ import annotations

from tricord.clients.endpoint import Authentication, Endpoint
from tricord.federation.api.membership import MAX_EVENT_BODY


class SignByPolicy(Endpoint):
    """Sign an event, or refuse to; the body is the event, the answer signatures by server and key.

    https://spec.matrix.org/v1.19/server-server-api/#post_matrixpolicyv1sign
    """

    method = "POST"
    path = "/_matrix/policy/v1/sign"
    authentication = Authentication.SIGNED_REQUEST
    max_body = MAX_EVENT_BODY
