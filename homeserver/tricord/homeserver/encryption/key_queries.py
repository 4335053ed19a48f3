"""What is asked about keys, of users here and elsewhere, by clients and by other servers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import orjson

from tricord.homeserver.encryption.cross_signing import CrossSigning, identities_of
from tricord.homeserver.encryption.cross_signing_forms import MASTER, SELF_SIGNING, USER_SIGNING
from tricord.homeserver.encryption.device_keys import DeviceKeys, devices_by_user
from tricord.homeserver.encryption.shown_keys import ShownKeys
from tricord.homeserver.storage.accounts import account_by_id
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.device_keys import Wanted
from tricord.homeserver.storage.device_lists import stream_id_of
from tricord.homeserver.storage.published_keys import published_keys
from tricord.protocol.errors import InvalidParam, NotFound
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
_MOST_USERS = 10_000
_TIMEOUT_MS = 10_000

Devices = TypeVar("Devices")
Identities = dict[str, dict[UserId, JsonObject]]


class RemoteAnswer(Protocol):
    """What other servers told."""

    devices: dict[UserId, dict[DeviceId, JsonObject]]
    identities: Identities
    failures: dict[ServerName, JsonObject]


class RemoteKeys(Protocol):
    """Finds keys of users of other servers."""

    async def query(
        self,
        requester: UserId,
        wanted: Mapping[ServerName, Mapping[UserId, Collection[DeviceId]]],
        timeout_ms: int,
    ) -> RemoteAnswer: ...

    async def claim(
        self, wanted: Mapping[ServerName, Mapping[UserId, Mapping[DeviceId, str]]], timeout_ms: int
    ) -> RemoteAnswer: ...


@dataclass(slots=True)
class FoundKeys:
    """Keys of devices, and cross-signing keys by their usage; as objects, or encoded already."""

    devices: dict[UserId, Any]
    identities: dict[str, dict[UserId, Any]]

    def body(self, *usages: str) -> JsonObject:
        """Return them as an endpoint answers."""
        return {
            "device_keys": self.devices,
            **{f"{usage}_keys": self.identities.get(usage, {}) for usage in usages},
        }


class KeyQueries:
    """Answers queries and claims."""

    def __init__(
        self,
        server_name: ServerName,
        database: Database,
        device_keys: DeviceKeys,
        cross_signing: CrossSigning,
        shown: ShownKeys,
        remote: RemoteKeys,
        *,
        tells_device_names: bool = False,
    ) -> None:
        self._server_name = server_name
        self._database = database
        self._device_keys = device_keys
        self._cross_signing = cross_signing
        self._shown = shown
        self._remote = remote
        self._tells_device_names = tells_device_names

    async def query(
        self, requester: UserId, wanted: Mapping[str, Collection[DeviceId]], timeout_ms: int = _TIMEOUT_MS
    ) -> JsonObject:
        """Return the keys of devices and users, as the endpoint answers."""
        local, remote = self._by_place({user: devices for user, devices in wanted.items() if is_valid_user_id(user)})
        found = await self._shown_keys(local, requester)
        if not remote:
            return {**found.body(MASTER, SELF_SIGNING, USER_SIGNING), "failures": {}}
        answer = await self._remote_keys(requester, remote, timeout_ms)
        found.devices.update(answer.devices)
        for usage, keys in answer.identities.items():
            found.identities.setdefault(usage, {}).update(keys)
        return {**found.body(MASTER, SELF_SIGNING, USER_SIGNING), "failures": answer.failures}

    async def master_keys(self, requester: UserId, user_ids: Collection[UserId]) -> Mapping[UserId, JsonObject]:
        """Return the master keys of users, as somebody sees them."""
        local, remote = self._by_place(dict.fromkeys(user_ids, ()))
        masters = (await self._local_keys(local, requester)).identities.get(MASTER, {})
        if remote:
            answer = await self._remote_keys(requester, remote, _TIMEOUT_MS)
            masters.update(answer.identities.get(MASTER, {}))
        return masters

    async def claim(self, wanted: Mapping[str, Mapping[str, str]], timeout_ms: int = _TIMEOUT_MS) -> JsonObject:
        """Return keys to begin sessions with, as the endpoint answers."""
        _check_number_of_claims(wanted)
        local, remote = self._by_place(
            {user: _possible(devices) for user, devices in wanted.items() if is_valid_user_id(user)}
        )
        keys = await self._device_keys.claim(_claims(local))
        answer = await self._remote.claim(remote, timeout_ms)
        return {"one_time_keys": {**keys, **answer.devices}, "failures": answer.failures}

    # What other servers are told: of our users, and what nobody in particular sees.

    async def query_local(self, wanted: Mapping[UserId, Collection[DeviceId]]) -> JsonObject:
        """Return the keys of devices of local users, as another server is answered."""
        if len(wanted) > _MOST_USERS:
            raise InvalidParam(f"one asks for the keys of at most {_MOST_USERS} users")
        local, _ = self._by_place(wanted)
        return (await self._local_keys(local, None)).body(MASTER, SELF_SIGNING)

    async def claim_local(self, wanted: Mapping[UserId, Mapping[DeviceId, str]]) -> JsonObject:
        """Return keys to begin sessions with devices of local users, as another server is answered."""
        _check_number_of_claims(wanted)
        local, _ = self._by_place({user: _possible(devices) for user, devices in wanted.items()})
        return {"one_time_keys": await self._device_keys.claim(_claims(local))}

    async def whole_list(self, user_id: UserId) -> JsonObject:
        """Return all devices of a local user, as another server is answered; raise NotFound if there is no such user.

        The place in the stream of changes is read first: a change in between is then told once more, and not missed.
        """
        if server_name_of(user_id) != self._server_name or await self._database.read(account_by_id, user_id) is None:
            raise NotFound("there is no such user here")
        stream_id = await self._database.read(stream_id_of, user_id)
        found = await self._local_keys({user_id: ()}, None)
        devices = []
        for device_id, keys in found.devices[user_id].items():
            device = {"device_id": device_id, "keys": keys}
            if (name := keys.get("unsigned", {}).get("device_display_name")) is not None:
                device["device_display_name"] = name
            devices.append(device)
        identity = {
            f"{usage}_key": found.identities[usage][user_id]
            for usage in (MASTER, SELF_SIGNING)
            if user_id in found.identities.get(usage, {})
        }
        return {"user_id": user_id, "stream_id": stream_id, "devices": devices, **identity}

    async def _shown_keys(self, wanted: Mapping[UserId, Collection[DeviceId]], seen_by: UserId) -> FoundKeys:
        """Return what a local user sees of others, ready to be encoded."""
        if not wanted:
            return FoundKeys({}, {})
        shown = await self._shown.of(wanted)
        vouched = await self._shown.vouched_for(seen_by, wanted)
        found = FoundKeys({user_id: keys.devices_named(wanted[user_id]) for user_id, keys in shown.items()}, {})
        for user_id, keys in shown.items():
            for usage, key in keys.identities.items():
                # Whom one has vouched for is nobody else's business, and so is the key that says so.
                if usage != USER_SIGNING or user_id == seen_by:
                    signed = usage == MASTER and user_id in vouched
                    shown_key = keys.master(vouched[user_id]) if signed else orjson.Fragment(key)
                    found.identities.setdefault(usage, {})[user_id] = shown_key
        return found

    async def _remote_keys(
        self, requester: UserId, wanted: Mapping[ServerName, Mapping[UserId, Collection[DeviceId]]], timeout_ms: int
    ) -> RemoteAnswer:
        answer = await self._remote.query(requester, wanted, timeout_ms)
        # What the requester has signed themselves.
        signed = await self._cross_signing.of(answer.devices, requester)
        for master in answer.identities.get(MASTER, {}).values():
            for name in map(str, master["keys"].values()):
                signed.signed(master["user_id"], name, master)
        return answer

    async def _local_keys(self, wanted: Mapping[UserId, Collection[DeviceId]], seen_by: UserId | None) -> FoundKeys:
        published = await self._database.read(published_keys, wanted, seen_by)
        identities = identities_of(published.identities, published.signatures, seen_by)
        if seen_by is None and not self._tells_device_names:
            published.devices = [replace(device, display_name=None) for device in published.devices]
        found = devices_by_user(published.devices, wanted)
        for user_id, devices in found.items():
            for device_id, keys in devices.items():
                identities.signed(user_id, device_id, keys)
        # Whoever is here and has no devices is said to have none.
        return FoundKeys({user_id: found.get(user_id, {}) for user_id in wanted}, identities.keys)

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


def _check_number_of_claims(wanted: Mapping[UserId, Mapping[DeviceId, str]] | Mapping[str, Mapping[str, str]]) -> None:
    if sum(map(len, wanted.values())) > _MOST_KEYS_CLAIMED:
        raise InvalidParam(f"one claims at most {_MOST_KEYS_CLAIMED} keys at once")


def _possible(devices: Mapping[DeviceId, str] | Mapping[str, str]) -> dict[DeviceId, str]:
    """Return what is wanted of a user, but for what nobody can have."""
    return {
        DeviceId(device_id): algorithm
        for device_id, algorithm in devices.items()
        if fits(device_id) and fits(algorithm) and "\0" not in device_id + algorithm
    }


def _claims(wanted: Mapping[UserId, Mapping[DeviceId, str]]) -> list[Wanted]:
    return [
        (user_id, device, algorithm) for user_id, of_user in wanted.items() for device, algorithm in of_user.items()
    ]
