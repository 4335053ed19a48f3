"""What a client asks about keys of others, whichever servers they are on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tricord.homeserver.encryption.cross_signing import CrossSigning
from tricord.homeserver.encryption.cross_signing_forms import MASTER, SELF_SIGNING, USER_SIGNING
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


@dataclass(slots=True)
class FoundKeys:
    """Keys of devices, and cross-signing keys by their usage."""

    devices: dict[UserId, dict[DeviceId, JsonObject]]
    identities: dict[str, dict[UserId, JsonObject]]

    def body(self) -> JsonObject:
        """Return them as the endpoint answers."""
        by_usage = {f"{usage}_keys": self.identities.get(usage, {}) for usage in (MASTER, SELF_SIGNING, USER_SIGNING)}
        return {"device_keys": self.devices, **by_usage}


class KeyQueries:
    """Answers queries and claims."""

    def __init__(self, server_name: ServerName, device_keys: DeviceKeys, cross_signing: CrossSigning) -> None:
        self._cross_signing = cross_signing
        self._server_name = server_name
        self._device_keys = device_keys

    async def query(self, requester: UserId, wanted: Mapping[str, Collection[DeviceId]]) -> JsonObject:
        """Return the keys of devices and users, as the endpoint answers."""
        local, remote = self._by_place({user: devices for user, devices in wanted.items() if is_valid_user_id(user)})
        found = await self._local_keys(local, requester)
        return {**found.body(), "failures": {server: {} for server in remote}}

    async def master_keys(self, requester: UserId, user_ids: Collection[UserId]) -> Mapping[UserId, JsonObject]:
        """Return the master keys of users, as somebody sees them."""
        found = await self.query(requester, dict.fromkeys(user_ids, ()))
        masters: dict[UserId, JsonObject] = found["master_keys"]
        return masters

    async def _local_keys(self, wanted: Mapping[UserId, Collection[DeviceId]], seen_by: UserId | None) -> FoundKeys:
        identities = await self._cross_signing.of(wanted, seen_by)
        found = await self._device_keys.of(wanted)
        for user_id, devices in found.items():
            for device_id, keys in devices.items():
                identities.signed(user_id, device_id, keys)
        # Whoever is here and has no devices is said to have none.
        return FoundKeys({user_id: found.get(user_id, {}) for user_id in wanted}, identities.keys)

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
