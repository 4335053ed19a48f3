"""Setting up an identity, where to keep its secrets, and a backup: for a bot by itself, for people with one call.

Every step may be the last one before we are killed: what was made is stored before it is published, and the next call
goes on from there.
https://spec.matrix.org/v1.19/client-server-api/#recommended-client-behaviour
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from tricord.clients.encryption.cross_signing import SECRETS
from tricord.clients.encryption.errors import EncryptionError, Malformed
from tricord.clients.encryption.keeper import IdentityKeeper
from tricord.clients.encryption.key_backup import SECRET as BACKUP
from tricord.clients.encryption.own_identity import OwnIdentity
from tricord.clients.encryption.secret_storage import (
    DEFAULT_KEY,
    KEY_PREFIX,
    StorageKey,
    default_key_id,
    new_key,
    open_with_passphrase,
    open_with_recovery_key,
)
from tricord.clients.errors import Refused
from tricord.protocol.identifiers import RoomId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)

# Our storage key, kept to store new secrets without asking anybody.
_STORAGE_KEY = "tricord.secret_storage.key"
_BACKUP_WISH = "m.key_backup"


class IdentityElsewhere(EncryptionError):
    """There is an identity already, and its keys are not here.

    A device of ours that has them verifies this one, or the recovery key brings them; or a new identity replaces it.
    """


class Calls(Protocol):
    """What is asked of a client."""

    async def account_data(self, data_type: str, *, room_id: RoomId | None = None) -> dict[str, Any] | None:
        """Read account data."""
        ...

    async def set_account_data(self, data_type: str, content: dict[str, Any], *, room_id: RoomId | None = None) -> None:
        """Write account data."""
        ...

    async def upload_cross_signing_keys(
        self,
        *,
        master_key: dict[str, Any] | None = None,
        self_signing_key: dict[str, Any] | None = None,
        user_signing_key: dict[str, Any] | None = None,
        password: str | None = None,
    ) -> None:
        """Publish our cross-signing keys."""
        ...

    async def create_key_backup(self, algorithm: str, auth_data: dict[str, Any]) -> str:
        """Begin a new backup."""
        ...

    async def update_key_backup(self, version: str, algorithm: str, auth_data: dict[str, Any]) -> None:
        """Change the `auth_data` of a backup."""
        ...

    async def key_backup(self, version: str | None = None) -> Any:
        """Return what is to be known of a backup."""
        ...


@dataclass(frozen=True, slots=True)
class SetUp:
    """What is there after setting up."""

    made_identity: bool
    made_backup: bool
    recovery_key: str | None = field(repr=False)
    """What opens the secret storage; None if we do not know it."""


async def set_up(
    calls: Calls,
    keeper: IdentityKeeper,
    *,
    password: str | None = None,
    recovery_key: str | None = None,
    passphrase: str | None = None,
    reset: bool = False,
    backup: bool = True,
) -> SetUp:
    """See to it that we have an identity, that its secrets are stored, and that keys are backed up.

    An identity that is there is used if its keys are here, or come from secret storage with the recovery key or the
    passphrase; otherwise raises IdentityElsewhere, unless it is to be `reset`: then a new one replaces it, which takes
    the password, and everybody who verified us is told.
    """
    own = keeper.own
    await _learn_about_us(keeper)
    storage = await _opened_storage(calls, own, recovery_key, passphrase)
    if storage is not None:
        await _take_secrets(calls, own, storage)
    made_identity = await _have_identity(calls, own, password, reset=reset)
    if storage is None or made_identity:
        storage = await _have_storage(calls, own, storage, passphrase, made_identity=made_identity)
    made_backup = backup and await _have_backup(calls, keeper, storage, made_identity=made_identity)
    if storage is not None:
        made = {*(SECRETS if made_identity else ()), *((BACKUP,) if made_backup else ())}
        await _store_secrets(calls, own, storage, made)
    await keeper.carry()
    return SetUp(made_identity, made_backup, None if storage is None else storage.recovery_key)


async def restore(
    calls: Calls, keeper: IdentityKeeper, *, recovery_key: str | None = None, passphrase: str | None = None
) -> int:
    """Make this device one of ours, with the recovery key or the passphrase: take the secrets, and then all keys.

    Return how many keys came from the backup. Raises WrongSecret, or Malformed if there is no secret storage.
    """
    own = keeper.own
    await _learn_about_us(keeper)
    storage = await _opened_storage(calls, own, recovery_key, passphrase)
    if storage is None:
        raise Malformed("there is no secret storage that a recovery key or passphrase would open")
    await _take_secrets(calls, own, storage)
    await keeper.look_at_backup()
    taken = (await keeper.restore_keys()).taken if own.backup.key is not None else 0
    await keeper.carry()
    return taken


async def _learn_about_us(keeper: IdentityKeeper) -> None:
    """Ask which devices and which identity are published for us: now, and not what we heard once."""
    machine = keeper.own.machine
    with machine.store.transaction():
        machine.lists.follow([machine.user_id])
        machine.lists.changed([machine.user_id])
    await keeper.carry()


async def _have_identity(calls: Calls, own: OwnIdentity, password: str | None, *, reset: bool) -> bool:
    """See to it that we have an identity; return whether it is new."""
    store, signing = own.machine.store, own.cross_signing
    with store.transaction():
        if signing.adopt_if_published():
            return True
    if not reset and (signing.is_complete or signing.is_verified):
        return False
    if not reset and signing.identity is not None:
        raise IdentityElsewhere(
            "there is an identity whose keys are not here: verify this device with another one, restore with the "
            "recovery key, or replace the identity with reset=True"
        )
    with store.transaction():
        keys = signing.prepare()
    await calls.upload_cross_signing_keys(
        master_key=keys["master_key"],
        self_signing_key=keys["self_signing_key"],
        user_signing_key=keys["user_signing_key"],
        password=password,
    )
    with store.transaction():
        signing.adopt()
    return True


async def _opened_storage(
    calls: Calls, own: OwnIdentity, recovery_key: str | None, passphrase: str | None
) -> StorageKey | None:
    """Return the storage key of the default description, if we know it or are given what opens it.

    A homeserver can describe any key as the default one. Ours is used only for what it was made for: its id and its
    check must fit.
    """
    key_id = default_key_id(await calls.account_data(DEFAULT_KEY) or {})
    description = None if key_id is None else await calls.account_data(KEY_PREFIX + key_id)
    if key_id is None or description is None:
        return None
    kept = _kept(own)
    if recovery_key is not None:
        opened = open_with_recovery_key(key_id, description, recovery_key)
    elif passphrase is not None and "passphrase" in description:
        opened = open_with_passphrase(key_id, description, passphrase)
    elif kept is not None and kept["key_id"] == key_id:
        opened = open_with_recovery_key(key_id, description, kept["recovery_key"])
    else:
        return None
    _keep(own, opened)
    return opened


async def _have_storage(
    calls: Calls, own: OwnIdentity, storage: StorageKey | None, passphrase: str | None, *, made_identity: bool
) -> StorageKey | None:
    """Return a key to store secrets with: a new one if there is none, or if the one there is is not ours.

    With an identity that was here before, a storage whose key we do not know is left as it is: somebody else keeps it.
    """
    if storage is not None:
        return storage
    if not made_identity and await calls.account_data(DEFAULT_KEY) is not None:
        return None
    key, description = new_key(passphrase=passphrase)
    _keep(own, key)
    # The default is named last: whoever finds it finds all that it takes to use it.
    await calls.set_account_data(KEY_PREFIX + key.key_id, description)
    await _store_secrets(calls, own, key, SECRETS)
    await calls.set_account_data(DEFAULT_KEY, {"key": key.key_id})
    return key


async def _take_secrets(calls: Calls, own: OwnIdentity, storage: StorageKey) -> None:
    """Take from secret storage what is missing here; what is not ours is left."""
    for name in own.secrets.missing():
        content = await calls.account_data(name)
        if content is None:
            continue
        try:
            secret = storage.decrypt(name, content)
            if name == BACKUP:
                info = await _newest_backup(calls)
                if info is not None:
                    with own.machine.store.transaction():
                        own.backup.take_secret(secret, info.version, info.algorithm, info.auth_data)
            elif name in SECRETS:
                with own.machine.store.transaction():
                    own.cross_signing.take_secret(name, secret)
        except EncryptionError as error:
            _log.warning("the stored secret %s is of no use: %s", name, error)


async def _store_secrets(calls: Calls, own: OwnIdentity, storage: StorageKey, made: Collection[str]) -> None:
    """Put into secret storage what we have and it has not.

    What other keys open stays beside it; but not of secrets that were `made` now: what they open is outdated.
    """
    secrets = own.cross_signing.secrets()
    if own.backup.key is not None:
        secrets[BACKUP] = own.backup.key.secret
    for name, secret in secrets.items():
        content = await calls.account_data(name) or {}
        if _is_stored(storage, name, content, secret):
            continue
        encrypted = content.get("encrypted")
        others = encrypted if isinstance(encrypted, dict) and name not in made else {}
        encrypted = {**others, storage.key_id: storage.encrypt(name, secret)}
        await calls.set_account_data(name, {**content, "encrypted": encrypted})


def _is_stored(storage: StorageKey, name: str, content: JsonObject, secret: str) -> bool:
    try:
        return hmac.compare_digest(storage.decrypt(name, content).encode(), secret.encode())
    except EncryptionError:
        return False


async def _have_backup(
    calls: Calls, keeper: IdentityKeeper, storage: StorageKey | None, *, made_identity: bool
) -> bool:
    """See to it that keys are backed up, unless the user wants none; return whether the backup is new.

    One that nothing shows to be ours is replaced only together with the identity, or if we can read none of it.
    """
    own = keeper.own
    wish = (await calls.account_data(_BACKUP_WISH) or {}).get("enabled")
    if wish is False:
        return False
    verdict = await keeper.look_at_backup()
    if own.backup.key is not None:
        await _vouch_for_backup(calls, own)
        return False
    if own.backup.in_use is not None and not made_identity:
        return False
    if verdict is not None and storage is None and not made_identity:
        return False
    with own.machine.store.transaction():
        wanted = own.backup.prepare()
    version = await calls.create_key_backup(wanted["algorithm"], wanted["auth_data"])
    with own.machine.store.transaction():
        own.backup.created(version)
    if wish is not True:
        await calls.set_account_data(_BACKUP_WISH, {"enabled": True})
    return True


async def _vouch_for_backup(calls: Calls, own: OwnIdentity) -> None:
    """Sign the backup with our identity, so that our other devices trust it too."""
    info = await calls.key_backup()
    if not own.backup.is_signed_by_identity(info.auth_data):
        signed = own.backup.signed_auth_data(info.auth_data)
        await calls.update_key_backup(info.version, info.algorithm, signed)


async def _newest_backup(calls: Calls) -> Any:
    try:
        return await calls.key_backup()
    except Refused as refusal:
        if refusal.status != 404:
            raise
        return None


def _kept(own: OwnIdentity) -> JsonObject | None:
    kept = own.machine.store.secret(_STORAGE_KEY)
    found: JsonObject | None = None if kept is None else orjson.loads(kept)
    return found


def _keep(own: OwnIdentity, key: StorageKey) -> None:
    kept = orjson.dumps({"key_id": key.key_id, "recovery_key": key.recovery_key}).decode()
    with own.machine.store.transaction():
        own.machine.store.keep_secret(_STORAGE_KEY, kept)
