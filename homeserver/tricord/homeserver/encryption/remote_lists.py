"""What is known of the devices of users of other servers: kept exact for those with whom somebody here shares a room.

Every change is told by their server, in a chain. Where a link is missing, the list is marked, durably, and fetched
whole; until it is here, their server is asked each time.

https://spec.matrix.org/v1.19/server-server-api/#device-management
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tricord.homeserver.encryption.cross_signing_forms import MASTER, SELF_SIGNING
from tricord.homeserver.encryption.device_changes import DeviceChanges
from tricord.homeserver.encryption.remote_forms import device_json, remote_device, remote_identity
from tricord.homeserver.storage import remote_devices as storage
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.device_lists import put_list_changes
from tricord.homeserver.storage.remote_devices import RemoteList
from tricord.homeserver.storage.stream import current_position
from tricord.protocol.identifiers import DeviceId, ServerName, UserId, server_name_of
from tricord.protocol.strict_json import JsonObject

_MOST_DEVICES = 2_000


@dataclass(frozen=True, slots=True)
class DeviceUpdate:
    """A link in the chain of changes of a user's devices."""

    user_id: UserId
    device_id: DeviceId
    stream_id: int
    prev_ids: tuple[int, ...]
    keys: Any
    """None: the device is gone, or has none."""
    display_name: Any = None


@dataclass(frozen=True, slots=True)
class WholeList:
    """The devices of a user as their server tells them when it is asked."""

    stream_id: int
    devices: Sequence[tuple[str, Any, str | None]]
    """Id, keys, and name."""
    master_key: Any
    self_signing_key: Any


@dataclass(frozen=True, slots=True)
class KnownLists:
    """Lists that may be relied on."""

    devices: dict[UserId, dict[DeviceId, JsonObject]]
    identities: dict[str, dict[UserId, JsonObject]]


class RemoteLists:
    """Keeps lists of devices."""

    def __init__(self, database: Database, changes: DeviceChanges, fetch_soon: Callable[[], None]) -> None:
        self._database = database
        self._changes = changes
        self._fetch_soon = fetch_soon

    async def known(self, requester: UserId, user_ids: Collection[UserId]) -> KnownLists:
        """Return the lists that are exact, of those users with whom the requester shares a room."""
        return await self._database.read(_known, requester, user_ids)

    async def begin(self, requester: UserId, user_ids: Collection[UserId]) -> None:
        """Keep the lists of those users from now on with whom the requester shares a room."""
        users = [(user_id, server_name_of(user_id)) for user_id in user_ids]
        if await self._database.run(storage.begin_lists, requester, users):
            self._fetch_soon()

    async def take_update(self, update: DeviceUpdate) -> None:
        """Take in a change that a server tells, or have the whole list fetched if others were missed."""
        await self._tell(update.user_id, await self._database.run(_take_update, update))

    async def mark(self, user_id: UserId) -> None:
        """Have a list fetched: it has changed."""
        await self._tell(user_id, await self._database.run(_mark, user_id))

    async def put(self, before: RemoteList, position: int, whole: WholeList) -> None:
        """Keep a list that was asked for at a position of ours."""
        await self._tell(before.user_id, await self._database.run(_put, before, position, whole))

    async def stale(self, server: ServerName, limit: int) -> tuple[list[RemoteList], int]:
        """Return lists that a server has to be asked for, and the position as of which that is."""

        async def read(tx: Transaction) -> tuple[list[RemoteList], int]:
            position = await current_position(tx)
            return await storage.stale_lists(tx, server, limit), position

        return await self._database.read(read)

    async def servers_to_ask(self) -> list[ServerName]:
        """Return the servers that have to be asked for lists."""
        return await self._database.read(storage.servers_with_stale_lists)

    async def forget(self, user_id: UserId) -> None:
        """Keep a list no longer."""
        await self._database.run(storage.delete_list, user_id)

    async def forget_strangers(self, own_name: ServerName) -> None:
        """Keep no lists of users whom nobody here shares a room with."""
        await self._database.run(storage.forget_lists_of_strangers, own_name)

    async def _tell(self, user_id: UserId, outcome: tuple[int | None, bool]) -> None:
        position, has_gap = outcome
        if position is not None:
            await self._changes.announce(user_id, position)
        if has_gap:
            self._fetch_soon()


async def _known(tx: Transaction, requester: UserId, user_ids: Collection[UserId]) -> KnownLists:
    lists = await storage.true_lists(tx, requester, user_ids)
    found = KnownLists({one.user_id: {} for one in lists}, {MASTER: {}, SELF_SIGNING: {}})
    for device in await storage.remote_devices_of(tx, list(found.devices)):
        found.devices[device.user_id][device.device_id] = device_json(device)
    for one in lists:
        for usage, key in ((MASTER, one.master_key), (SELF_SIGNING, one.self_signing_key)):
            if key is not None:
                found.identities[usage][one.user_id] = orjson.loads(key)
    return found


async def _take_update(tx: Transaction, update: DeviceUpdate) -> tuple[int | None, bool]:
    """Return the position at which the change can be seen, if it is one, and whether something was missed."""
    known = await storage.locked_list(tx, update.user_id)
    if known is not None and known.stream_id == update.stream_id:
        return None, False
    has_gap = False
    if known is not None:
        device = remote_device(update.user_id, update.device_id, update.keys, update.display_name)
        has_gap = known.is_stale or known.stream_id not in update.prev_ids or update.stream_id < known.stream_id
        if has_gap:
            await storage.mark_stale(tx, update.user_id)
        elif device is None:
            await storage.delete_remote_device(tx, update.user_id, update.device_id, update.stream_id)
        else:
            await storage.put_remote_device(tx, device, update.stream_id)
    return await put_list_changes(tx, [update.user_id]), has_gap


async def _mark(tx: Transaction, user_id: UserId) -> tuple[int | None, bool]:
    known = await storage.locked_list(tx, user_id)
    if known is not None:
        await storage.mark_stale(tx, user_id)
    return await put_list_changes(tx, [user_id]), known is not None


async def _put(tx: Transaction, before: RemoteList, position: int, whole: WholeList) -> tuple[int | None, bool]:
    known = await storage.locked_list(tx, before.user_id)
    if known is None:
        return None, False
    user_id = before.user_id
    found = (remote_device(user_id, name, keys, called) for name, keys, called in whole.devices[:_MOST_DEVICES])
    devices = sorted({device.device_id: device for device in found if device is not None}.values())
    identity: Mapping[str, bytes] = remote_identity(user_id, whole.master_key, whole.self_signing_key)
    fetched = RemoteList(
        user_id, whole.stream_id, False, before.marks, identity.get(MASTER), identity.get(SELF_SIGNING)
    )
    had = await storage.remote_devices_of(tx, [user_id])
    is_news = known.stream_id is not None and (
        set(had) != set(devices)
        or (known.master_key, known.self_signing_key) != (fetched.master_key, fetched.self_signing_key)
    )
    await storage.replace_list(tx, fetched, devices, position=position, marks=before.marks)
    return (await put_list_changes(tx, [user_id]) if is_news else None), known.marks != before.marks
