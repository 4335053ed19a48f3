"""Devices that nobody is signed in on: one for each user who wants it, uploaded whole and encrypted by a client.

It takes in messages while its user has no other device. The next one to sign in reads them, and puts a new one in its
place. Messages stay until then: whoever reads them may fail half-way, and another has to begin anew.

https://github.com/matrix-org/matrix-spec-proposals/pull/3814
"""

from __future__ import annotations

import orjson

from tricord.homeserver.clock import Clock
from tricord.homeserver.encryption.device_changes import DeviceChanges
from tricord.homeserver.encryption.device_keys import CheckedUpload, Upload, checked_upload, put_keys
from tricord.homeserver.encryption.inboxes import MOST_AT_ONCE, Inboxes, Mail
from tricord.homeserver.storage import dehydrated_devices as storage
from tricord.homeserver.storage.accounts import locked_account
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.dehydrated_devices import DehydratedDevice
from tricord.homeserver.storage.device_keys import device_keys
from tricord.homeserver.storage.device_lists import put_device_list_changes
from tricord.homeserver.storage.devices import delete_devices, device_with_id_exists, drop_device, insert_device
from tricord.homeserver.stream.publisher import Publisher
from tricord.protocol.errors import BadJson, Forbidden, InvalidParam, NotFound, TooLarge
from tricord.protocol.identifiers import DeviceId, UserId, fits
from tricord.protocol.strict_json import JsonObject, check_event_integers

_MOST_BYTES_OF_DATA = 128 << 10


class DehydratedDevices:
    """Keeps the dehydrated devices of local users."""

    def __init__(
        self, database: Database, inboxes: Inboxes, changes: DeviceChanges, publisher: Publisher, clock: Clock
    ) -> None:
        self._database = database
        self._inboxes = inboxes
        self._changes = changes
        self._publisher = publisher
        self._clock = clock

    async def put(
        self, user_id: UserId, device_id: DeviceId, data: JsonObject, display_name: str | None, upload: Upload
    ) -> None:
        """Put a device in the place of the one that the user has; that one goes with the messages for it.

        The same device once more, as by a client that heard no answer, keeps its messages.
        """
        if not device_id or not fits(device_id) or "\0" in device_id:
            raise InvalidParam("the id of a device has 1 to 255 bytes")
        device = DehydratedDevice(device_id, _encoded(data))
        checked = await checked_upload(user_id, device_id, upload)
        position = await self._database.run(_put, user_id, device, display_name, checked, self._clock.now_ms())
        if position is not None:
            await self._changes.announce(user_id, position)

    async def of(self, user_id: UserId) -> DehydratedDevice:
        """Return the device of a user; raise NotFound if they have none."""
        return _found(await self._database.read(storage.dehydrated_device, user_id))

    async def delete(self, user_id: UserId) -> DeviceId:
        """Delete the device of a user; return which it was."""
        device_id, position = await self._database.run(_delete, user_id)
        if position is not None:
            await self._changes.announce(user_id, position)
        return device_id

    async def mail(
        self, user_id: UserId, device_id: DeviceId, after: int | None, limit: int = MOST_AT_ONCE
    ) -> tuple[Mail, int]:
        """Return the messages for the device after a position (None: all), and the position up to which these are all.

        Raises Forbidden if the user's dehydrated device is another, or none.
        """
        device = await self._database.read(storage.dehydrated_device, user_id)
        if device is None or device.device_id != device_id:
            raise Forbidden("this is not your dehydrated device")
        upto = self._publisher.position
        mail = await self._inboxes.mail(user_id, device_id, after, upto, limit)
        return mail, upto if mail.upto is None else mail.upto


def _encoded(data: JsonObject) -> bytes:
    if not isinstance(data.get("algorithm"), str):
        raise BadJson("`device_data` names its algorithm")
    check_event_integers(data)
    encoded = orjson.dumps(data)
    if len(encoded) > _MOST_BYTES_OF_DATA:
        raise TooLarge(f"`device_data` has at most {_MOST_BYTES_OF_DATA} bytes")
    return encoded


def _found(device: DehydratedDevice | None) -> DehydratedDevice:
    if device is None:
        raise NotFound("there is no dehydrated device")
    return device


async def _put(
    tx: Transaction,
    user_id: UserId,
    device: DehydratedDevice,
    display_name: str | None,
    keys: CheckedUpload,
    now_ms: int,
) -> int | None:
    # Two uploads at once: the second finds the device of the first.
    await locked_account(tx, user_id)
    old = await storage.dehydrated_device(tx, user_id)
    changed = {device.device_id}
    if old is not None and (
        old.device_id != device.device_id or await device_keys(tx, user_id, old.device_id) != keys.device_keys
    ):
        await drop_device(tx, user_id, old.device_id)
        changed.add(old.device_id)
        old = None
    if old is None:
        if await device_with_id_exists(tx, user_id, device.device_id):
            raise InvalidParam("somebody is signed in on a device of this id")
        await insert_device(tx, user_id, device.device_id, display_name, now_ms)
    await storage.put_dehydrated_device(tx, user_id, device)
    await put_keys(tx, user_id, device.device_id, keys)
    return await put_device_list_changes(tx, user_id, devices=changed) if old is None else None


async def _delete(tx: Transaction, user_id: UserId) -> tuple[DeviceId, int | None]:
    await locked_account(tx, user_id)
    device = _found(await storage.dehydrated_device(tx, user_id))
    ended = await delete_devices(tx, user_id, [device.device_id])
    return device.device_id, ended.keys_changed
