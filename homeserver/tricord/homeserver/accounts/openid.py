"""Tokens by which users prove to other services who they are.

https://spec.matrix.org/v1.19/client-server-api/#openid
"""

from __future__ import annotations

from tricord.homeserver.accounts.tokens import OPENID_TOKEN_PREFIX, new_token, token_hash
from tricord.homeserver.clock import Clock
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.openid_tokens import insert_openid_token, user_of_openid_token
from tricord.protocol.errors import UnknownToken
from tricord.protocol.identifiers import UserId

OPENID_TOKEN_LIFETIME_SECONDS = 3600


class OpenIdTokens:
    """Makes OpenID tokens, and says whose they are."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def make(self, user_id: UserId) -> str:
        """Return a token that tells for an hour who somebody is."""
        token, now = new_token(OPENID_TOKEN_PREFIX), self._clock.now_ms()
        expires = now + OPENID_TOKEN_LIFETIME_SECONDS * 1000
        await self._database.run(insert_openid_token, token_hash(token), user_id, expires, now_ts=now)
        return token

    async def user_of(self, token: str) -> UserId:
        """Return whose a token is; raise UnknownToken if it is nobody's, or no longer."""
        now = self._clock.now_ms()
        user_id = await self._database.read(user_of_openid_token, token_hash(token), now_ts=now)
        if user_id is None:
            raise UnknownToken("the OpenID token is unknown or expired")
        return user_id
