"""Signatures on keys: of one's own devices, one's own master key, and other users' master keys.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any

import orjson
import trio

from tricord.homeserver.encryption.cross_signing import CrossSigning, Identities
from tricord.homeserver.encryption.cross_signing_forms import MASTER, SELF_SIGNING, USER_SIGNING
from tricord.homeserver.encryption.device_changes import DeviceChanges
from tricord.homeserver.encryption.device_keys import DeviceKeys, DevicesByUser
from tricord.homeserver.encryption.key_forms import ED25519, check_public_key
from tricord.homeserver.storage.accounts import locked_account
from tricord.homeserver.storage.cross_signing import KeySignature, place_key_signatures, put_key_signatures
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.device_lists import put_device_list_changes
from tricord.homeserver.storage.stream import take_positions
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.errors import InvalidParam, InvalidSignature, MatrixError, NotFound, SignatureInvalid
from tricord.protocol.identifiers import DeviceId, KeyId, ServerName, UserId, fits, is_valid_user_id
from tricord.protocol.signing import UNSIGNED_KEYS, verify_json
from tricord.protocol.strict_json import JsonObject

_MOST_KEYS = 5_000

Uploaded = Mapping[str, Mapping[str, Any]]
MasterKeys = Callable[[UserId, Collection[UserId]], Awaitable[Mapping[UserId, JsonObject]]]
"""Finds the master keys of users, wherever they are, for somebody."""


class KeySignatures:
    """Takes in signatures of local users."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        changes: DeviceChanges,
        cross_signing: CrossSigning,
        device_keys: DeviceKeys,
        master_keys: MasterKeys,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._changes = changes
        self._cross_signing = cross_signing
        self._device_keys = device_keys
        self._master_keys = master_keys

    async def upload(self, signer: UserId, uploaded: Uploaded) -> JsonObject:
        """Keep the signatures that are good; return why the others are not, by user and key."""
        if sum(map(len, uploaded.values())) > _MOST_KEYS:
            raise InvalidParam(f"one signs at most {_MOST_KEYS} keys at once")
        own = await self._cross_signing.of([signer], signer)
        devices = await self._device_keys.of({signer: ()})
        others = [UserId(user) for user in uploaded if user != signer and is_valid_user_id(user)]
        masters = await self._master_keys(signer, others) if others else {}
        judge = _Judge(signer, own, devices, masters)
        good, failures = await trio.to_thread.run_sync(judge.sort, uploaded)
        if good:
            about_self = any(one.user_id == signer for one in good)
            position = await self._database.run(put_signatures, signer, good, set(devices.get(signer, ())))
            if about_self:
                await self._changes.announce(signer, position)
            else:
                # Whom somebody vouches for, only they are told.
                themselves = frozenset({signer})
                self._publisher.publish(Commit(position, rooms=frozenset(), users=themselves, keys=themselves))
        return failures


class _Judge:
    """Tells good signatures from bad ones."""

    def __init__(
        self, signer: UserId, own: Identities, devices: DevicesByUser, masters: Mapping[UserId, JsonObject]
    ) -> None:
        self._signer = signer
        self._keys = {usage: by_user[signer] for usage, by_user in own.keys.items() if signer in by_user}
        self._devices: Mapping[str, JsonObject] = {str(name): keys for name, keys in devices.get(signer, {}).items()}
        self._masters = masters

    def sort(self, uploaded: Uploaded) -> tuple[list[KeySignature], JsonObject]:
        """Return the good signatures, and the faults of the others."""
        good: list[KeySignature] = []
        failures: JsonObject = {}
        for user, by_name in uploaded.items():
            for name, signed in by_name.items():
                try:
                    good += self._checked(user, name, signed)
                except MatrixError as error:
                    failures.setdefault(user, {})[name] = error.body()
        return good, failures

    def _checked(self, user: str, name: str, signed: Any) -> list[KeySignature]:
        if not isinstance(signed, dict) or not fits(name):
            raise InvalidParam("what is signed is no object")
        if user != self._signer:
            known = self._masters.get(UserId(user))
            if known is None or name not in _public_keys(known):
                raise NotFound(f"{user} has no such master key")
            return self._signatures(UserId(user), name, signed, known, self._own_key(USER_SIGNING))
        if name in self._devices:
            return self._signatures(self._signer, name, signed, self._devices[name], self._own_key(SELF_SIGNING))
        master = self._keys.get(MASTER)
        if master is None or name not in _public_keys(master):
            raise NotFound("there is no such device or master key")
        return self._signatures(self._signer, name, signed, master, self._device_keys_with_ids())

    def _signatures(
        self, user_id: UserId, name: str, signed: JsonObject, known: JsonObject, keys: Mapping[KeyId, str]
    ) -> list[KeySignature]:
        """Return the signatures on a key by keys that may sign it; all of them good, and there is at least one."""
        if _unsigned(signed) != _unsigned(known):
            raise InvalidParam("the key that is signed is not the one that is known")
        signatures = signed.get("signatures")
        own = signatures.get(self._signer) if isinstance(signatures, dict) else None
        before = known.get("signatures", {}).get(self._signer, {})
        found = []
        for key_id, public_key in keys.items():
            if isinstance(own, dict) and key_id in own:
                try:
                    verify_json(signed, ServerName(self._signer), key_id, check_public_key(public_key))
                except SignatureInvalid as error:
                    raise InvalidSignature(str(error)) from error
                found.append(KeySignature(user_id, name, self._signer, key_id, own[key_id]))
        if not found:
            raise InvalidSignature("nobody has signed this who could")
        # What is there already need not be written again, nor be told.
        return [one for one in found if before.get(one.key_id) != one.signature]

    def _own_key(self, usage: str) -> dict[KeyId, str]:
        return {KeyId(f"{ED25519}:{key}"): key for key in _public_keys(self._keys.get(usage, {}))}

    def _device_keys_with_ids(self) -> dict[KeyId, str]:
        return dict(self._keys_of_devices())

    def _keys_of_devices(self) -> Iterator[tuple[KeyId, str]]:
        for device_id, device in self._devices.items():
            key_id = KeyId(f"{ED25519}:{device_id}")
            if key_id in device["keys"]:
                yield key_id, device["keys"][key_id]


def _public_keys(key: JsonObject) -> list[str]:
    return [str(public_key) for public_key in key.get("keys", {}).values()]


def _unsigned(key: JsonObject) -> bytes:
    members = {name: value for name, value in key.items() if name not in UNSIGNED_KEYS}
    return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)


async def put_signatures(
    tx: Transaction, signer: UserId, signatures: Collection[KeySignature], devices: Collection[DeviceId]
) -> int:
    """Write signatures of a user, who has these devices; return the position."""
    # As for every change of an account: its lock comes first, and that of the stream last.
    await locked_account(tx, signer)
    await put_key_signatures(tx, signatures)
    signed = {DeviceId(one.name) for one in signatures if one.user_id == signer}
    if signed:
        position = await put_device_list_changes(
            tx, signer, devices=signed & set(devices), has_new_identity=bool(signed - set(devices))
        )
    else:
        position = await take_positions(tx, 1)
    await place_key_signatures(tx, [one for one in signatures if one.user_id != signer], position)
    return position
