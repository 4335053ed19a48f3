"""Where a server is found, and whom to ask for help.

https://spec.matrix.org/v1.19/client-server-api/#well-known-uris
"""

from __future__ import annotations

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model


class BaseUrl(Model):
    """Where an API begins."""

    base_url: str


class GetClientWellKnown(Endpoint):
    """Say where the client API of the server name is.

    https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixclient
    """

    method = "GET"
    path = "/.well-known/matrix/client"
    authentication = Authentication.NONE
    hot = True
    body_kind = "none"

    class Response(Model):
        """The homeserver's base URL."""

        homeserver: BaseUrl = Field(alias="m.homeserver")


class GetServerWellKnown(Endpoint):
    """Say where other servers reach the server name.

    https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver
    """

    method = "GET"
    path = "/.well-known/matrix/server"
    authentication = Authentication.NONE
    hot = True
    body_kind = "none"

    class Response(Model):
        """`host:port`."""

        server: str = Field(alias="m.server")


class Contact(Model):
    """A way to reach those who run the server."""

    role: str
    matrix_id: str | None = None
    email_address: str | None = None


class GetSupport(Endpoint):
    """Say whom to write to about the server.

    https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixsupport
    """

    method = "GET"
    path = "/.well-known/matrix/support"
    authentication = Authentication.NONE
    body_kind = "none"

    class Response(Model):
        """Contacts, a page, or both."""

        contacts: list[Contact] | None = None
        support_page: str | None = None


class PolicyServerKeys(Model):
    """Keys by their algorithm, in unpadded base64."""

    ed25519: str


class GetPolicyServer(Endpoint):
    """Say by which key the server recommends events, where it is a policy server.

    https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixpolicy_server
    """

    method = "GET"
    path = "/.well-known/matrix/policy_server"
    authentication = Authentication.NONE
    body_kind = "none"

    class Response(Model):
        """What `m.room.policy` events need of it."""

        public_keys: PolicyServerKeys
