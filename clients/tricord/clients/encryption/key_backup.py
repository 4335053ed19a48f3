"""Keys of rooms in a backup that the homeserver keeps and cannot read.

Anybody who knows the public key of a backup can put keys there, the homeserver first of all: what is restored proves
nothing about who made it. And keys are stored only where it is certain that the private key is ours.
https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import vodozemac

from tricord.clients.encryption.cross_signing import CrossSigning, Usage
from tricord.clients.encryption.devices import check_signature, public_key, standing
from tricord.clients.encryption.errors import EncryptionError, Forged, InvalidKeys, Malformed
from tricord.clients.encryption.megolm import Megolm
from tricord.clients.encryption.own_keys import OwnKeys
from tricord.clients.encryption.requests import BackupPut
from tricord.clients.encryption.session_data import backed_up_session_data
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored_devices
from tricord.clients.encryption.stored import room_keys as stored
from tricord.clients.encryption.stored.room_keys import Origin, RoomKey
from tricord.protocol.errors import BadJson, MatrixError
from tricord.protocol.identifiers import DeviceId, RoomId
from tricord.protocol.strict_json import JsonObject, parse_object
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64

_log = logging.getLogger(__name__)

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
SECRET = "m.megolm_backup.v1"  # noqa: S105  # a name, not a secret

_KEY_BYTES = 32
_KEYS_IN_A_REQUEST = 100
_RETRY_MS = 60_000
_IN_USE = "backup"
# The key of a backup that is not known to have been made yet.
_NEXT = "tricord.backup.next"


class Verdict(enum.Enum):
    """What is to be thought of a backup that the homeserver shows."""

    TRUSTED = "its key is ours, or signed by us"
    UNTRUSTED = "nothing shows that its key is ours"
    UNKNOWN_ALGORITHM = "it is encrypted in a way that we do not know"


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that keys are stored in."""

    version: str
    public_key: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of restoring keys."""

    taken: int
    """How many were of use."""
    total: int
    """How many there were."""
    refused: int
    """How many could not be read, or contradict keys that we have."""


class BackupKey:
    """The private key of a backup."""

    def __init__(self, key: vodozemac.Curve25519SecretKey) -> None:
        self._key = key
        self.public = key.public_key().to_base64()

    @classmethod
    def generate(cls) -> BackupKey:
        """Make a new key."""
        return cls(vodozemac.Curve25519SecretKey())

    @classmethod
    def from_secret(cls, secret: str) -> BackupKey:
        """Read a key from what is stored or shared; raise Malformed."""
        try:
            key = decode_base64(secret)
        except BadJson as error:
            raise Malformed("the key of a backup is not base64") from error
        if len(key) != _KEY_BYTES:
            raise Malformed(f"the key of a backup is not {_KEY_BYTES} bytes long")
        return cls(vodozemac.Curve25519SecretKey.from_bytes(key))

    @property
    def secret(self) -> str:
        """What is stored or shared. Whoever has it reads all messages whose keys are in the backup."""
        return encode_base64(self._key.to_bytes())

    def decrypt(self, data: Any) -> JsonObject:
        """Return the key of a session from its foreign `session_data`; raise Malformed or Forged."""
        parts = [data.get(name) if isinstance(data, dict) else None for name in ("ciphertext", "mac", "ephemeral")]
        try:
            message = vodozemac.Message(*map(decode_base64, parts))
        except (BadJson, ValueError) as error:
            raise Malformed(f"a key in the backup is not as it must be: {error}") from error
        try:
            plaintext = vodozemac.PkDecryption.from_key(self._key).decrypt(message)
        except ValueError as error:
            raise Forged("a key in the backup was not encrypted for the key of the backup") from error
        try:
            return parse_object(plaintext)
        except MatrixError as error:
            raise Malformed(f"a key in the backup is not as it must be: {error}") from error


def encrypt_session_data(public: str, content: JsonObject) -> JsonObject:
    """Return the `session_data` of a key, for the owner of a backup alone."""
    key = vodozemac.Curve25519PublicKey.from_base64(public)
    message = vodozemac.PkEncryption.from_key(key).encrypt(orjson.dumps(content))
    # Not its `to_base64`: that gives the parts in another order than it says.
    parts = {"ciphertext": message.ciphertext, "mac": message.mac, "ephemeral": message.ephemeral_key}
    return {name: encode_base64(part) for name, part in parts.items()}


class KeyBackup:
    """The backup that this device stores keys in. What changes the store stands in a transaction of the caller's."""

    def __init__(
        self, store: Store, own: OwnKeys, cross_signing: CrossSigning, megolm: Megolm, clock: Callable[[], int]
    ) -> None:
        self._store = store
        self._own = own
        self._cross_signing = cross_signing
        self._megolm = megolm
        self._clock = clock
        self._under_way: tuple[BackupPut, list[RoomKey]] | None = None
        self._retry_at_ms = 0
        # Whether the homeserver is to be asked which backup there is.
        self.must_look = True

    @property
    def in_use(self) -> Backup | None:
        """The backup that keys are stored in, if there is one that is trusted."""
        kept = self._store.value(_IN_USE)
        return None if kept is None else Backup(kept["version"], kept["public_key"])

    @property
    def key(self) -> BackupKey | None:
        """The private key of the backup in use, if it is here."""
        secret, backup = self._store.secret(SECRET), self.in_use
        key = None if secret is None else BackupKey.from_secret(secret)
        return key if key is not None and backup is not None and key.public == backup.public_key else None

    @property
    def could_be_used(self) -> bool:
        """Whether a backup is in use, or a key for one is here."""
        return self.in_use is not None or self._store.secret(SECRET) is not None

    # Making and finding a backup.

    def prepare(self) -> JsonObject:
        """Return what a new backup is made with; the same key again until `created`."""
        kept = self._store.secret(_NEXT)
        key = BackupKey.generate() if kept is None else BackupKey.from_secret(kept)
        self._store.keep_secret(_NEXT, key.secret)
        return {"algorithm": ALGORITHM, "auth_data": self._signed({"public_key": key.public})}

    def created(self, version: str) -> None:
        """Take in that the prepared backup was made."""
        kept = self._store.secret(_NEXT)
        if kept is None:
            return
        self._store.keep_secret(SECRET, kept)
        self._store.forget_secret(_NEXT)
        self._use(Backup(version, BackupKey.from_secret(kept).public))

    def found(self, version: str, algorithm: str, auth_data: Any) -> Verdict:
        """Take in which backup the homeserver has: keys are stored there if it is trusted, and else nowhere."""
        self.must_look = False
        verdict, public = self._verdict(algorithm, auth_data)
        prepared = self._store.secret(_NEXT)
        if verdict is Verdict.TRUSTED:
            if prepared is not None and BackupKey.from_secret(prepared).public == public:
                # It was made, and we were not told.
                self.created(version)
            self._use(Backup(version, public))
        else:
            _log.warning("the backup %s is not used: %s", version, verdict.value)
            self._forget()
        return verdict

    def none_found(self) -> None:
        """Take in that the homeserver has no backup."""
        self.must_look = False
        self._forget()

    def take_secret(self, secret: str, version: str, algorithm: str, auth_data: Any) -> None:
        """Keep the private key of a backup, from secret storage, a verified device of ours, or whoever typed it.

        Raises Malformed, and Forged if it is not the key of this backup.
        """
        key = BackupKey.from_secret(secret)
        if algorithm != ALGORITHM or key.public != _public(auth_data):
            raise Forged("this is not the key of the backup that the homeserver has")
        self._store.keep_secret(SECRET, key.secret)
        self._use(Backup(version, key.public))

    def keep_shared_secret(self, secret: str) -> None:
        """Keep the private key that a verified device of ours has sent; which backup it opens, `found` shows."""
        self._store.keep_secret(SECRET, BackupKey.from_secret(secret).secret)
        self.must_look = True

    def is_signed_by_identity(self, auth_data: JsonObject) -> bool:
        """Return whether our identity, known to be ours, has signed a backup."""
        identity = self._cross_signing.identity
        keys = {identity.master: identity.master} if identity is not None and identity.is_verified else {}
        return self._has_signed(auth_data, keys)

    def signed_auth_data(self, auth_data: JsonObject) -> JsonObject:
        """Return what is known of a backup with our signatures, so that our other devices trust it too."""
        return self._signed(auth_data)

    # Storing.

    def requests(self) -> list[BackupPut]:
        """Return the request to make: the same one again until it is answered."""
        if self._under_way is None and self._clock() >= self._retry_at_ms:
            backup = self.in_use
            keys = [] if backup is None else stored.not_backed_up(self._store, backup.version, _KEYS_IN_A_REQUEST)
            if backup is not None and keys:
                self._under_way = BackupPut(version=backup.version, rooms=self._rooms(backup, keys)), keys
        return [] if self._under_way is None else [self._under_way[0]]

    def answered(self, request: BackupPut, answer: Any) -> None:  # noqa: ARG002  # how many there are is of no use
        """Take in that keys are stored: only now is that noted, and only of the keys as they were."""
        if self._under_way is not None and self._under_way[0] == request:
            stored.mark_backed_up(self._store, request.version, self._under_way[1])
            self._under_way = None

    def refused(self, request: BackupPut, status: int, errcode: str) -> None:
        """Take in that keys were not stored: there is another backup by now, or it is to be tried later."""
        if self._under_way is None or self._under_way[0] != request:
            return
        self._under_way = None
        if status == 404 or errcode == "M_WRONG_ROOM_KEYS_VERSION":
            self.must_look = True
            self._forget()
        else:
            self._retry_at_ms = self._clock() + _RETRY_MS

    @property
    def waiting(self) -> int:
        """How many keys are not in the backup yet."""
        backup = self.in_use
        if backup is None:
            return 0
        row = self._store.row("SELECT count(*) AS n FROM room_keys WHERE backed_up_in IS NOT ?", backup.version)
        return 0 if row is None else int(row["n"])

    # Restoring.

    def restore(self, rooms: Mapping[RoomId, Mapping[str, Any]]) -> Restored:
        """Take in keys of the backup in use, by room and session; one that is bad harms no other.

        Raises Malformed if the private key is not here.
        """
        key, backup = self.key, self.in_use
        if key is None or backup is None:
            raise Malformed("the key of the backup is not here")
        taken = total = refused = 0
        for room_id, sessions in rooms.items():
            for session_id, data in sessions.items():
                total += 1
                try:
                    content = key.decrypt(data.get("session_data") if isinstance(data, dict) else None)
                    # Which room and session it is for stands outside of what is encrypted; the session vouches for
                    # itself, and who restores it for another room decrypts nothing there.
                    content = {**content, "room_id": room_id, "session_id": session_id}
                    with self._store.attempt():
                        added = self._megolm.add_exported(content, Origin.BACKUP)
                except EncryptionError as error:
                    refused += 1
                    _log.info("a key in the backup is of no use: %s", error)
                    continue
                if added is not None:
                    taken += 1
                    stored.mark_backed_up(self._store, backup.version, [added])
        return Restored(taken, total, refused)

    def _verdict(self, algorithm: str, auth_data: Any) -> tuple[Verdict, str]:
        """https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups ."""
        if algorithm != ALGORITHM:
            return Verdict.UNKNOWN_ALGORITHM, ""
        try:
            public = _public(auth_data)
        except Malformed:
            return Verdict.UNKNOWN_ALGORITHM, ""
        secrets = (self._store.secret(SECRET), self._store.secret(_NEXT))
        ours = any(secret is not None and BackupKey.from_secret(secret).public == public for secret in secrets)
        return (Verdict.TRUSTED if ours or self._is_signed(auth_data) else Verdict.UNTRUSTED), public

    def _is_signed(self, auth_data: JsonObject) -> bool:
        """Return whether our identity, known to be ours, or a verified device of ours has signed something."""
        user_id = self._own.user_id
        identity = stored_devices.identity(self._store, user_id)
        signatures: Any = auth_data.get("signatures")
        names = signatures.get(user_id) if isinstance(signatures, dict) else None
        keys = {}
        if identity is not None and identity.is_verified:
            keys[identity.master] = identity.master
        for name in names if isinstance(names, dict) else ():
            device = stored_devices.device(self._store, user_id, DeviceId(str(name).partition(":")[2]))
            if device is not None and not device.gone and standing(device, identity).is_verified:
                keys.setdefault(device.device_id, device.ed25519)
        return self._has_signed(auth_data, keys)

    def _has_signed(self, auth_data: JsonObject, keys: Mapping[str, str]) -> bool:
        """Return whether one of our keys, by name, has signed something."""
        for name, key in keys.items():
            try:
                check_signature(auth_data, self._own.user_id, name, key, "the backup")
            except InvalidKeys:
                continue
            return True
        return False

    def _signed(self, auth_data: JsonObject) -> JsonObject:
        bare = {name: value for name, value in auth_data.items() if name != "signatures"}
        before: Any = auth_data.get("signatures")
        signatures = dict(before) if isinstance(before, dict) else {}
        user_id = self._own.user_id
        ours: Any = signatures.get(user_id)
        names = dict(ours) if isinstance(ours, dict) else {}
        names |= self._own.sign(bare)["signatures"][user_id]
        master = self._cross_signing.private(Usage.MASTER)
        if master is not None:
            names |= master.signed(user_id, bare)["signatures"][user_id]
        return {**bare, "signatures": {**signatures, user_id: names}}

    def _rooms(self, backup: Backup, keys: list[RoomKey]) -> dict[RoomId, JsonObject]:
        rooms: dict[RoomId, JsonObject] = {}
        for key in keys:
            sessions = rooms.setdefault(key.room_id, {"sessions": {}})["sessions"]
            sessions[key.session_id] = {
                "first_message_index": key.first_index,
                "forwarded_count": len(key.forwarders),
                "is_verified": self._is_verified(key),
                "session_data": encrypt_session_data(backup.public_key, backed_up_session_data(key)),
            }
        return rooms

    def _is_verified(self, key: RoomKey) -> bool:
        """Return whether it is certain whose key it is."""
        if not key.origin.is_authentic:
            return False
        for device in stored_devices.devices_by_key(self._store, key.sender_key):
            if device.ed25519 == key.ed25519:
                return standing(device, stored_devices.identity(self._store, device.user_id)).is_verified
        return False

    def _use(self, backup: Backup) -> None:
        if self.in_use != backup:
            self._under_way = None
            kept = {"version": backup.version, "public_key": backup.public_key}
            self._store.keep_value(_IN_USE, kept)

    def _forget(self) -> None:
        self._under_way = None
        if self.in_use is not None:
            self._store.keep_value(_IN_USE, None)


def _public(auth_data: Any) -> str:
    value = auth_data.get("public_key") if isinstance(auth_data, dict) else None
    try:
        return public_key(value, "the key of the backup")
    except InvalidKeys as error:
        raise Malformed(str(error)) from error
