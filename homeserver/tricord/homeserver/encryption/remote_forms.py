"""The forms of keys that other servers tell: what is malformed is left out, and reaches no client.

https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tricord.homeserver.encryption.cross_signing_forms import (
    MASTER,
    SELF_SIGNING,
    check_signed_with,
    checked_cross_signing_key,
)
from tricord.homeserver.encryption.key_forms import bounded, checked_device_keys
from tricord.homeserver.storage.remote_devices import RemoteDevice
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import DeviceId, UserId, fits
from tricord.protocol.strict_json import JsonObject

_MOST_BYTES_OF_CLAIMED_KEY = 8 << 10
_MOST_BYTES_OF_NAME = 1024


def remote_device(user_id: UserId, device_id: str, keys: Any, display_name: Any = None) -> RemoteDevice | None:
    """Return a device as it is kept; None if its keys are malformed, or not signed by itself."""
    if not fits(device_id) or "\0" in device_id or not isinstance(keys, dict):
        return None
    if display_name is None and isinstance(keys.get("unsigned"), dict):
        display_name = keys["unsigned"].get("device_display_name")
    signatures = keys.get("signatures")
    # Those of others are not for everybody to see; and there could be many.
    own = signatures.get(user_id) if isinstance(signatures, dict) else None
    try:
        stored = checked_device_keys({**keys, "signatures": {user_id: own}}, user_id, DeviceId(device_id))
    except MatrixError:
        return None
    is_name = isinstance(display_name, str) and fits(display_name, _MOST_BYTES_OF_NAME) and "\0" not in display_name
    return RemoteDevice(user_id, DeviceId(device_id), display_name if is_name else None, stored)


def remote_identity(user_id: UserId, master_key: Any, self_signing_key: Any) -> dict[str, bytes]:
    """Return those of a user's cross-signing keys that are in order, by usage."""
    found: dict[str, bytes] = {}
    try:
        if isinstance(master_key, dict):
            master = checked_cross_signing_key(master_key, user_id, MASTER)
            found[MASTER] = master.key
            if isinstance(self_signing_key, dict):
                signing = checked_cross_signing_key(self_signing_key, user_id, SELF_SIGNING)
                check_signed_with(self_signing_key, user_id, master)
                found[SELF_SIGNING] = signing.key
    except MatrixError:
        # A self-signing key without a good signature is none.
        pass
    return found


def device_json(device: RemoteDevice) -> JsonObject:
    """Return the keys of a device as clients are told them."""
    keys: JsonObject = orjson.loads(device.keys)
    if device.display_name is not None:
        keys["unsigned"] = {"device_display_name": device.display_name}
    return keys


def claimed_keys(
    wanted: Mapping[UserId, Mapping[DeviceId, str]], answer: Mapping[str, Mapping[str, Any]]
) -> dict[UserId, dict[DeviceId, JsonObject]]:
    """Return those of the keys in an answer that were asked for, one for a device."""
    found: dict[UserId, dict[DeviceId, JsonObject]] = {}
    for user_id, devices in wanted.items():
        for device_id, algorithm in devices.items():
            keys = answer.get(user_id, {}).get(device_id)
            if isinstance(keys, dict) and len(keys) == 1 and _is_key_of(algorithm, *next(iter(keys.items()))):
                found.setdefault(user_id, {})[device_id] = keys
    return found


def _is_key_of(algorithm: str, name: str, key: Any) -> bool:
    if not fits(name) or name.partition(":")[0] != algorithm or not name.partition(":")[2]:
        return False
    if isinstance(key, str):
        return fits(key, 1024)
    try:
        return (
            isinstance(key, dict) and isinstance(key.get("key"), str) and bool(bounded(key, _MOST_BYTES_OF_CLAIMED_KEY))
        )
    except MatrixError:
        return False
