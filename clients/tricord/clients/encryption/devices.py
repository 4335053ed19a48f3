"""Devices of users and the keys with which users vouch for them: read strictly from what servers say.

https://spec.matrix.org/v1.19/client-server-api/#device-keys
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Any

from tricord.clients.encryption.errors import InvalidKeys
from tricord.protocol.errors import BadJson, SignatureInvalid
from tricord.protocol.identifiers import DeviceId, KeyId, ServerName, UserId
from tricord.protocol.signing import verify_json
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64

OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"

_KEY_BYTES = 32
_LONGEST_DEVICE_ID = 255


class Trust(enum.Enum):
    """What we decided about a device ourselves."""

    UNSET = "unset"
    VERIFIED = "verified"
    BLOCKED = "blocked"


class Standing(enum.Enum):
    """How sure it is that a device is its user's, from the worst to the best."""

    BLOCKED = "we blocked the device"
    UNKNOWN = "the device is not known to us"
    UNSIGNED = "its user has not vouched for the device"
    CROSS_SIGNED = "its user has vouched for the device"
    VERIFIED = "the device, or its user, who has vouched for it, was verified"

    @property
    def is_verified(self) -> bool:
        """Whether nobody could be mistaken for the user, not even by their homeserver."""
        return self is Standing.VERIFIED

    @property
    def is_vouched_for(self) -> bool:
        """Whether its user says that it is theirs."""
        return self in {Standing.CROSS_SIGNED, Standing.VERIFIED}


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a user, with the keys that it signed itself. `gone`: it was deleted."""

    user_id: UserId
    device_id: DeviceId
    ed25519: str
    curve25519: str
    # The object that is signed, as it was published.
    keys: JsonObject
    trust: Trust = Trust.UNSET
    gone: bool = False

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The encryption algorithms that it supports."""
        return tuple(self.keys["algorithms"])

    @property
    def can_read(self) -> bool:
        """Whether it can be given the key of a room."""
        return not self.gone and OLM in self.algorithms and MEGOLM in self.algorithms

    @property
    def signatures(self) -> JsonObject:
        """The signatures on its keys, by user and name of the key; of them only its own has been checked."""
        found: JsonObject = self.keys["signatures"]
        return found

    @property
    def display_name(self) -> str | None:
        """The name that its server shows; nobody has signed it."""
        unsigned = self.keys.get("unsigned")
        name = unsigned.get("device_display_name") if isinstance(unsigned, dict) else None
        return name if isinstance(name, str) else None

    @classmethod
    def parse(cls, user_id: UserId, device_id: DeviceId, keys: Any) -> Device:
        """Read the keys that a device published. Raises InvalidKeys.

        https://spec.matrix.org/v1.19/client-server-api/#device-keys
        """
        what = f"the device {device_id} of {user_id}"
        if not isinstance(keys, dict) or keys.get("user_id") != user_id or keys.get("device_id") != device_id:
            raise InvalidKeys(f"{what}: its keys name another user or device")
        if not 0 < len(device_id) <= _LONGEST_DEVICE_ID:
            raise InvalidKeys(f"{what}: this is not a device id")
        algorithms = keys.get("algorithms")
        if not isinstance(algorithms, list) or not all(isinstance(name, str) for name in algorithms):
            raise InvalidKeys(f"{what}: `algorithms` is not a list of strings")
        of_device = keys.get("keys")
        if not isinstance(of_device, dict):
            raise InvalidKeys(f"{what}: `keys` is not an object")
        ed25519 = public_key(of_device.get(f"ed25519:{device_id}"), f"{what}: its ed25519 key")
        curve25519 = public_key(of_device.get(f"curve25519:{device_id}"), f"{what}: its curve25519 key")
        check_signature(keys, user_id, device_id, ed25519, what)
        return cls(user_id, device_id, ed25519, curve25519, keys)


@dataclass(frozen=True, slots=True)
class Identity:
    """The cross-signing keys of a user.

    `pinned` is the master key that we saw first, or accepted since; `verified` the one that was verified. The
    user-signing key is known of ourselves alone.
    https://spec.matrix.org/v1.19/client-server-api/#cross-signing
    """

    user_id: UserId
    master_key: JsonObject
    self_signing_key: JsonObject
    user_signing_key: JsonObject | None
    pinned: str
    verified: str | None = None

    @property
    def master(self) -> str:
        """The public master key."""
        return _only_key(self.master_key)

    @property
    def self_signing(self) -> str:
        """The public key that signs the user's devices."""
        return _only_key(self.self_signing_key)

    @property
    def user_signing(self) -> str | None:
        """The public key that signs other users' master keys."""
        return None if self.user_signing_key is None else _only_key(self.user_signing_key)

    @property
    def is_verified(self) -> bool:
        """Whether this very master key was verified."""
        return self.verified == self.master

    @property
    def has_changed(self) -> bool:
        """Whether the master key is another than the one we saw first, and nobody has accepted that."""
        return self.pinned != self.master

    @property
    def was_verified(self) -> bool:
        """Whether the user was verified, and has another master key since: their messages are to be doubted."""
        return self.verified is not None and not self.is_verified

    def vouches_for(self, device: Device) -> bool:
        """Return whether the user's self-signing key has signed a device."""
        try:
            check_signature(device.keys, self.user_id, self.self_signing, self.self_signing, device.device_id)
        except InvalidKeys:
            return False
        return device.user_id == self.user_id

    def accepted(self) -> Identity:
        """Return the identity, its present master key taken for the user's from now on."""
        return replace(self, pinned=self.master)

    @classmethod
    def parse(cls, user_id: UserId, master: Any, self_signing: Any, user_signing: Any = None) -> Identity:
        """Read the cross-signing keys of a user, the lower ones signed by the master key. Raises InvalidKeys."""
        master_key = _cross_signing_key(user_id, master, "master")
        public = _only_key(master_key)

        def lower(key: Any, usage: str) -> JsonObject:
            checked = _cross_signing_key(user_id, key, usage)
            check_signature(checked, user_id, public, public, f"the {usage} key of {user_id}")
            return checked

        return cls(
            user_id,
            master_key,
            lower(self_signing, "self_signing"),
            None if user_signing is None else lower(user_signing, "user_signing"),
            pinned=public,
        )


def standing(device: Device | None, identity: Identity | None) -> Standing:
    """Return how sure it is that a device is its user's."""
    if device is None:
        return Standing.UNKNOWN
    if device.trust is Trust.BLOCKED:
        return Standing.BLOCKED
    if device.trust is Trust.VERIFIED:
        return Standing.VERIFIED
    if identity is None or not identity.vouches_for(device):
        return Standing.UNSIGNED
    return Standing.VERIFIED if identity.is_verified else Standing.CROSS_SIGNED


def public_key(value: Any, what: str) -> str:
    """Return a foreign public key in the one spelling that keys are compared in. Raises InvalidKeys."""
    try:
        data = decode_base64(value)
    except BadJson as error:
        raise InvalidKeys(f"{what} is not base64") from error
    if len(data) != _KEY_BYTES:
        raise InvalidKeys(f"{what} does not have {_KEY_BYTES} bytes")
    return encode_base64(data)


def check_signature(signed: JsonObject, user_id: UserId, key_name: str, key: str, what: str) -> None:
    """Check the signature of a user's key on an object. Raises InvalidKeys."""
    try:
        # The same signatures as servers', with a user's name in the place of a server's.
        verify_json(signed, ServerName(user_id), KeyId(f"ed25519:{key_name}"), decode_base64(key))
    except (SignatureInvalid, BadJson) as error:
        raise InvalidKeys(f"{what}: {error}") from error


def _cross_signing_key(user_id: UserId, key: Any, usage: str) -> JsonObject:
    what = f"the {usage} key of {user_id}"
    if not isinstance(key, dict) or key.get("user_id") != user_id:
        raise InvalidKeys(f"{what} is not there, or names another user")
    usages, keys = key.get("usage"), key.get("keys")
    if not isinstance(usages, list) or usage not in usages:
        raise InvalidKeys(f"{what} is not for that")
    if not isinstance(keys, dict) or len(keys) != 1:
        raise InvalidKeys(f"{what}: `keys` holds exactly one")
    ((name, value),) = keys.items()
    if name != f"ed25519:{value}" or public_key(value, what) != value:
        raise InvalidKeys(f"{what} is not named after itself")
    return key


def _only_key(key: JsonObject) -> str:
    (value,) = key["keys"].values()
    return str(value)
