"""Sessions: how every one of them begins, goes on and ends.

Whatever way somebody signed in, `start` is what lets them in. So whoever may not have a session is refused here, once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio

from tricord.homeserver.accounts.revocations import Revocations
from tricord.homeserver.accounts.settings import LoginSettings
from tricord.homeserver.accounts.tokens import (
    ACCESS_TOKEN_PREFIX,
    REFRESH_TOKEN_PREFIX,
    new_device_id,
    new_token,
    token_hash,
)
from tricord.homeserver.clock import Clock
from tricord.homeserver.storage.accounts import locked_account
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.devices import Ended, delete_devices, insert_device, is_kept_from_devices
from tricord.homeserver.storage.sessions import (
    TokenPair,
    delete_token_pair,
    end_session_of_device,
    holder_of_refresh_token,
    insert_session,
    insert_token_pair,
)
from tricord.protocol.errors import Forbidden, InvalidParam, UnknownToken, UserDeactivated, UserLocked
from tricord.protocol.identifiers import DeviceId, UserId

KeysChanged = Callable[[UserId, int], Awaitable[None]]
"""Tells others that the keys of a user's devices have changed, at a position."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a client is given: this is the only moment at which the server knows them."""

    access_token: str
    expires_in_ms: int | None
    refresh_token: str | None


@dataclass(frozen=True, slots=True)
class NewSession:
    """Somebody has signed in."""

    user_id: UserId
    device_id: DeviceId
    tokens: Tokens


class Sessions:
    """Begins, refreshes and ends sessions."""

    def __init__(
        self,
        database: Database,
        revocations: Revocations,
        clock: Clock,
        settings: LoginSettings,
        keys_changed: KeysChanged | None = None,
    ) -> None:
        self._keys_changed = keys_changed
        self._database = database
        self._revocations = revocations
        self._clock = clock
        self._settings = settings

    async def start(
        self,
        user_id: UserId,
        *,
        device_id: str | None = None,
        device_name: str | None = None,
        refreshable: bool = False,
    ) -> NewSession:
        """Sign a user in on a device; an earlier session of that device ends."""
        device_id = new_device_id() if device_id is None else check_device_id(device_id)
        tokens, pair = self._new_tokens(refreshable=refreshable)
        ended = await self._database.run(self._start, user_id, device_id, _shortened(device_name), pair)
        await self._revocations.announce(ended)
        return NewSession(user_id, device_id, tokens)

    async def refresh(self, refresh_token: str) -> Tokens:
        """Give new tokens for a refresh token, which stays valid until one of the new ones is used."""
        tokens, pair = self._new_tokens(refreshable=True)
        ended = await self._database.run(self._refresh, token_hash(refresh_token), pair)
        if ended is not None:
            await self._revocations.announce_replaced(ended)
        return tokens

    async def end(self, user_id: UserId, device_ids: Sequence[DeviceId]) -> None:
        """Sign devices out, and forget them."""
        # PostgreSQL refuses NUL, and no device has one.
        known = [device_id for device_id in device_ids if "\0" not in device_id]
        await self._announce(user_id, await self._database.run(_end, user_id, known))

    async def end_all(self, user_id: UserId, *, but: DeviceId | None = None) -> None:
        """Sign all devices of a user out, and forget them; or all but one."""
        await self._announce(user_id, await self._database.run(_end, user_id, None, keep=but))

    async def _announce(self, user_id: UserId, ended: Ended) -> None:
        # All of it, also where one of these sessions has asked for it and ends before it is answered.
        with trio.CancelScope(shield=True):
            await self._revocations.announce(ended.session_ids)
            if ended.keys_changed is not None and self._keys_changed is not None:
                await self._keys_changed(user_id, ended.keys_changed)

    async def _start(
        self, tx: Transaction, user_id: UserId, device_id: DeviceId, device_name: str | None, pair: TokenPair
    ) -> list[int]:
        account = await locked_account(tx, user_id)
        if account is None:
            raise Forbidden(f"there is no user {user_id}")
        if account.deactivated:
            raise UserDeactivated(f"{user_id} has been deactivated")
        if account.locked:
            raise UserLocked
        if await is_kept_from_devices(tx, user_id, device_id):
            raise Forbidden("a key, or the dehydrated device, has the id of this device")
        now = self._clock.now_ms()
        await insert_device(tx, user_id, device_id, device_name, now)
        ended = await end_session_of_device(tx, user_id, device_id)
        session_id = await insert_session(tx, user_id, device_id, now)
        await insert_token_pair(tx, session_id, pair)
        return ended

    async def _refresh(self, tx: Transaction, refresh_token_hash: bytes, pair: TokenPair) -> int | None:
        """Put new tokens in the place of others; return the session if that has ended the tokens before those."""
        holder = await holder_of_refresh_token(tx, refresh_token_hash)
        if holder is None:
            raise UnknownToken("unknown refresh token")
        if holder.expires_ts is not None and holder.expires_ts <= self._clock.now_ms():
            raise UnknownToken("the refresh token has expired", soft_logout=True)
        if holder.locked:
            raise UserLocked
        if holder.replaces is not None:
            await delete_token_pair(tx, holder.session_id, holder.replaces)
        await insert_token_pair(tx, holder.session_id, pair, replaces=holder.pair_id)
        return None if holder.replaces is None else holder.session_id

    def _new_tokens(self, *, refreshable: bool) -> tuple[Tokens, TokenPair]:
        settings = self._settings
        now = self._clock.now_ms()
        access_token = new_token(ACCESS_TOKEN_PREFIX)
        lifetime = settings.access_token_lifetime if refreshable else settings.unrefreshable_token_lifetime
        tokens = Tokens(
            access_token,
            expires_in_ms=lifetime * 1000 if lifetime else None,
            refresh_token=new_token(REFRESH_TOKEN_PREFIX) if refreshable else None,
        )
        return tokens, TokenPair(
            access_token_hash=token_hash(access_token),
            access_expires_ts=_expiry(now, lifetime),
            refresh_token_hash=None if tokens.refresh_token is None else token_hash(tokens.refresh_token),
            refresh_expires_ts=_expiry(now, settings.refresh_token_lifetime) if refreshable else None,
        )


async def _end(
    tx: Transaction, user_id: UserId, device_ids: Sequence[DeviceId] | None, *, keep: DeviceId | None = None
) -> Ended:
    await locked_account(tx, user_id)
    return await delete_devices(tx, user_id, device_ids, keep=keep)


def check_device_id(text: str) -> DeviceId:
    """Return a device id that a client chose; raise InvalidParam if it cannot be one."""
    if not 0 < len(text) <= 255 or not text.isprintable():
        raise InvalidParam("a device id has 1 to 255 printable characters")
    return DeviceId(text)


def check_device_name(name: str) -> str:
    """Return a device's display name; raise InvalidParam if it cannot be one."""
    if len(name) > 100 or "\0" in name:
        raise InvalidParam("a device's name has at most 100 characters")
    return name


def _shortened(device_name: str | None) -> str | None:
    # Clients put the browser and the system in here: too long is no reason not to let somebody in.
    return None if device_name is None else device_name.replace("\0", "")[:100]


def _expiry(now_ms: int, lifetime_seconds: int) -> int | None:
    return now_ms + lifetime_seconds * 1000 if lifetime_seconds else None
