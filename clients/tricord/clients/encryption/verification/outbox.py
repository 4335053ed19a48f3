"""What we say in verifications: to devices by requests that outlive us, to rooms by whoever encrypts for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tricord.clients.encryption.requests import SendToDevice, new_request_id
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import outgoing
from tricord.clients.encryption.verification.messages import REQUEST
from tricord.clients.encryption.verification.verification import Verification
from tricord.protocol.identifiers import DeviceId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_BODY = (
    "{} is requesting to verify keys with you, but your client does not support verification in rooms. "
    "You need another client for this."
)


@dataclass(frozen=True, slots=True)
class InRoom:
    """A message of a verification to send into a room."""

    room_id: RoomId
    to: UserId
    event_type: str
    content: JsonObject
    request_id: str = field(default_factory=new_request_id)

    @classmethod
    def request(cls, room_id: RoomId, by: UserId, to: UserId, content: JsonObject) -> InRoom:
        """Return what asks somebody for a verification."""
        words = {"msgtype": REQUEST, "body": _BODY.format(by)}
        return cls(room_id, to, "m.room.message", {**words, **content, "to": to})


class Outbox:
    """Messages that are to be sent."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._in_rooms: list[InRoom] = []

    def __bool__(self) -> bool:
        """Whether there are messages to rooms."""
        return bool(self._in_rooms)

    def to_devices(self, user_id: UserId, device_ids: Sequence[DeviceId], event_type: str, content: JsonObject) -> None:
        """Send the same to devices of a user."""
        if device_ids:
            messages = {user_id: dict.fromkeys(device_ids, content)}
            with self._store.transaction():
                outgoing.put(self._store, SendToDevice(event_type=event_type, messages=messages))

    def to_room(self, message: InRoom) -> None:
        """Have a message sent to a room."""
        self._in_rooms.append(message)

    def take_room_messages(self) -> list[InRoom]:
        """Return the messages to send to rooms, in order; each is given once."""
        messages, self._in_rooms = self._in_rooms, []
        return messages

    def say(self, verification: Verification, event_type: str, content: JsonObject) -> None:
        """Send a message of a verification to the other side; a request that was refused, to all that were asked."""
        if verification.room_id is not None:
            if verification.transaction_id:
                self.to_room(InRoom(verification.room_id, verification.other_user, event_type, content))
            return
        device = verification.other_device
        devices = verification.asked_devices if device is None else (device,)
        self.to_devices(verification.other_user, devices, event_type, content)
