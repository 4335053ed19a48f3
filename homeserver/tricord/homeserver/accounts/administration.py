"""What the operator does to accounts, from the command line or elsewhere."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tricord.homeserver.accounts.deactivation import Deactivation
from tricord.homeserver.accounts.names import local_user_id
from tricord.homeserver.accounts.password_change import PasswordChange
from tricord.homeserver.accounts.registration import REGISTRATION_TOKEN_FORM, Registration
from tricord.homeserver.accounts.revocations import Revocations
from tricord.homeserver.clock import Clock
from tricord.homeserver.storage.accounts import (
    Account,
    account_by_id,
    accounts_after,
    set_admin,
    set_locked,
    set_suspended,
)
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.registration_tokens import (
    RegistrationToken,
    delete_registration_token,
    insert_registration_token,
    registration_tokens,
)
from tricord.homeserver.storage.sessions import sessions_of
from tricord.protocol.errors import InvalidParam, NotFound
from tricord.protocol.identifiers import ServerName, UserId

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Administration:
    """Acts that ask nobody's password."""

    server_name: ServerName
    database: Database
    registration: Registration
    password_change: PasswordChange
    deactivation: Deactivation
    revocations: Revocations
    clock: Clock

    async def create_user(self, username: str, password: str | None, *, is_admin: bool = False) -> UserId:
        """Make an account of a localpart or user id; without a password nobody can sign in to it for now."""
        user_id = await self.check_new(username)
        await self.registration.create(user_id, password, is_admin=is_admin)
        return user_id

    async def check_new(self, username: str) -> UserId:
        """Return the user id of a localpart or user id; raise if it is taken, or cannot be one."""
        of_here = f":{self.server_name}"
        if username.startswith("@") and username.endswith(of_here):
            username = username[1 : -len(of_here)]
        return await self.registration.check_available(username)

    async def users(self) -> AsyncIterator[Account]:
        """Go through all accounts in the order of their user ids."""
        after = ""
        while page := await self.database.read(accounts_after, after, _PAGE):
            for account in page:
                yield account
            after = page[-1].user_id

    async def user(self, name: str) -> Account:
        """Return the account of a localpart or user id; raise NotFound if there is none."""
        user_id = local_user_id(name, self.server_name)
        account = None if user_id is None else await self.database.read(account_by_id, user_id)
        if account is None:
            raise NotFound(f"there is no user {name}")
        return account

    async def set_password(self, name: str, password: str, *, sign_out: bool = True) -> None:
        """Give a user another password, and sign them out everywhere."""
        await self.password_change.change((await self.user(name)).user_id, password, sign_out=sign_out)

    async def set_admin(self, name: str, *, is_admin: bool) -> None:
        """Make an administrator of a user, or no longer; running servers heed it within a minute."""
        await self.database.run(set_admin, (await self.user(name)).user_id, is_admin=is_admin)

    async def set_locked(self, name: str, *, locked: bool) -> None:
        """Lock a user out without ending their sessions, or let them in again.

        https://spec.matrix.org/v1.19/client-server-api/#account-locking
        """
        user_id = (await self.user(name)).user_id
        await self.database.run(set_locked, user_id, locked=locked)
        if locked:
            await self.revocations.announce(await self.database.read(sessions_of, user_id))

    async def set_suspended(self, name: str, *, suspended: bool) -> None:
        """Leave a user little but to read and to go, or let them do everything again; they stay signed in.

        https://spec.matrix.org/v1.19/client-server-api/#account-suspension
        """
        user_id = (await self.user(name)).user_id
        await self.database.run(set_suspended, user_id, suspended=suspended)
        # What is remembered of their sessions is looked up again; sockets that are open connect anew.
        await self.revocations.announce(await self.database.read(sessions_of, user_id))

    async def deactivate(self, name: str, *, erase: bool = False) -> None:
        """End an account for good."""
        await self.deactivation.deactivate((await self.user(name)).user_id, erase=erase)

    async def create_registration_token(
        self, token: str | None = None, *, uses_allowed: int | None = None, expires_ts: int | None = None
    ) -> str:
        """Make a token that lets people register; `expires_ts` is in milliseconds since the epoch."""
        token = secrets.token_urlsafe(12) if token is None else token
        if REGISTRATION_TOKEN_FORM.fullmatch(token) is None:
            raise InvalidParam("a registration token has 1 to 64 characters out of A-Z a-z 0-9 . _ ~ -")
        if uses_allowed is not None and uses_allowed < 1:
            raise InvalidParam("a registration token allows at least one use")
        if not await self.database.run(insert_registration_token, token, uses_allowed, expires_ts, self.clock.now_ms()):
            raise InvalidParam("there is a registration token of that name already")
        return token

    async def registration_tokens(self) -> list[RegistrationToken]:
        """Return all registration tokens, used up ones too."""
        return await self.database.read(registration_tokens)

    async def delete_registration_token(self, token: str) -> None:
        """Delete a registration token."""
        if not await self.database.run(delete_registration_token, token):
            raise NotFound("there is no such registration token")
