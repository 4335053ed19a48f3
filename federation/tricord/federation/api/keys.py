"""Which keys a server signs with, and asking a notary for those of others.

https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys
"""

from __future__ import annotations

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.federation.api.fields import AServerName, Pdu
from tricord.protocol.identifiers import KeyId


class VerifyKey(Model):
    """A public key in base64."""

    key: str


class OldVerifyKey(VerifyKey):
    """A key that is no longer used, and since when."""

    expired_ts: int


class ServerKeys(Model):
    """The keys of a server, as it publishes them."""

    server_name: AServerName
    verify_keys: dict[KeyId, VerifyKey]
    old_verify_keys: dict[KeyId, OldVerifyKey] = Field(default_factory=dict)
    signatures: dict[str, dict[str, str]]
    valid_until_ts: int


class NotaryAnswer(Model):
    """The keys of servers, each object signed by its server and by the notary."""

    # Read one by one as ServerKeys: one that is malformed says nothing about the others.
    server_keys: list[Pdu] = Field(default_factory=list)


class GetServerKeys(Endpoint):
    """Publish the server's keys.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2server
    """

    method = "GET"
    path = "/_matrix/key/v2/server"
    hot = True
    # Until v1.6 the path could name a key, which meant nothing.
    also = ("/_matrix/key/v2/server/{key_id}",)
    authentication = Authentication.NONE
    body_kind = "none"
    Response = ServerKeys


class QueryServerKeys(Endpoint):
    """Ask a notary for one server's keys.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2queryservername
    """

    method = "GET"
    path = "/_matrix/key/v2/query/{server_name}"
    also = ("/_matrix/key/v2/query/{server_name}/{key_id}",)
    authentication = Authentication.NONE
    body_kind = "none"
    Response = NotaryAnswer

    class Query(Model):
        """Until when the keys shall be valid at least."""

        minimum_valid_until_ts: int | None = None


class KeyCriteria(Model):
    """Until when a key shall be valid at least."""

    minimum_valid_until_ts: int | None = None


class QueryManyServerKeys(Endpoint):
    """Ask a notary for several servers' keys.

    https://spec.matrix.org/v1.19/server-server-api/#post_matrixkeyv2query
    """

    method = "POST"
    path = "/_matrix/key/v2/query"
    authentication = Authentication.NONE
    Response = NotaryAnswer

    class Body(Model):
        """Servers, their keys, and what is wanted of each; no keys means all."""

        server_keys: dict[AServerName, dict[KeyId, KeyCriteria]]
