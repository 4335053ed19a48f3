"""The route by which services learn whose an OpenID token is."""

from __future__ import annotations

from typing import Any

from tricord.federation.api.openid import GetOpenIdUserInfo
from tricord.homeserver.accounts.openid import OpenIdTokens
from tricord.homeserver.serving.call import Call, Route


class OpenIdUserInfoApi:
    """Says who somebody is that shows an OpenID token."""

    def __init__(self, tokens: OpenIdTokens) -> None:
        self._tokens = tokens

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(GetOpenIdUserInfo, self.user_info)]

    async def user_info(self, call: Call[Any, GetOpenIdUserInfo.Query]) -> GetOpenIdUserInfo.Response:
        """Say whose a token is."""
        return GetOpenIdUserInfo.Response(sub=await self._tokens.user_of(call.query.access_token))
