"""Our own identity: the three keys with which we vouch for our devices and for other users, and what they vouch for.

The private keys are secrets of the store. Each is used only while its public half is the one that is published: one
that was replaced elsewhere, or never reached the homeserver, vouches for nothing.
https://spec.matrix.org/v1.19/client-server-api/#cross-signing
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tricord.clients.encryption.devices import Device, Identity, Trust, check_signature
from tricord.clients.encryption.errors import Forged, InvalidKeys, Malformed
from tricord.clients.encryption.requests import SignaturesUpload
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored
from tricord.clients.encryption.stored import outgoing
from tricord.protocol.errors import BadJson
from tricord.protocol.identifiers import DeviceId, UserId
from tricord.protocol.signing import signed_bytes
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64

_SEED_BYTES = 32
# Keys that were made and are not known to have been published yet.
_NEXT = "tricord.cross_signing.next"

Sign = Callable[[bytes], str]
"""Signs with the key of this device, in unpadded base64."""


class Usage(enum.Enum):
    """What a cross-signing key is for."""

    MASTER = "master"
    SELF_SIGNING = "self_signing"
    USER_SIGNING = "user_signing"

    @property
    def secret_name(self) -> str:
        """The name of the private key among the secrets."""
        return f"m.cross_signing.{self.value}"


SECRETS = {usage.secret_name: usage for usage in Usage}


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A private Ed25519 key; its public half is also its name."""

    _key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> PrivateKey:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_secret(cls, secret: str) -> PrivateKey:
        """Read a key from what is stored or shared; raise Malformed."""
        try:
            seed = decode_base64(secret)
        except BadJson as error:
            raise Malformed("a cross-signing key is not base64") from error
        if len(seed) != _SEED_BYTES:
            raise Malformed(f"a cross-signing key is not {_SEED_BYTES} bytes long")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def secret(self) -> str:
        """What is stored or shared. Whoever has it signs in our name."""
        return encode_base64(self._key.private_bytes_raw())

    @property
    def public(self) -> str:
        """The public key, in unpadded base64."""
        return encode_base64(self._key.public_key().public_bytes_raw())

    def signed(self, user_id: UserId, what: JsonObject) -> JsonObject:
        """Return an object with our signature as its only one."""
        return signed_with(user_id, self.public, lambda message: encode_base64(self._key.sign(message)), what)


class CrossSigning:
    """Our own identity, and whom it vouches for.

    What changes the store stands in a transaction of the caller's; signatures to publish are put among the requests
    that outlive us.
    """

    def __init__(self, store: Store, user_id: UserId, device_id: DeviceId, sign: Sign) -> None:
        self._store = store
        self._user_id = user_id
        self._device_id = device_id
        self._sign = sign

    @property
    def identity(self) -> Identity | None:
        """Our identity as it is published."""
        return stored.identity(self._store, self._user_id)

    @property
    def is_complete(self) -> bool:
        """Whether all three private keys are here, and are those that are published."""
        return all(self.private(usage) is not None for usage in Usage)

    @property
    def is_verified(self) -> bool:
        """Whether the published identity is known to be ours."""
        identity = self.identity
        return identity is not None and identity.is_verified

    @property
    def was_replaced(self) -> bool:
        """Whether another identity is published for us than the one we knew to be ours: to be shown to the user."""
        identity = self.identity
        return identity is not None and (identity.has_changed or identity.was_verified)

    def private(self, usage: Usage) -> PrivateKey | None:
        """Return a private key, if it is here and is the one that is published."""
        secret = self._store.secret(usage.secret_name)
        if secret is None:
            return None
        key = PrivateKey.from_secret(secret)
        return key if key.public == _public(self.identity, usage) else None

    def secrets(self) -> dict[str, str]:
        """Return the private keys that are here and published, by name."""
        keys = {usage.secret_name: self.private(usage) for usage in Usage}
        return {name: key.secret for name, key in keys.items() if key is not None}

    # Making an identity.

    def prepare(self) -> JsonObject:
        """Return new keys to be published; the same again until `adopt`, so that a lost answer does no harm."""
        kept = self._store.secret(_NEXT)
        if kept is None:
            seeds = {usage.value: PrivateKey.generate().secret for usage in Usage}
            kept = orjson.dumps(seeds).decode()
            self._store.keep_secret(_NEXT, kept)
        return self._published(_from_seeds(kept))

    def adopt(self) -> None:
        """Take in that the prepared keys are published: they are ours now, and vouch for this device."""
        kept = self._store.secret(_NEXT)
        if kept is None:
            return
        keys = _from_seeds(kept)
        published = self._published(keys)
        identity = Identity.parse(self._user_id, *(published[f"{usage.value}_key"] for usage in Usage))
        stored.keep_identity(self._store, replace(identity, verified=identity.master))
        for usage, key in keys.items():
            self._store.keep_secret(usage.secret_name, key.secret)
        self._store.forget_secret(_NEXT)
        self.vouch_for_this_device()

    def adopt_if_published(self) -> bool:
        """Adopt prepared keys if they are the published ones: the answer was lost. Return whether they are ours now."""
        kept, identity = self._store.secret(_NEXT), self.identity
        if kept is None or identity is None or _from_seeds(kept)[Usage.MASTER].public != identity.master:
            return False
        self.adopt()
        return True

    def take_secret(self, name: str, secret: str) -> None:
        """Keep a private key that came from secret storage or from a verified device of ours.

        Raises Malformed, and Forged if it is not the private half of what is published. The master key shows that the
        published identity is ours.
        """
        usage = SECRETS[name]
        key = PrivateKey.from_secret(secret)
        identity = self.identity
        if key.public != _public(identity, usage) or identity is None:
            raise Forged(f"{name} is not the private half of the key that is published")
        self._store.keep_secret(name, key.secret)
        device = stored.device(self._store, self._user_id, self._device_id)
        if usage is Usage.MASTER:
            self.accept_own_identity(identity.master)
        elif usage is Usage.SELF_SIGNING and identity.is_verified and device is not None:
            self.vouch_for_device(device)

    # Vouching.

    def accept_own_identity(self, master: str) -> None:
        """Take in that the master key that is published for us is ours; it vouches for users and devices from now on.

        Does nothing if by now another one is published.
        """
        identity = self.identity
        if identity is None or identity.master != master:
            return
        if not identity.is_verified:
            stored.keep_identity(self._store, replace(identity, pinned=master, verified=master))
        self.vouch_for_this_device()
        self.notice(self._other_users())

    def vouch_for_this_device(self) -> None:
        """Sign this device with our identity, and the identity with this device; where that is not published yet."""
        identity, device = self.identity, stored.device(self._store, self._user_id, self._device_id)
        if identity is None or not identity.is_verified:
            return
        if device is not None:
            self.vouch_for_device(device)
        if not _has_signed(identity.master_key, self._user_id, self._device_id):
            signed = signed_with(self._user_id, self._device_id, self._sign, identity.master_key)
            self._publish(self._user_id, identity.master, signed)

    def vouch_for_device(self, device: Device) -> None:
        """Sign a device of ours, if the key for that is here and it is not signed yet."""
        identity, key = self.identity, self.private(Usage.SELF_SIGNING)
        if key is None or identity is None or device.user_id != self._user_id or identity.vouches_for(device):
            return
        self._publish(self._user_id, device.device_id, key.signed(self._user_id, device.keys))

    def verify_device(self, user_id: UserId, device_id: DeviceId, ed25519: str) -> bool:
        """Take in that a device was verified, by its key; return False if by now it is gone or has another one."""
        device = stored.device(self._store, user_id, device_id)
        if device is None or device.gone or device.ed25519 != ed25519:
            return False
        stored.keep_device(self._store, replace(device, trust=Trust.VERIFIED))
        self.vouch_for_device(device)
        return True

    def verify_user(self, user_id: UserId, master: str) -> bool:
        """Take in that a user was verified, by their master key; return False if by now they have another one."""
        if user_id == self._user_id:
            self.accept_own_identity(master)
            return self.is_verified
        identity = stored.identity(self._store, user_id)
        if identity is None or identity.master != master:
            return False
        stored.keep_identity(self._store, replace(identity, pinned=master, verified=master))
        key = self.private(Usage.USER_SIGNING)
        if key is not None and self.is_verified:
            self._publish(user_id, master, key.signed(self._user_id, identity.master_key))
        return True

    def accept_change(self, user_id: UserId, master: str) -> bool:
        """Take another master key for a user's from now on, without having verified it.

        Return False if by now it is yet another one. What was verified before is forgotten.
        """
        identity = stored.identity(self._store, user_id)
        if identity is None or identity.master != master:
            return False
        verified = identity.verified if identity.is_verified else None
        stored.keep_identity(self._store, replace(identity, pinned=master, verified=verified))
        return True

    def changed_identities(self) -> list[Identity]:
        """Return the identities, ours too, that are others than those we knew, and were not accepted."""
        users = [self._user_id, *self._other_users()]
        known = [identity for user in users if (identity := stored.identity(self._store, user)) is not None]
        return [identity for identity in known if identity.has_changed or identity.was_verified]

    def notice(self, user_ids: Iterable[UserId]) -> None:
        """Look at the identities of users anew: those that our user-signing key has signed are verified.

        It counts only while our own identity is known to be ours: a homeserver can publish one for us that signs all.
        """
        own = self.identity
        if own is None or not own.is_verified or own.user_signing is None:
            return
        for user_id in user_ids:
            identity = stored.identity(self._store, user_id)
            if identity is None or user_id == self._user_id or identity.is_verified:
                continue
            try:
                check_signature(identity.master_key, self._user_id, own.user_signing, own.user_signing, user_id)
            except InvalidKeys:
                continue
            stored.keep_identity(self._store, replace(identity, pinned=identity.master, verified=identity.master))

    def _other_users(self) -> list[UserId]:
        rows = self._store.rows("SELECT user_id FROM identities WHERE user_id <> ?", self._user_id)
        return [UserId(row["user_id"]) for row in rows]

    def _publish(self, user_id: UserId, name: str, signed: JsonObject) -> None:
        outgoing.put(self._store, SignaturesUpload(signed={user_id: {name: signed}}))

    def _published(self, keys: Mapping[Usage, PrivateKey]) -> JsonObject:
        """Return the public halves as they are published: the lower ones signed by the master key."""
        published: JsonObject = {}
        for usage, key in keys.items():
            content: JsonObject = {
                "user_id": self._user_id,
                "usage": [usage.value],
                "keys": {f"ed25519:{key.public}": key.public},
            }
            if usage is Usage.MASTER:
                content = signed_with(self._user_id, self._device_id, self._sign, content)
            else:
                content = keys[Usage.MASTER].signed(self._user_id, content)
            published[f"{usage.value}_key"] = content
        return published


def signed_with(user_id: UserId, key_name: str, sign: Sign, what: JsonObject) -> JsonObject:
    """Return an object with one signature, whatever others it had: those are published already."""
    bare = {key: value for key, value in what.items() if key not in {"signatures", "unsigned"}}
    return {**bare, "signatures": {user_id: {f"ed25519:{key_name}": sign(signed_bytes(bare))}}}


def _has_signed(what: JsonObject, user_id: UserId, key_name: str) -> bool:
    signatures: Any = what.get("signatures")
    of_user = signatures.get(user_id) if isinstance(signatures, dict) else None
    return isinstance(of_user, dict) and f"ed25519:{key_name}" in of_user


def _public(identity: Identity | None, usage: Usage) -> str | None:
    if identity is None:
        return None
    return {
        Usage.MASTER: identity.master,
        Usage.SELF_SIGNING: identity.self_signing,
        Usage.USER_SIGNING: identity.user_signing,
    }[usage]


def _from_seeds(kept: str) -> dict[Usage, PrivateKey]:
    seeds = orjson.loads(kept)
    return {usage: PrivateKey.from_secret(seeds[usage.value]) for usage in Usage}
