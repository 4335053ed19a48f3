"""Signing in: who somebody says they are, and whether they are."""

from __future__ import annotations

from tricord.clients.api.interactive_auth import UserIdentifier
from tricord.homeserver.accounts.names import local_user_id
from tricord.homeserver.accounts.passwords import Passwords, check_password_size
from tricord.homeserver.accounts.rate_limits import LoginLimits
from tricord.homeserver.accounts.tokens import LOGIN_TOKEN_PREFIX, new_token, token_hash
from tricord.homeserver.clock import Clock
from tricord.homeserver.storage.accounts import account_by_id, password_hash_of, replace_password_hash
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.login_tokens import insert_login_token, take_login_token
from tricord.protocol.errors import Forbidden, MissingParam, UserDeactivated
from tricord.protocol.identifiers import ServerName, UserId

LOGIN_TOKEN_LIFETIME_MS = 120_000

# Of unknown users, wrong passwords, addresses of nobody: the same words, so that they tell nothing apart.
_REFUSAL = "wrong user name or password"


class PasswordLogin:
    """Signing in with a password; its guessing is slowed down here, for the login and wherever else one is asked."""

    def __init__(self, server_name: ServerName, database: Database, passwords: Passwords, limits: LoginLimits) -> None:
        self._server_name = server_name
        self._database = database
        self._passwords = passwords
        self._limits = limits

    async def check(self, identifier: UserIdentifier, password: str, *, address: str) -> UserId:
        """Return the user whose identifier and password these are; raise if there is none."""
        check_password_size(password)
        self._limits.attempt(address)
        user_id = self.user_id(identifier)
        # An identifier of nobody is limited and takes as long as one of somebody.
        account_key = user_id or repr(identifier)
        self._limits.check_password_allowed(account_key, address)
        password_hash = None if user_id is None else await self._database.read(password_hash_of, user_id)
        if not await self._passwords.verify(password_hash, password) or user_id is None or password_hash is None:
            self._limits.password_failed(account_key, address)
            if user_id is not None and password_hash is None:
                await self._refuse_deactivated(user_id)
            raise Forbidden(_REFUSAL)
        if self._passwords.is_outdated(password_hash):
            renewed = await self._passwords.rehash(password)
            await self._database.run(replace_password_hash, user_id, password_hash, renewed)
        return user_id

    def user_id(self, identifier: UserIdentifier) -> UserId | None:
        """Return the local user id that is meant; None if it cannot be one of ours."""
        if identifier.type != "m.id.user":
            # There are no e-mail addresses or phone numbers of our users: they are all unknown.
            return None
        if identifier.user is None:
            raise MissingParam("`user` is missing")
        return local_user_id(identifier.user, self._server_name)

    async def _refuse_deactivated(self, user_id: UserId) -> None:
        account = await self._database.read(account_by_id, user_id)
        if account is not None and account.deactivated:
            raise UserDeactivated(f"{user_id} has been deactivated")


class LoginTokens:
    """Tokens that a signed-in client makes for another one."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def make(self, user_id: UserId) -> str:
        """Return a token that lets somebody sign in as the user, once and soon."""
        token, now = new_token(LOGIN_TOKEN_PREFIX), self._clock.now_ms()
        await self._database.run(
            insert_login_token, token_hash(token), user_id, now + LOGIN_TOKEN_LIFETIME_MS, now_ts=now
        )
        return token

    async def take(self, token: str) -> UserId:
        """Use a token up; raise Forbidden if it is no good."""
        user_id = await self._database.run(take_login_token, token_hash(token), now_ts=self._clock.now_ms())
        if user_id is None:
            raise Forbidden("the login token is unknown, used or expired")
        return user_id
