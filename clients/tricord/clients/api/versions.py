"""Which Matrix versions the server speaks.

https://spec.matrix.org/v1.19/client-server-api/#api-versions
"""

from __future__ import annotations

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model


class GetVersions(Endpoint):
    """Return the supported versions of the specification, and experimental features.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientversions
    """

    method = "GET"
    path = "/_matrix/client/versions"
    # A token is not needed, and a stale one does no harm: the answer is the same for everybody.
    authentication = Authentication.NONE
    body_kind = "none"
    hot = True

    class Response(Model):
        """Versions as `v1.19`; features as `org.matrix.msc1234`."""

        versions: list[str]
        unstable_features: dict[str, bool] = Field(default_factory=dict)
