"""What the machine asks of the homeserver: each request is made by whoever has a network, and its answer given back.

A request keeps its id however often it is handed out, so that making it twice does no harm.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tricord.clients.api.cross_signing import UploadSignatures
from tricord.clients.api.key_backups import PutBackedUpKeys
from tricord.clients.api.keys import ClaimKeys, QueryKeys, UploadKeys
from tricord.clients.api.messages import SendMessage
from tricord.clients.api.rooms import GetFullState
from tricord.clients.api.to_device import SendToDevice as SendToDeviceEndpoint
from tricord.clients.endpoint import Endpoint
from tricord.protocol.identifiers import DeviceId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject


def new_request_id() -> str:
    """Return an id that no other request has; it also serves as the transaction id."""
    return secrets.token_urlsafe(12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to the homeserver: an endpoint, and what goes into it."""

    endpoint: ClassVar[type[Endpoint]]
    request_id: str = field(default_factory=new_request_id)

    @property
    def path(self) -> dict[str, str]:
        """The parameters in the path."""
        return {}

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query."""
        return {}

    @property
    def body(self) -> JsonObject | None:
        """The body, None if there is none."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysUpload(Request):
    """Publish our keys: of the device, once, and one-time keys."""

    endpoint = UploadKeys
    device_keys: JsonObject | None
    one_time_keys: JsonObject
    fallback_keys: JsonObject

    @property
    def body(self) -> JsonObject:
        """The keys that there are."""
        parts = {
            "device_keys": self.device_keys,
            "one_time_keys": self.one_time_keys,
            "fallback_keys": self.fallback_keys,
        }
        return {name: keys for name, keys in parts.items() if keys}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysQuery(Request):
    """Ask for the devices of users; `users` has the number of the change that the answer covers."""

    endpoint = QueryKeys
    users: Mapping[UserId, int]

    @property
    def body(self) -> JsonObject:
        """All devices of each."""
        return {"device_keys": {user_id: [] for user_id in self.users}}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysClaim(Request):
    """Ask for one-time keys of devices, to begin sessions with them."""

    endpoint = ClaimKeys
    devices: Mapping[UserId, Mapping[DeviceId, str]]

    @property
    def body(self) -> JsonObject:
        """The algorithm, by user and device."""
        return {"one_time_keys": {user_id: dict(wanted) for user_id, wanted in self.devices.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class SendToDevice(Request):
    """Send messages to devices."""

    endpoint = SendToDeviceEndpoint
    event_type: str
    messages: Mapping[UserId, Mapping[DeviceId, JsonObject]]

    @property
    def path(self) -> dict[str, str]:
        """The type of the messages, and the id by which the homeserver knows a repetition."""
        return {"event_type": self.event_type, "txn_id": self.request_id}

    @property
    def body(self) -> JsonObject:
        """The messages."""
        return {"messages": {user_id: dict(messages) for user_id, messages in self.messages.items()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignaturesUpload(Request):
    """Publish signatures of ours, by user and name of what is signed."""

    endpoint = UploadSignatures
    signed: Mapping[UserId, Mapping[str, JsonObject]]

    @property
    def body(self) -> JsonObject:
        """What is signed, with its signatures."""
        return {user_id: dict(signed) for user_id, signed in self.signed.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPut(Request):
    """Store keys in a backup, by room and session."""

    endpoint = PutBackedUpKeys
    version: str
    rooms: Mapping[RoomId, JsonObject]

    @property
    def query(self) -> dict[str, str]:
        """Which backup."""
        return {"version": self.version}

    @property
    def body(self) -> JsonObject:
        """The keys."""
        return {"rooms": dict(self.rooms)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomMessage(Request):
    """Send an event into a room."""

    endpoint = SendMessage
    room_id: RoomId
    event_type: str
    content: JsonObject

    @property
    def path(self) -> dict[str, str]:
        """The room, the type, and the id by which the homeserver knows a repetition."""
        return {"room_id": self.room_id, "event_type": self.event_type, "txn_id": self.request_id}

    @property
    def body(self) -> JsonObject:
        """The content."""
        return self.content


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomState(Request):
    """Read the state of a room: whether it is encrypted, and who is in it."""

    endpoint = GetFullState
    room_id: RoomId

    @property
    def path(self) -> dict[str, str]:
        """The room."""
        return {"room_id": self.room_id}


_LASTING: dict[str, type[Request]] = {
    kind.__name__: kind for kind in (SendToDevice, SignaturesUpload, BackupPut, RoomMessage)
}


def as_content(request: Request) -> tuple[str, JsonObject]:
    """Return a request that must outlive us as the name of its kind and what is in it."""
    kind = type(request).__name__
    if kind not in _LASTING:
        raise ValueError(f"a {kind} is made anew from what the store holds")
    names = [name for name in request.__dataclass_fields__ if name not in {"request_id", "endpoint"}]
    return kind, {name: getattr(request, name) for name in names}


def from_content(kind: str, request_id: str, content: Mapping[str, Any]) -> Request:
    """Return the request that `as_content` has taken apart."""
    return _LASTING[kind](request_id=request_id, **content)
