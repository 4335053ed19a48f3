"""A new password: by its owner, or by the operator."""

from __future__ import annotations

from tricord.homeserver.accounts.passwords import Passwords
from tricord.homeserver.accounts.sessions import Sessions
from tricord.homeserver.storage.accounts import locked_account, set_password_hash
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.login_tokens import delete_login_tokens
from tricord.protocol.errors import NotFound, UserDeactivated
from tricord.protocol.identifiers import DeviceId, UserId


class PasswordChange:
    """Changes passwords, and signs out who may have known the old one."""

    def __init__(self, database: Database, passwords: Passwords, sessions: Sessions) -> None:
        self._database = database
        self._passwords = passwords
        self._sessions = sessions

    def check(self, password: str) -> None:
        """Raise if the password cannot be a new one."""
        self._passwords.check_acceptable(password)

    async def change(
        self, user_id: UserId, password: str, *, sign_out: bool = True, but: DeviceId | None = None
    ) -> None:
        """Set the password; sign out all devices but the one that asked, unless told not to."""
        await self._database.run(_change, user_id, await self._passwords.hash(password))
        if sign_out:
            await self._sessions.end_all(user_id, but=but)


async def _change(tx: Transaction, user_id: UserId, password_hash: str) -> None:
    account = await locked_account(tx, user_id)
    if account is None:
        raise NotFound(f"there is no user {user_id}")
    if account.deactivated:
        raise UserDeactivated(f"{user_id} has been deactivated")
    await set_password_hash(tx, user_id, password_hash)
    await delete_login_tokens(tx, user_id)
