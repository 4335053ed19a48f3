"""Guests who become users.

https://spec.matrix.org/v1.19/client-server-api/#guest-access
"""

from __future__ import annotations

from tricord.homeserver.accounts.names import new_user_id
from tricord.homeserver.accounts.registration import Registration
from tricord.homeserver.accounts.revocations import Revocations
from tricord.homeserver.serving.call import Authenticator
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.sessions import sessions_of
from tricord.protocol.errors import Forbidden, InvalidUsername, MissingParam
from tricord.protocol.identifiers import ServerName, UserId


class Guests:
    """Turns the accounts of guests into those of users."""

    def __init__(
        self,
        server_name: ServerName,
        database: Database,
        registration: Registration,
        authenticator: Authenticator,
        revocations: Revocations,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._registration = registration
        self._authenticator = authenticator
        self._revocations = revocations

    async def who_becomes_a_user(
        self, token: str, username: str | None, *, client_address: str, user_agent: str
    ) -> UserId:
        """Return the guest with an access token; refuse whoever is no guest, or says another name than theirs."""
        guest = await self._authenticator.authenticate(token, client_address=client_address, user_agent=user_agent)
        if not guest.is_guest:
            raise Forbidden("`guest_access_token` is not of a guest")
        if username is None:
            raise MissingParam("`username` is missing: a guest keeps theirs")
        if new_user_id(username, self._server_name) != guest.user_id:
            raise InvalidUsername(f"a guest keeps their name: `username` must be that of {guest.user_id}")
        return guest.user_id

    async def become_user(self, user_id: UserId, password: str, *, registration_token: str | None) -> None:
        """Let a guest be a user; their sessions go on, and may do from now on what users may."""
        await self._registration.make_user_of_guest(user_id, password, registration_token=registration_token)
        # Who they are is remembered with their sessions, as guests.
        await self._revocations.announce(await self._database.read(sessions_of, user_id))
