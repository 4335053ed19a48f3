"""What a client asks about keys of others, whichever servers they are on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from tricord.homeserver.encryption.device_keys import DeviceKeys
from tricord.homeserver.storage.device_keys import Wanted
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import (
    DeviceId,
    ServerName,
    UserId,
    fits,
    is_valid_user_id,
    server_name_of,
)
from tricord.protocol.strict_json import JsonObject

_MOST_KEYS_CLAIMED = 20_000

Devices = TypeVar("Devices")


class KeyQueries:
    """Answers queries and claims."""

    def __init__(self, server_name: ServerName, device_keys: DeviceKeys) -> None:
        self._server_name = server_name
        self._device_keys = device_keys

    async def query(self, wanted: Mapping[str, Collection[DeviceId]]) -> JsonObject:
        """Return the keys of devices, as the endpoint answers."""
        local, remote = self._by_place({user: devices for user, devices in wanted.items() if is_valid_user_id(user)})
        found = await self._device_keys.of(local)
        # Whoever is here and has no devices is said to have none.
        return {
            "device_keys": {user_id: found.get(user_id, {}) for user_id in local},
            "failures": {server: {} for server in remote},
        }

    async def claim(self, wanted: Mapping[str, Mapping[str, str]]) -> JsonObject:
        """Return keys to begin sessions with, as the endpoint answers."""
        if sum(map(len, wanted.values())) > _MOST_KEYS_CLAIMED:
            raise InvalidParam(f"one claims at most {_MOST_KEYS_CLAIMED} keys at once")
        local, remote = self._by_place({user: devices for user, devices in wanted.items() if is_valid_user_id(user)})
        claims = [claim for user_id, devices in local.items() for claim in claims_of(user_id, devices)]
        return {"one_time_keys": await self._device_keys.claim(claims), "failures": {server: {} for server in remote}}

    def _by_place(
        self, wanted: Mapping[UserId, Devices]
    ) -> tuple[dict[UserId, Devices], dict[ServerName, dict[UserId, Devices]]]:
        """Sort users into those of this server and those of others."""
        local: dict[UserId, Devices] = {}
        remote: dict[ServerName, dict[UserId, Devices]] = {}
        for user_id, devices in wanted.items():
            server = server_name_of(user_id)
            of_server = local if server == self._server_name else remote.setdefault(server, {})
            of_server[user_id] = devices
        return local, remote


def claims_of(user_id: UserId, devices: Mapping[str, str]) -> list[Wanted]:
    """Return what is wanted of a user, but for what nobody can have."""
    return [
        (user_id, DeviceId(device_id), algorithm)
        for device_id, algorithm in devices.items()
        if fits(device_id) and fits(algorithm) and "\0" not in device_id + algorithm
    ]
