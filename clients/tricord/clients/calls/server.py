"""The homeserver itself: what it speaks, what it lets us do, who runs it."""

from __future__ import annotations

from typing import Any

from tricord.clients.api import well_known as api
from tricord.clients.api.capabilities import GetCapabilities
from tricord.clients.api.versions import GetVersions
from tricord.clients.api.voip import GetTurnServer
from tricord.clients.calls.base import Calls


class ServerCalls(Calls):
    """Questions that need no account, or nearly."""

    async def versions(self) -> GetVersions.Response:
        """Return the versions of the specification that the homeserver speaks, and what it has beyond them."""
        return await self.http.typed(GetVersions, GetVersions.Response)

    async def capabilities(self) -> dict[str, Any]:
        """Return what the homeserver lets us do.

        https://spec.matrix.org/v1.19/client-server-api/#capabilities-negotiation
        """
        return (await self.http.typed(GetCapabilities, GetCapabilities.Response)).capabilities

    async def well_known(self) -> api.GetClientWellKnown.Response:
        """Return where clients of this server name find its homeserver.

        https://spec.matrix.org/v1.19/client-server-api/#well-known-uris
        """
        return await self.http.typed(api.GetClientWellKnown, api.GetClientWellKnown.Response)

    async def server_well_known(self) -> api.GetServerWellKnown.Response:
        """Return where other homeservers find this one."""
        return await self.http.typed(api.GetServerWellKnown, api.GetServerWellKnown.Response)

    async def support(self) -> api.GetSupport.Response:
        """Return whom to write to about the homeserver."""
        return await self.http.typed(api.GetSupport, api.GetSupport.Response)

    async def turn_server(self) -> GetTurnServer.Response:
        """Return relays for calls and credentials for them; `uris` is empty where there are none.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3voipturnserver
        """
        return await self.http.typed(GetTurnServer, GetTurnServer.Response)

    async def policy_server(self) -> api.GetPolicyServer.Response:
        """Return by which key the homeserver recommends events, if it is a policy server."""
        return await self.http.typed(api.GetPolicyServer, api.GetPolicyServer.Response)
