"""Routes of what administrators do to accounts."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.administration import (
    GetLocked,
    GetSuspended,
    Locked,
    SetLocked,
    SetSuspended,
    Suspended,
    WhoIs,
)
from tricord.homeserver.accounts.administration import Administration
from tricord.homeserver.accounts.devices import Devices
from tricord.homeserver.serving.call import Call, Route
from tricord.homeserver.storage.accounts import Account
from tricord.protocol.errors import Forbidden, InvalidParam, NotFound
from tricord.protocol.identifiers import parse_user_id, server_name_of
from tricord.protocol.strict_json import JsonObject


class AdministrationApi:
    """Locking and suspending: never oneself, nor another administrator. And from where an account is used."""

    def __init__(self, administration: Administration, devices: Devices) -> None:
        self._administration = administration
        self._devices = devices

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(GetLocked, self.is_locked),
            Route(SetLocked, self.set_locked),
            Route(GetSuspended, self.is_suspended),
            Route(SetSuspended, self.set_suspended),
            Route(WhoIs, self.who_is),
        ]

    async def is_locked(self, call: Call[Any, Any]) -> Locked:
        """Tell whether an account is locked."""
        return Locked(locked=(await self._moderated(call)).locked)

    async def set_locked(self, call: Call[Locked, Any]) -> Locked:
        """Lock an account, or unlock it."""
        account = await self._moderated(call)
        await self._administration.set_locked(account.user_id, locked=call.body.locked)
        return call.body

    async def is_suspended(self, call: Call[Any, Any]) -> Suspended:
        """Tell whether an account is suspended."""
        return Suspended(suspended=(await self._moderated(call)).suspended)

    async def set_suspended(self, call: Call[Suspended, Any]) -> Suspended:
        """Suspend an account, or no longer."""
        account = await self._moderated(call)
        await self._administration.set_suspended(account.user_id, suspended=call.body.suspended)
        return call.body

    async def who_is(self, call: Call[Any, Any]) -> JsonObject:
        """Tell from where a user's devices were last used: one's own, unless an administrator asks."""
        if not call.requester.is_admin and call.path["user_id"] != call.requester.user_id:
            raise Forbidden("only administrators may ask this about others")
        account = await self._account(call)
        devices: JsonObject = {}
        for device in await self._devices.all(account.user_id):
            seen = {"ip": device.last_seen_ip, "last_seen": device.last_seen_ts}
            connection = {name: value for name, value in seen.items() if value is not None}
            devices[device.device_id] = {"sessions": [{"connections": [connection] if connection else []}]}
        return {"user_id": account.user_id, "devices": devices}

    async def _moderated(self, call: Call[Any, Any]) -> Account:
        account = await self._account(call)
        if account.deactivated:
            raise NotFound(f"{account.user_id} is deactivated")
        if account.is_admin:
            raise Forbidden("administrators cannot be locked or suspended")
        return account

    async def _account(self, call: Call[Any, Any]) -> Account:
        user_id = parse_user_id(call.path["user_id"])
        if server_name_of(user_id) != self._administration.server_name:
            raise InvalidParam(f"{user_id} is not a user of this server")
        return await self._administration.user(user_id)
