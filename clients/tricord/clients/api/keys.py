"""Keys of devices: uploaded, queried, claimed.

https://spec.matrix.org/v1.19/client-server-api/#key-management-api
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.protocol.identifiers import DeviceId


class UploadKeys(Endpoint):
    """Upload the keys of one's device.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload
    """

    method = "POST"
    path = "/_matrix/client/v3/keys/upload"
    hot = True
    authentication = Authentication.GUEST

    class Body(Model):
        """The device's own keys, and those for others to claim, by algorithm and id."""

        device_keys: dict[str, Any] | None = None
        one_time_keys: dict[str, Any] = Field(default_factory=dict)
        fallback_keys: dict[str, Any] = Field(default_factory=dict)

    class Response(Model):
        """How many one-time keys of each algorithm are left."""

        one_time_key_counts: dict[str, int]


class QueryKeys(Endpoint):
    """Read the keys of users' devices.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery
    """

    method = "POST"
    path = "/_matrix/client/v3/keys/query"
    hot = True
    authentication = Authentication.GUEST

    class Body(Model):
        """Which devices of which users; none named: all. And how long to wait for other servers."""

        device_keys: dict[str, list[DeviceId]] = Field(max_length=10_000)
        timeout: int = Field(10_000, ge=0)

    class Response(Model):
        """Keys by user and device, and the servers that did not answer."""

        device_keys: dict[str, dict[str, Any]] = Field(default_factory=dict)
        master_keys: dict[str, Any] = Field(default_factory=dict)
        self_signing_keys: dict[str, Any] = Field(default_factory=dict)
        user_signing_keys: dict[str, Any] = Field(default_factory=dict)
        failures: dict[str, Any] = Field(default_factory=dict)


class KeyChanges(Endpoint):
    """Read whose devices have changed between two positions.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3keyschanges
    """

    method = "GET"
    path = "/_matrix/client/v3/keys/changes"
    hot = True
    body_kind = "none"

    class Query(Model):
        """Positions, as `/sync` gives them."""

        after: str = Field(alias="from")
        upto: str = Field(alias="to")

    class Response(Model):
        """Whose devices changed, and whose need not be followed any more."""

        changed: list[str] = Field(default_factory=list)
        left: list[str] = Field(default_factory=list)


class ClaimKeys(Endpoint):
    """Claim one-time keys, to begin sessions with devices.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim
    """

    method = "POST"
    path = "/_matrix/client/v3/keys/claim"
    hot = True
    authentication = Authentication.GUEST

    class Body(Model):
        """Of which algorithm, by user and device. And how long to wait for other servers."""

        one_time_keys: dict[str, dict[str, str]] = Field(max_length=10_000)
        timeout: int = Field(10_000, ge=0)

    class Response(Model):
        """Keys by user, device, and name of the key; and the servers that did not answer."""

        one_time_keys: dict[str, dict[str, Any]]
        failures: dict[str, Any] = Field(default_factory=dict)
