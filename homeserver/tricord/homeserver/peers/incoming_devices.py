"""What other servers tell of devices: messages to ours, and changes of theirs.

https://spec.matrix.org/v1.19/server-server-api/#device-management
https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from tricord.homeserver.encryption.remote_lists import DeviceUpdate, RemoteLists
from tricord.homeserver.encryption.to_device import ToDevice
from tricord.homeserver.peers.edus import user_of
from tricord.protocol.errors import BadJson
from tricord.protocol.identifiers import DeviceId, RoomId, ServerName, UserId, fits, is_valid_user_id
from tricord.protocol.strict_json import JsonObject

_MOST_PREV_IDS = 100
_LARGEST_ID = 2**63 - 1


class JoinedRooms(Protocol):
    """Who is in which rooms."""

    async def joined_rooms(self, user_id: UserId) -> Collection[RoomId]: ...


class IncomingDevices:
    """Takes in `m.direct_to_device`, `m.device_list_update` and `m.signing_key_update`."""

    def __init__(self, to_device: ToDevice, lists: RemoteLists, memberships: JoinedRooms) -> None:
        self._to_device = to_device
        self._lists = lists
        self._memberships = memberships

    async def receive_messages(self, origin: ServerName, content: JsonObject) -> None:
        """Keep messages for devices of ours; each once, however often it is sent."""
        sender = user_of(origin, content.get("sender"))
        message_id, event_type, messages = content.get("message_id"), content.get("type"), content.get("messages")
        if not isinstance(message_id, str) or not fits(message_id):
            raise BadJson("messages to devices have an id")
        if not isinstance(event_type, str) or not isinstance(messages, dict):
            raise BadJson("messages to devices have a type, and are by user and device")
        found: dict[UserId, dict[DeviceId, JsonObject]] = {}
        for user_id, devices in messages.items():
            if is_valid_user_id(user_id) and isinstance(devices, dict):
                found[user_id] = {
                    DeviceId(name): message for name, message in devices.items() if isinstance(message, dict)
                }
        await self._to_device.take_in(origin, message_id, sender, event_type, found)

    async def receive_update(self, origin: ServerName, content: JsonObject) -> None:
        """Take in that a device of a user has changed, or is gone."""
        user_id = user_of(origin, content.get("user_id"))
        device_id, stream_id, previous = content.get("device_id"), content.get("stream_id"), content.get("prev_id", [])
        if not isinstance(device_id, str) or not fits(device_id) or "\0" in device_id:
            raise BadJson("a change of devices names one")
        if (
            stream_id is None
            or not _is_id(stream_id)
            or not isinstance(previous, list)
            or not all(map(_is_id, previous))
        ):
            raise BadJson("a change of devices has its place in a chain of numbers")
        if not await self._memberships.joined_rooms(user_id):
            # Nobody here may hear of it.
            return
        await self._lists.take_update(
            DeviceUpdate(
                user_id,
                DeviceId(device_id),
                stream_id,
                tuple(previous[:_MOST_PREV_IDS]),
                None if content.get("deleted") is True else content.get("keys"),
                content.get("device_display_name"),
            )
        )

    async def receive_identity(self, origin: ServerName, content: JsonObject) -> None:
        """Take in that a user has other cross-signing keys: they are fetched with the whole list."""
        user_id = user_of(origin, content.get("user_id"))
        if await self._memberships.joined_rooms(user_id):
            await self._lists.mark(user_id)


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST_ID
