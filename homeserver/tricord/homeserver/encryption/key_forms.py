"""The forms of the keys that clients upload, checked to the last field: nothing malformed ever reaches another client.

https://spec.matrix.org/v1.19/client-server-api/#key-algorithms
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tricord.protocol.errors import BadJson, InvalidParam, SignatureInvalid
from tricord.protocol.identifiers import DeviceId, KeyId, ServerName, UserId, fits, is_valid_user_id
from tricord.protocol.signing import verify_json
from tricord.protocol.strict_json import JsonObject, check_event_integers
from tricord.protocol.unpadded_base64 import decode_base64

ED25519, CURVE25519, SIGNED_CURVE25519 = "ed25519", "curve25519", "signed_curve25519"

_KEY_BYTES = 32
_MOST_BYTES_OF_DEVICE_KEYS = 32 << 10
_MOST_BYTES_OF_KEY = 8 << 10
_MOST_ALGORITHMS = 50
_MOST_KEYS = 20
_MOST_SIGNATURES = 200


@dataclass(frozen=True, slots=True)
class PreKey:
    """A one-time or fallback key; `json` has its members in order."""

    algorithm: str
    key_id: str
    json: bytes


def encoded(keys: JsonObject) -> bytes:
    """Return keys as they are stored: equal ones are equal bytes."""
    return orjson.dumps(keys, option=orjson.OPT_SORT_KEYS)


def checked_device_keys(keys: JsonObject, user_id: UserId, device_id: DeviceId) -> bytes:
    """Return the keys of a device as they are stored; raise InvalidParam if anything is wrong with them."""
    if keys.get("user_id") != user_id or keys.get("device_id") != device_id:
        raise InvalidParam("the keys are not those of this user and device")
    keys = {name: value for name, value in keys.items() if name != "unsigned"}
    algorithms = keys.get("algorithms")
    if not isinstance(algorithms, list) or len(algorithms) > _MOST_ALGORITHMS or not all(map(_is_name, algorithms)):
        raise InvalidParam("`algorithms` is no list of names")
    public = keys.get("keys")
    if not isinstance(public, dict) or not 0 < len(public) <= _MOST_KEYS:
        raise InvalidParam("`keys` is no object of keys")
    for name, value in public.items():
        algorithm, _, owner = name.partition(":")
        if not _is_name(name) or not algorithm or owner != device_id or not _is_short(value):
            raise InvalidParam("a key of a device is named by its algorithm and the device")
        if algorithm in (ED25519, CURVE25519):
            check_public_key(value)
    if not isinstance(keys.get("dehydrated", False), bool):
        raise InvalidParam("`dehydrated` is true or false")
    check_signatures(keys.get("signatures"))
    stored = bounded(keys, _MOST_BYTES_OF_DEVICE_KEYS)
    check_signed_by(keys, user_id, signing_key_of(keys))
    return stored


def signing_key_of(keys: JsonObject) -> tuple[KeyId, bytes]:
    """Return the key with which a device signs, by its device keys; raise InvalidParam if it has none."""
    key_id = KeyId(f"{ED25519}:{keys['device_id']}")
    if key_id not in keys["keys"]:
        raise InvalidParam("a device has an ed25519 key")
    return key_id, check_public_key(keys["keys"][key_id])


def checked_pre_keys(keys: Mapping[str, Any], user_id: UserId, signing_key: tuple[KeyId, bytes] | None) -> list[PreKey]:
    """Return one-time or fallback keys as they are stored; raise InvalidParam if anything is wrong with one."""
    return [_checked_pre_key(name, key, user_id, signing_key) for name, key in keys.items()]


def _checked_pre_key(name: str, key: Any, user_id: UserId, signing_key: tuple[KeyId, bytes] | None) -> PreKey:
    algorithm, colon, key_id = name.partition(":")
    if not (algorithm and colon and key_id and _is_name(name)):
        raise InvalidParam("a one-time key is named by its algorithm and an id")
    if isinstance(key, str) and algorithm != SIGNED_CURVE25519:
        if not _is_short(key):
            raise InvalidParam("a key is too long")
        if algorithm == CURVE25519:
            check_public_key(key)
        return PreKey(algorithm, key_id, orjson.dumps(key))
    if not isinstance(key, dict) or not _is_short(key.get("key")):
        raise InvalidParam(f"{name} has not the form of a key")
    if not isinstance(key.get("fallback", False), bool):
        raise InvalidParam("`fallback` is true or false")
    check_signatures(key.get("signatures"))
    stored = bounded(key, _MOST_BYTES_OF_KEY)
    if algorithm == SIGNED_CURVE25519:
        check_public_key(key["key"])
        if signing_key is None:
            raise InvalidParam("a device uploads its own keys before those that they sign")
        check_signed_by(key, user_id, signing_key)
    return PreKey(algorithm, key_id, stored)


def check_signed_by(signed: JsonObject, user_id: UserId, signing_key: tuple[KeyId, bytes]) -> None:
    """Raise InvalidParam unless a user has signed an object with a key."""
    key_id, public_key = signing_key
    try:
        verify_json(signed, ServerName(user_id), key_id, public_key)
    except SignatureInvalid as error:
        raise InvalidParam(str(error)) from error


def check_public_key(value: Any) -> bytes:
    """Return the 32 bytes of a key; raise InvalidParam if it has others."""
    try:
        key = decode_base64(value)
    except BadJson as error:
        raise InvalidParam("a key is not in base64") from error
    if len(key) != _KEY_BYTES:
        raise InvalidParam(f"a key has {_KEY_BYTES} bytes")
    return key


def check_signatures(signatures: Any) -> None:
    """Raise InvalidParam unless these are signatures, by user and key."""
    if not isinstance(signatures, dict):
        raise InvalidParam("`signatures` is no object")
    count = 0
    for user_id, by_key in signatures.items():
        if not is_valid_user_id(user_id) or not isinstance(by_key, dict):
            raise InvalidParam("signatures are by user and key")
        for key_id, signature in by_key.items():
            count += 1
            if not _is_name(key_id) or ":" not in key_id or not _is_short(signature):
                raise InvalidParam("signatures are by user and key")
    if count > _MOST_SIGNATURES:
        raise InvalidParam(f"there are at most {_MOST_SIGNATURES} signatures")


def bounded(keys: JsonObject, most_bytes: int) -> bytes:
    """Return keys as they are stored; raise InvalidParam if they are too large, or cannot be signed."""
    try:
        # What is signed has to have a canonical form, on every server that it reaches.
        check_event_integers(keys)
    except BadJson as error:
        raise InvalidParam(str(error)) from error
    stored = encoded(keys)
    if len(stored) > most_bytes:
        raise InvalidParam(f"keys have at most {most_bytes} bytes")
    return stored


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and fits(value) and "\0" not in value


def _is_short(value: Any) -> bool:
    return isinstance(value, str) and fits(value, 1024)
