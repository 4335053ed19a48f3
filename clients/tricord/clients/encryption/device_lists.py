"""Following the devices of users: who is to be asked for, and what an answer changes.

https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from tricord.clients.encryption.devices import Device, Identity, Trust
from tricord.clients.encryption.errors import InvalidKeys
from tricord.clients.encryption.requests import KeysQuery
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored
from tricord.protocol.identifiers import DeviceId, UserId, is_valid_user_id, server_name_of

_log = logging.getLogger(__name__)

_USERS_IN_A_QUERY = 250
_RETRY_MS = 60_000
# To 16 minutes; what we hear of a user in between makes us ask at once.
_MOST_DOUBLINGS = 4


@dataclass(slots=True)
class Changes:
    """What became known of users' devices: to be shown where somebody verified them."""

    new_devices: list[Device] = field(default_factory=list)
    gone_devices: list[Device] = field(default_factory=list)
    # Devices that were signed, or lost a signature.
    changed_devices: list[Device] = field(default_factory=list)
    # Of devices that we know, keys that are not theirs: somebody lies.
    refused_devices: list[tuple[UserId, DeviceId]] = field(default_factory=list)
    # The homeserver does not have our own keys.
    own_device_is_missing: bool = False
    new_identities: list[Identity] = field(default_factory=list)
    # Master keys other than the ones we knew.
    changed_identities: list[Identity] = field(default_factory=list)

    def users(self) -> set[UserId]:
        """Return whose devices or identity changed."""
        devices = (*self.new_devices, *self.gone_devices, *self.changed_devices)
        identities = (*self.new_identities, *self.changed_identities)
        return {device.user_id for device in devices} | {identity.user_id for identity in identities}


class DeviceLists:
    """The devices of the users we follow.

    At most one query for a user is under way; what changes meanwhile is asked for again after it.
    """

    def __init__(self, store: Store, user_id: UserId, device_id: DeviceId | None = None) -> None:
        self._store = store
        self._user_id = user_id
        self._device_id = device_id
        self._under_way: dict[str, KeysQuery] = {}

    def follow(self, user_ids: Iterable[Any]) -> None:
        """Follow the devices of users from now on."""
        stored.track(self._store, (user_id for user_id in user_ids if is_valid_user_id(user_id)))

    def changed(self, user_ids: Iterable[Any]) -> None:
        """Take in that the devices of users have changed; of those we follow."""
        stored.mark_changed(self._store, (UserId(user_id) for user_id in user_ids if isinstance(user_id, str)))

    def left(self, user_ids: Iterable[Any]) -> None:
        """Take in that we share no room with users any more. Ourselves we follow always."""
        gone = (UserId(user_id) for user_id in user_ids if isinstance(user_id, str) and user_id != self._user_id)
        stored.untrack(self._store, gone)

    def all_may_have_changed(self) -> None:
        """Take in that we do not know what we missed."""
        stored.mark_all_changed(self._store)

    def lacks(self, user_ids: Iterable[UserId], now_ms: int) -> bool:
        """Return whether the devices of one of some users are still to be asked for."""
        return not stored.outdated(self._store, now_ms).keys().isdisjoint(user_ids)

    def not_told(self, user_ids: Collection[UserId]) -> set[UserId]:
        """Return those of some users whose devices we do not know as they are now, as nobody told us."""
        return stored.not_told(self._store) & set(user_ids)

    def is_known(self, user_id: UserId) -> bool:
        """Return whether the devices of a user were asked for, and told."""
        return stored.was_queried(self._store, user_id)

    def requests(self, now_ms: int) -> list[KeysQuery]:
        """Return the queries to make; those under way again, as they were."""
        asked = {user_id for query in self._under_way.values() for user_id in query.users}
        wanted = [item for item in stored.outdated(self._store, now_ms).items() if item[0] not in asked]
        for start in range(0, len(wanted), _USERS_IN_A_QUERY):
            query = KeysQuery(users=dict(wanted[start : start + _USERS_IN_A_QUERY]))
            self._under_way[query.request_id] = query
        return list(self._under_way.values())

    def answered(self, query: KeysQuery, answer: Any, now_ms: int) -> Changes:
        """Take in the answer to a query: nothing in it can harm but the device or the user it is about."""
        self._under_way.pop(query.request_id, None)
        failed_servers = _object(answer, "failures")
        changes = Changes()
        failed = []
        for user_id, upto in query.users.items():
            if server_name_of(user_id) in failed_servers:
                failed.append(user_id)
                continue
            self._take_identity(user_id, answer, changes)
            self._take_devices(user_id, _object(_object(answer, "device_keys"), user_id), changes)
            stored.mark_queried(self._store, user_id, upto)
        stored.retry_later(self._store, failed, now_ms, _RETRY_MS, _MOST_DOUBLINGS)
        return changes

    def refused(self, query: KeysQuery, now_ms: int) -> None:
        """Take in that a query failed: it is made again after a while."""
        self._under_way.pop(query.request_id, None)
        stored.retry_later(self._store, list(query.users), now_ms, _RETRY_MS, _MOST_DOUBLINGS)

    def _take_identity(self, user_id: UserId, answer: Any, changes: Changes) -> None:
        master = _object(answer, "master_keys").get(user_id)
        if master is None:
            # One that was there stays: a homeserver that hides it must not make the user look like one without.
            return
        known = stored.identity(self._store, user_id)
        user_signing = _object(answer, "user_signing_keys").get(user_id) if user_id == self._user_id else None
        try:
            self_signing = _object(answer, "self_signing_keys").get(user_id)
            identity = Identity.parse(user_id, master, self_signing, user_signing)
        except InvalidKeys as reason:
            _log.warning("%s", reason)
            return
        if known is not None:
            identity = Identity(
                user_id,
                identity.master_key,
                identity.self_signing_key,
                identity.user_signing_key,
                known.pinned,
                known.verified,
            )
        if known == identity:
            return
        stored.keep_identity(self._store, identity)
        if known is None:
            changes.new_identities.append(identity)
        elif known.master != identity.master:
            changes.changed_identities.append(identity)
        # Otherwise other keys signed by the same master key, or more signatures on it: devices may stand differently.
        elif known.self_signing != identity.self_signing:
            changes.changed_devices += stored.devices_of(self._store, user_id).values()

    def _take_devices(self, user_id: UserId, published: dict[str, Any], changes: Changes) -> None:
        known = stored.devices_of(self._store, user_id)
        identity = stored.identity(self._store, user_id)
        signing_keys = set() if identity is None else {identity.master, identity.self_signing, identity.user_signing}
        for device_id, keys in published.items():
            device_id = DeviceId(device_id)
            try:
                if device_id in signing_keys:
                    raise InvalidKeys(f"the device {device_id} of {user_id} is named like a cross-signing key")
                device = Device.parse(user_id, device_id, keys)
            except InvalidKeys as reason:
                _log.warning("%s", reason)
                continue
            before = known.pop(device_id, None)
            if before is None:
                changes.new_devices.append(device)
            elif (before.ed25519, before.curve25519) != (device.ed25519, device.curve25519):
                _log.warning("the device %s of %s has other keys than before: they are refused", device_id, user_id)
                changes.refused_devices.append((user_id, device_id))
                continue
            elif before.keys == device.keys:
                continue
            else:
                device = Device(user_id, device_id, device.ed25519, device.curve25519, device.keys, before.trust)
                changes.changed_devices.append(device)
            stored.keep_device(self._store, device)
        for device in known.values():
            if (user_id, device.device_id) == (self._user_id, self._device_id):
                changes.own_device_is_missing = True
                continue
            gone = Device(
                user_id, device.device_id, device.ed25519, device.curve25519, device.keys, Trust.UNSET, gone=True
            )
            stored.keep_device(self._store, gone)
            changes.gone_devices.append(gone)


def _object(container: Any, key: str) -> dict[str, Any]:
    """Return an object inside a foreign object; an empty one if it is not there, or something else."""
    found = container.get(key) if isinstance(container, dict) else None
    return found if isinstance(found, dict) else {}
