"""Sync over a WebSocket: the messages, as `spec/websocket.md` describes them."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Literal

from pydantic import Field

from tricord.clients.api.sync import DeviceLists, EventBatch, SyncedRooms
from tricord.clients.endpoint import Model

PATH = "/_tricord/client/v1/websocket"
FEATURE = "org.tricord.websocket"

LONGEST_MESSAGE = 1 << 20
SIGN_IN_WITHIN_SECONDS = 10
HEARTBEAT_SECONDS = 30
MOST_UNANSWERED = 32


class Close(IntEnum):
    """Why the server closed."""

    GOING_AWAY = 1001
    SIGNED_OUT = 4001
    BEHIND = 4002
    BAD_MESSAGE = 4003
    NOT_SIGNED_IN = 4004
    UNHEARD = 4005
    FAILED = 4006


class SignIn(Model):
    """The first message: who is there, and from where to go on."""

    type: Literal["sign_in"] = "sign_in"
    access_token: str | None = None
    position: str | None = None
    filter: dict[str, Any] | str | None = None
    set_presence: Literal["online", "offline", "unavailable"] = "online"
    use_state_after: bool = False


class SignedIn(Model):
    """The answer to it."""

    type: Literal["signed_in"] = "signed_in"
    user_id: str
    device_id: str | None = None
    heartbeat_ms: int = HEARTBEAT_SECONDS * 1000


class Refused(Model):
    """The other answer to it."""

    type: Literal["refused"] = "refused"
    status: int
    body: dict[str, Any]


class Delta(Model):
    """What changed after the delta before, up to a position."""

    type: Literal["delta"] = "delta"
    position: str
    rooms: SyncedRooms = Field(default_factory=SyncedRooms)
    account_data: EventBatch = Field(default_factory=EventBatch)
    presence: EventBatch = Field(default_factory=EventBatch)
    to_device: EventBatch = Field(default_factory=EventBatch)
    device_lists: DeviceLists = Field(default_factory=DeviceLists)
    device_one_time_keys_count: dict[str, int] = Field(default_factory=dict)
    device_unused_fallback_key_types: list[str] = Field(default_factory=list)


class Request(Model):
    """A request of the Client-Server API."""

    type: Literal["request"] = "request"
    id: int | str = Field(union_mode="left_to_right")
    method: str = Field(max_length=16)
    path: str = Field(max_length=8192)
    body: dict[str, Any] = Field(default_factory=dict)


class Response(Model):
    """The answer to one."""

    type: Literal["response"] = "response"
    id: int | str = Field(union_mode="left_to_right")
    status: int
    body: dict[str, Any]


class Received(Model):
    """The client has taken in everything up to a position: messages to its device can be deleted."""

    type: Literal["received"] = "received"
    position: str


class Pong(Model):
    """The answer to a ping: everything up to the position has been sent."""

    type: Literal["pong"] = "pong"
    position: str


class Resume(Model):
    """The last message to a client that fell behind: connect again, and go on."""

    type: Literal["resume"] = "resume"
    position: str
