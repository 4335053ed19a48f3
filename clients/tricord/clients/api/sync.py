"""Syncing: what is new for a user, as one long poll.

https://spec.matrix.org/v1.19/client-server-api/#syncing
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model


class EventBatch(Model):
    """Events without further context."""

    events: list[dict[str, Any]] = Field(default_factory=list)


class Timeline(EventBatch):
    """A stretch of a room's history; `limited` when it does not reach back to the previous sync."""

    limited: bool = False
    prev_batch: str | None = None


class RoomSummary(Model):
    """What a client needs to name a room without knowing its members."""

    heroes: list[str] | None = Field(None, alias="m.heroes")
    joined_member_count: int | None = Field(None, alias="m.joined_member_count")
    invited_member_count: int | None = Field(None, alias="m.invited_member_count")


class UnreadCounts(Model):
    """How much waits to be read."""

    notification_count: int = 0
    highlight_count: int = 0


class JoinedRoom(Model):
    """News of a room the user is in."""

    summary: RoomSummary = Field(default_factory=RoomSummary)
    timeline: Timeline = Field(default_factory=Timeline)
    state: EventBatch = Field(default_factory=EventBatch)
    state_after: EventBatch | None = None
    ephemeral: EventBatch = Field(default_factory=EventBatch)
    account_data: EventBatch = Field(default_factory=EventBatch)
    unread_notifications: UnreadCounts | None = None
    unread_thread_notifications: dict[str, UnreadCounts] | None = None


class InvitedRoom(Model):
    """A room the user is invited to."""

    invite_state: EventBatch = Field(default_factory=EventBatch)


class KnockedRoom(Model):
    """A room the user has knocked on."""

    knock_state: EventBatch = Field(default_factory=EventBatch)


class LeftRoom(Model):
    """A room the user has left or was removed from, up to that moment."""

    timeline: Timeline = Field(default_factory=Timeline)
    state: EventBatch = Field(default_factory=EventBatch)
    state_after: EventBatch | None = None
    account_data: EventBatch = Field(default_factory=EventBatch)


class SyncedRooms(Model):
    """News of rooms, by the user's membership in them."""

    join: dict[str, JoinedRoom] = Field(default_factory=dict)
    invite: dict[str, InvitedRoom] = Field(default_factory=dict)
    knock: dict[str, KnockedRoom] = Field(default_factory=dict)
    leave: dict[str, LeftRoom] = Field(default_factory=dict)


class DeviceLists(Model):
    """Users whose devices changed, and users whose devices are no longer followed."""

    changed: list[str] = Field(default_factory=list)
    left: list[str] = Field(default_factory=list)


class Sync(Endpoint):
    """Wait until something is new for the user, and return it.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync
    """

    method = "GET"
    path = "/_matrix/client/v3/sync"
    authentication = Authentication.GUEST
    body_kind = "none"
    hot = True
    cancel_on_disconnect = True

    class Query(Model):
        """From where, how long to wait, and what to leave out."""

        filter: str | None = None
        since: str | None = None
        full_state: bool = False
        set_presence: Literal["online", "offline", "unavailable"] = "online"
        timeout: int = Field(0, ge=0)
        use_state_after: bool = False

    class Response(Model):
        """Everything that is new, and the position to go on from."""

        next_batch: str
        rooms: SyncedRooms = Field(default_factory=SyncedRooms)
        presence: EventBatch = Field(default_factory=EventBatch)
        account_data: EventBatch = Field(default_factory=EventBatch)
        to_device: EventBatch = Field(default_factory=EventBatch)
        device_lists: DeviceLists = Field(default_factory=DeviceLists)
        device_one_time_keys_count: dict[str, int] = Field(default_factory=dict)
        device_unused_fallback_key_types: list[str] = Field(default_factory=list)
