"""Keys of local devices: uploaded by them, queried and claimed by others.

https://spec.matrix.org/v1.19/client-server-api/#key-distribution
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
import trio

from tricord.homeserver.encryption.device_changes import DeviceChanges
from tricord.homeserver.encryption.key_forms import (
    SIGNED_CURVE25519,
    PreKey,
    checked_device_keys,
    checked_pre_keys,
    signing_key_of,
)
from tricord.homeserver.storage import device_keys as storage
from tricord.homeserver.storage.accounts import locked_account
from tricord.homeserver.storage.cross_signing import delete_signatures_on, is_cross_signing_key
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.device_keys import ClaimedKey, StoredPreKey, Wanted
from tricord.homeserver.storage.device_lists import put_device_list_changes
from tricord.homeserver.storage.grouped_writes import GroupedWrites
from tricord.homeserver.storage.stream import take_positions
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.errors import Forbidden, InvalidParam, NotFound
from tricord.protocol.identifiers import DeviceId, KeyId, UserId
from tricord.protocol.strict_json import JsonObject

MOST_ONE_TIME_KEYS = 1_000
"""In one upload, and unclaimed of one device."""

DevicesByUser = dict[UserId, dict[DeviceId, Any]]


@dataclass(frozen=True, slots=True)
class Upload:
    """What a device uploads, undigested."""

    device_keys: JsonObject | None
    one_time_keys: Mapping[str, Any]
    fallback_keys: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """What a device has left for others to claim."""

    one_time_keys: Mapping[str, int]
    unused_fallback_keys: tuple[str, ...]
    claimed_at: int
    """The position at which one was last claimed."""


@dataclass(frozen=True, slots=True)
class CheckedUpload:
    """The same, each key of the right form and signed."""

    device_keys: bytes | None
    one_time_keys: list[PreKey]
    fallback_keys: list[PreKey]


class DeviceKeys:
    """Keeps keys of local devices."""

    def __init__(self, database: Database, publisher: Publisher, changes: DeviceChanges) -> None:
        self._database = database
        self._publisher = publisher
        self._changes = changes
        self._claims: GroupedWrites[Collection[Wanted], list[ClaimedKey]] = GroupedWrites(self._claim_all)

    async def upload(self, user_id: UserId, device_id: DeviceId, upload: Upload) -> Mapping[str, int]:
        """Take in keys, all of them or none; return how many one-time keys the device has then."""
        known = await self._database.read(storage.device_keys, user_id, device_id)
        checked = await checked_upload(user_id, device_id, upload, known)
        position, for_others = await self._database.run(_put, user_id, device_id, checked)
        if position is not None and for_others:
            await self._changes.announce(user_id, position)
        elif position is not None:
            self._publisher.publish(Commit(position, rooms=frozenset(), users=frozenset({user_id})))
        return (await self.counts(user_id, device_id)).one_time_keys

    async def counts(self, user_id: UserId, device_id: DeviceId) -> KeyCounts:
        """Return what a device has left."""
        return await self._database.read(_counts, user_id, device_id)

    async def of(self, wanted: Mapping[UserId, Collection[DeviceId]]) -> DevicesByUser:
        """Return the keys of devices of local users: of those named, or of all where none is named."""
        return devices_by_user(await self._database.read(storage.device_keys_of, wanted), wanted)

    async def claim(self, wanted: Collection[Wanted]) -> DevicesByUser:
        """Give a one-time key for each of those wanted, which nobody else is given; or else a fallback key."""
        claimed: DevicesByUser = {}
        for key in await self._claims.submit(wanted) if wanted else ():
            name = f"{key.algorithm}:{key.key_id}"
            claimed.setdefault(key.user_id, {})[key.device_id] = {name: orjson.Fragment(key.key)}
        return claimed

    async def _claim_all(self, claims: Sequence[Collection[Wanted]]) -> Sequence[list[ClaimedKey]]:
        counts = Counter(one for wanted in claims for one in wanted)
        keys, position = await self._database.run_one(storage.claim_keys, dict(sorted(counts.items())))
        if position is not None:
            users = frozenset(given.user_id for given in keys)
            self._publisher.publish(Commit(position, rooms=frozenset(), users=users))
        found: dict[Wanted, deque[ClaimedKey]] = {}
        fallback: dict[Wanted, ClaimedKey] = {}
        for given in keys:
            one = (given.user_id, given.device_id, given.algorithm)
            if given.is_fallback:
                fallback[one] = given
            else:
                found.setdefault(one, deque()).append(given)

        def next_key(one: Wanted) -> ClaimedKey | None:
            left = found.get(one)
            return left.popleft() if left else fallback.get(one)

        # Whoever came first has the oldest.
        return [[key for key in map(next_key, wanted) if key is not None] for wanted in claims]


def devices_by_user(
    devices: Iterable[storage.DeviceKeys], wanted: Mapping[UserId, Collection[DeviceId]]
) -> DevicesByUser:
    """Return the keys of those of some devices that are wanted, as others see them."""
    found: DevicesByUser = {}
    for device in devices:
        if not wanted[device.user_id] or device.device_id in wanted[device.user_id]:
            keys = orjson.loads(device.keys)
            if device.display_name is not None:
                keys["unsigned"] = {"device_display_name": device.display_name}
            found.setdefault(device.user_id, {})[device.device_id] = keys
    return found


async def checked_upload(
    user_id: UserId, device_id: DeviceId, upload: Upload, known: bytes | None = None
) -> CheckedUpload:
    """Return an upload whose every key is good; raise InvalidParam if one is not. `known`: the device's own keys."""
    if max(len(upload.one_time_keys), len(upload.fallback_keys)) > MOST_ONE_TIME_KEYS:
        raise InvalidParam(f"a device uploads at most {MOST_ONE_TIME_KEYS} keys")
    # A signature takes a tenth of a millisecond, and there may be a thousand.
    return await trio.to_thread.run_sync(_checked, user_id, device_id, upload, known)


def _checked(user_id: UserId, device_id: DeviceId, upload: Upload, known: bytes | None) -> CheckedUpload:
    own = known
    uploaded = None
    if upload.device_keys is not None:
        own = uploaded = checked_device_keys(upload.device_keys, user_id, device_id)
    signing_key: tuple[KeyId, bytes] | None = None if own is None else signing_key_of(orjson.loads(own))
    one_time_keys = checked_pre_keys(upload.one_time_keys, user_id, signing_key)
    fallback_keys = checked_pre_keys(upload.fallback_keys, user_id, signing_key)
    if len({key.algorithm for key in fallback_keys}) < len(fallback_keys):
        raise InvalidParam("there is one fallback key for each algorithm")
    return CheckedUpload(uploaded, one_time_keys, fallback_keys)


async def _put(tx: Transaction, user_id: UserId, device_id: DeviceId, keys: CheckedUpload) -> tuple[int | None, bool]:
    """Write keys; return the position if anything is new, and whether it is for others."""
    if keys.device_keys is not None:
        # They take signatures with them. As for every change of an account: its lock comes first.
        await locked_account(tx, user_id)
    is_new, for_others = await put_keys(tx, user_id, device_id, keys)
    if for_others:
        return await put_device_list_changes(tx, user_id, devices=[device_id]), True
    return (await take_positions(tx, 1) if is_new else None), False


async def put_keys(tx: Transaction, user_id: UserId, device_id: DeviceId, keys: CheckedUpload) -> tuple[bool, bool]:
    """Write keys; return whether anything is new, and whether the device's own keys are."""
    if not await storage.lock_device(tx, user_id, device_id):
        raise NotFound("there is no such device any more")
    if keys.device_keys is not None and await is_cross_signing_key(tx, user_id, device_id):
        raise Forbidden("a cross-signing key has the name of this device")
    known = await storage.device_keys(tx, user_id, device_id)
    for_others = keys.device_keys is not None and keys.device_keys != known
    if keys.device_keys is not None and for_others:
        if known is not None and _identity(known) != _identity(keys.device_keys):
            # Nobody could use what the old key has signed.
            await storage.delete_pre_keys(tx, user_id, device_id)
        if known is not None:
            await delete_signatures_on(tx, user_id, [device_id])
        await storage.put_device_keys(tx, user_id, device_id, keys.device_keys)
    is_new = await _put_one_time_keys(tx, user_id, device_id, keys.one_time_keys)
    for key in keys.fallback_keys:
        is_new |= await storage.put_fallback_key(tx, user_id, device_id, key.algorithm, key.key_id, key.json)
    return is_new or for_others, for_others


def _identity(keys: bytes) -> object:
    return orjson.loads(keys)["keys"]


async def _put_one_time_keys(tx: Transaction, user_id: UserId, device_id: DeviceId, keys: list[PreKey]) -> bool:
    known = await storage.one_time_keys_named(tx, user_id, device_id, [(key.algorithm, key.key_id) for key in keys])
    new: list[StoredPreKey] = []
    for key in keys:
        digest = sha256(key.json).digest()
        if (before := known.get((key.algorithm, key.key_id))) is None:
            new.append(StoredPreKey(user_id, device_id, key.algorithm, key.key_id, key.json, digest))
        elif before != digest:
            raise InvalidParam(f"the one-time key {key.algorithm}:{key.key_id} is there already, and is another")
    if not new:
        return False
    counts = await storage.key_counts(tx, user_id, device_id)
    if len(new) + sum(counts.values()) > MOST_ONE_TIME_KEYS:
        raise InvalidParam(f"a device has at most {MOST_ONE_TIME_KEYS} one-time keys")
    await storage.insert_one_time_keys(tx, new)
    return True


async def _counts(tx: Transaction, user_id: UserId, device_id: DeviceId) -> KeyCounts:
    counts = await storage.key_counts(tx, user_id, device_id)
    fallback = await storage.unused_fallback_keys(tx, user_id, device_id)
    # Some clients take an absent count for "as before", so that none is said as 0.
    if await storage.device_keys(tx, user_id, device_id) is not None:
        counts.setdefault(SIGNED_CURVE25519, 0)
    return KeyCounts(counts, tuple(fallback), await storage.last_claim(tx, user_id, device_id))
