"""Making accounts: by people themselves, by scripts that know the shared secret, by the operator."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from tricord.homeserver.accounts.listing import list_local_users
from tricord.homeserver.accounts.names import new_user_id
from tricord.homeserver.accounts.passwords import Passwords
from tricord.homeserver.accounts.settings import RegistrationSettings
from tricord.homeserver.accounts.tokens import new_localpart
from tricord.homeserver.clock import Clock
from tricord.homeserver.storage.accounts import account_by_id, insert_account, make_user_of_guest
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.registration_tokens import registration_token_valid, use_registration_token
from tricord.protocol.errors import Forbidden, InvalidParam, UserInUse
from tricord.protocol.identifiers import ServerName, UserId

# https://spec.matrix.org/v1.19/appendices/#opaque-identifiers
REGISTRATION_TOKEN_FORM = re.compile(r"[0-9A-Za-z._~-]{1,64}")
NONCE_LIFETIME_MS = 60_000
_USER_TYPES = frozenset({"bot", "support"})


class Registration:
    """Makes accounts. What one must show first to make one is for the callers to ask."""

    def __init__(self, server_name: ServerName, database: Database, passwords: Passwords, clock: Clock) -> None:
        self._server_name = server_name
        self._database = database
        self._passwords = passwords
        self._clock = clock

    async def check_available(self, username: str | None) -> UserId:
        """Return the user id for a wanted name, or for none in particular; raise if it cannot be had."""
        user_id = new_user_id(username or new_localpart(), self._server_name)
        if await self._database.read(account_by_id, user_id) is not None:
            raise UserInUse(f"{user_id} is taken")
        return user_id

    def check_password(self, password: str) -> None:
        """Raise if nobody may have this password."""
        self._passwords.check_acceptable(password)

    async def token_is_valid(self, token: str) -> bool:
        """Return whether one could register with the token now."""
        if REGISTRATION_TOKEN_FORM.fullmatch(token) is None:
            return False
        return await self._database.read(registration_token_valid, token, now_ts=self._clock.now_ms())

    async def create(
        self,
        user_id: UserId,
        password: str | None,
        *,
        registration_token: str | None = None,
        is_admin: bool = False,
        user_type: str | None = None,
    ) -> None:
        """Make an account, using up the registration token if one is given; all or nothing."""
        if user_type is not None and user_type not in _USER_TYPES:
            raise InvalidParam(f"{user_type!r} is not a type of user")
        password_hash = None if password is None else await self._passwords.hash(password)
        await self._database.run(self._create, user_id, password_hash, registration_token, is_admin, user_type)

    async def create_guest(self) -> UserId:
        """Make an account for a guest, to whom only their access token leads.

        https://spec.matrix.org/v1.19/client-server-api/#guest-access
        """
        user_id = new_user_id(f"guest-{new_localpart()}", self._server_name)
        await self._database.run(
            insert_account, user_id, None, self._clock.now_ms(), is_admin=False, user_type=None, is_guest=True
        )
        return user_id

    async def make_user_of_guest(
        self, user_id: UserId, password: str, *, registration_token: str | None = None
    ) -> None:
        """Let a guest be a user like any other, using up the registration token if one is given."""
        password_hash = await self._passwords.hash(password)
        await self._database.run(self._make_user_of_guest, user_id, password_hash, registration_token)

    async def _make_user_of_guest(
        self, tx: Transaction, user_id: UserId, password_hash: str, registration_token: str | None
    ) -> None:
        if not await make_user_of_guest(tx, user_id, password_hash):
            raise UserInUse(f"{user_id} is no guest any more")
        if registration_token is not None and not await use_registration_token(
            tx, registration_token, now_ts=self._clock.now_ms()
        ):
            raise Forbidden("the registration token is no longer valid")
        await list_local_users(tx, [user_id])

    async def _create(
        self,
        tx: Transaction,
        user_id: UserId,
        password_hash: str | None,
        registration_token: str | None,
        is_admin: bool,  # handed through by position
        user_type: str | None,
    ) -> None:
        now = self._clock.now_ms()
        if not await insert_account(tx, user_id, password_hash, now, is_admin=is_admin, user_type=user_type):
            raise UserInUse(f"{user_id} is taken")
        if registration_token is not None and not await use_registration_token(tx, registration_token, now_ts=now):
            raise Forbidden("the registration token is no longer valid")
        await list_local_users(tx, [user_id])


class SharedSecret:
    """Proof that a script knows the shared secret, as `register_new_matrix_user` gives it.

    https://element-hq.github.io/synapse/latest/admin_api/register_api.html

    A nonce carries its own expiry and MAC, so that any process recognizes one that another gave. It can be used
    twice, for what it is worth: the MAC of the request names the account, and the second attempt finds that taken.
    """

    def __init__(self, settings: RegistrationSettings, clock: Clock) -> None:
        secret = settings.shared_secret
        self._secret = b"" if secret is None else secret.get_secret_value().encode()
        self._clock = clock

    def nonce(self) -> str:
        """Return a nonce for a request within the next minute."""
        self._check_enabled()
        text = f"{self._clock.now_ms() + NONCE_LIFETIME_MS:x}-{secrets.token_hex(8)}"
        return f"{text}-{self._nonce_mac(text)}"

    def check(self, nonce: str, mac: str, *, username: str, password: str, admin: bool, user_type: str | None) -> None:
        """Raise unless the nonce is one of ours and the MAC was made with the secret."""
        self._check_enabled()
        self._check_nonce(nonce)
        parts = [nonce, username, password, "admin" if admin else "notadmin"]
        if user_type is not None:
            parts.append(user_type)
        expected = hmac.new(self._secret, "\0".join(parts).encode(), hashlib.sha1).hexdigest()
        if not hmac.compare_digest(expected.encode(), mac.encode()):
            raise Forbidden("HMAC incorrect")

    def _check_enabled(self) -> None:
        if not self._secret:
            raise Forbidden("Shared secret registration is not enabled")

    def _check_nonce(self, nonce: str) -> None:
        text, _, mac = nonce.rpartition("-")
        if not hmac.compare_digest(self._nonce_mac(text).encode(), mac.encode()):
            raise InvalidParam("unrecognised nonce")
        if int(text.partition("-")[0], 16) < self._clock.now_ms():
            raise InvalidParam("the nonce has expired")

    def _nonce_mac(self, text: str) -> str:
        # The prefix keeps these MACs apart from those of requests, which begin with a nonce.
        return hmac.new(self._secret, b"nonce:" + text.encode(), hashlib.sha256).hexdigest()[:32]
