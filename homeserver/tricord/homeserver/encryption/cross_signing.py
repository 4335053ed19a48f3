"""Keys with which users vouch for their devices and for each other, and what they sign with them.

https://spec.matrix.org/v1.19/client-server-api/#cross-signing
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import orjson

from tricord.homeserver.encryption.cross_signing_forms import (
    MASTER,
    SELF_SIGNING,
    USER_SIGNING,
    check_chain,
    checked_cross_signing_key,
)
from tricord.homeserver.encryption.device_changes import DeviceChanges
from tricord.homeserver.storage import cross_signing as storage
from tricord.homeserver.storage.accounts import locked_account
from tricord.homeserver.storage.cross_signing import CrossSigningKey, KeySignature
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.device_lists import put_device_list_changes
from tricord.homeserver.storage.devices import device_with_id_exists
from tricord.protocol.errors import Forbidden, MissingParam
from tricord.protocol.identifiers import DeviceId, UserId
from tricord.protocol.strict_json import JsonObject


class AuthenticationNeeded(Exception):
    """The keys would replace others: whoever uploads them has to show again who they are."""


@dataclass(slots=True)
class Identities:
    """Cross-signing keys of some users, and signatures on keys of theirs."""

    keys: dict[str, dict[UserId, JsonObject]] = field(default_factory=dict)
    """By usage and user."""
    signatures: dict[UserId, dict[str, list[KeySignature]]] = field(default_factory=dict)
    """By user, and the device or key that is signed."""

    def signed(self, user_id: UserId, name: str, key: JsonObject) -> JsonObject:
        """Add to a key, in place, the signatures that came after it, and return it."""
        for one in self.signatures.get(user_id, {}).get(name, ()):
            key.setdefault("signatures", {}).setdefault(one.signer, {})[one.key_id] = one.signature
        return key


class CrossSigning:
    """Keeps the cross-signing keys of local users."""

    def __init__(self, database: Database, changes: DeviceChanges) -> None:
        self._database = database
        self._changes = changes

    async def upload(self, user_id: UserId, keys: Mapping[str, JsonObject], *, is_authenticated: bool = False) -> None:
        """Take in keys, by usage; raise AuthenticationNeeded if they would replace others.

        To say the same again is free, so that a client may repeat what it got no answer to.
        """
        checked = {usage: checked_cross_signing_key(key, user_id, usage) for usage, key in keys.items()}
        position = await self._database.run(_put, user_id, checked, is_authenticated=is_authenticated)
        if position is not None:
            await self._changes.announce(user_id, position)

    async def of(self, user_ids: Collection[UserId], seen_by: UserId | None) -> Identities:
        """Return the keys of local users, and the signatures on them and on their devices that somebody may see.

        None sees them through another server.
        """
        return await self._database.read(_identities, user_ids, seen_by)


async def _identities(tx: Transaction, user_ids: Collection[UserId], seen_by: UserId | None) -> Identities:
    keys = await storage.cross_signing_keys_of(tx, user_ids)
    return identities_of(keys, await storage.key_signatures_of(tx, user_ids, seen_by), seen_by)


def identities_of(
    keys: Collection[CrossSigningKey], signatures: Collection[KeySignature], seen_by: UserId | None
) -> Identities:
    """Return keys and signatures as somebody may see them."""
    found = Identities()
    for signature in signatures:
        found.signatures.setdefault(signature.user_id, {}).setdefault(signature.name, []).append(signature)
    for user_id, usage, public_key, key in keys:
        # Whom one has vouched for is nobody else's business, and so is the key that says so.
        if usage != USER_SIGNING or user_id == seen_by:
            found.keys.setdefault(usage, {})[user_id] = found.signed(user_id, public_key, orjson.loads(key))
    return found


async def _put(
    tx: Transaction, user_id: UserId, keys: Mapping[str, CrossSigningKey], *, is_authenticated: bool
) -> int | None:
    # Two uploads at once: the second finds the keys of the first.
    await locked_account(tx, user_id)
    known = {key.usage: key for key in await storage.cross_signing_keys_of(tx, [user_id])}
    master = keys.get(MASTER) or known.get(MASTER)
    if master is None:
        raise MissingParam("there is no master key")
    check_chain(keys, master)
    for key in keys.values():
        if await device_with_id_exists(tx, user_id, DeviceId(key.public_key)):
            raise Forbidden("a device has the name of this key")
    is_new = any(usage not in known or _unsigned(known[usage]) != _unsigned(key) for usage, key in keys.items())
    if MASTER in known and is_new and not is_authenticated:
        raise AuthenticationNeeded
    new = [key for usage, key in keys.items() if known.get(usage) != key]
    if not new:
        return None
    if MASTER not in known or master.public_key != known[MASTER].public_key:
        # What the old master key has signed is worth nothing now.
        await storage.delete_cross_signing_keys(tx, user_id, {SELF_SIGNING, USER_SIGNING} - keys.keys())
    await storage.put_cross_signing_keys(tx, new)
    return await put_device_list_changes(tx, user_id, has_new_identity=True)


def _unsigned(key: CrossSigningKey) -> JsonObject:
    members: JsonObject = orjson.loads(key.key)
    return {name: value for name, value in members.items() if name != "signatures"}
