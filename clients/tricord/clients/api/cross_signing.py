"""Keys with which users vouch for their devices and for each other.

https://spec.matrix.org/v1.19/client-server-api/#cross-signing
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.api.interactive_auth import AuthData
from tricord.clients.endpoint import Endpoint, Model


class UploadCrossSigningKeys(Endpoint):
    """Upload one's cross-signing keys.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload
    """

    method = "POST"
    path = "/_matrix/client/v3/keys/device_signing/upload"
    hot = True
    # Clients, matrix-js-sdk for one, called it so before it had a place in the specification.
    also = ("/_matrix/client/unstable/keys/device_signing/upload",)

    class Body(Model):
        """The keys; to replace others, who uploads them shows who they are."""

        master_key: dict[str, Any] | None = None
        self_signing_key: dict[str, Any] | None = None
        user_signing_key: dict[str, Any] | None = None
        auth: AuthData | None = None


class UploadSignatures(Endpoint):
    """Upload signatures on keys: the body has the keys that are signed, by user and name of the key.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload
    """

    method = "POST"
    path = "/_matrix/client/v3/keys/signatures/upload"
    also = ("/_matrix/client/unstable/keys/signatures/upload",)
    hot = True

    class Response(Model):
        """Why some signatures were not taken, by user and name of the key."""

        failures: dict[str, dict[str, Any]] = Field(default_factory=dict)
