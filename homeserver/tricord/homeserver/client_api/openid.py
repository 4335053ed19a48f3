"""The route of OpenID tokens."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.openid import RequestOpenIdToken
from tricord.homeserver.accounts.openid import OPENID_TOKEN_LIFETIME_SECONDS, OpenIdTokens
from tricord.homeserver.client_api.own import own_user_id
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.identifiers import ServerName
from tricord.protocol.strict_json import JsonObject


class OpenIdApi:
    """Lets users prove to other services who they are."""

    def __init__(self, tokens: OpenIdTokens, server_name: ServerName) -> None:
        self._tokens = tokens
        self._server_name = server_name

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(RequestOpenIdToken, self.token)]

    async def token(self, call: Call[JsonObject, Any]) -> RequestOpenIdToken.Response:
        """Make a token."""
        return RequestOpenIdToken.Response(
            access_token=await self._tokens.make(own_user_id(call)),
            matrix_server_name=self._server_name,
            expires_in=OPENID_TOKEN_LIFETIME_SECONDS,
        )
