"""What end-to-end encryption adds to a delta: messages, keys that were claimed, and whose devices changed.

https://spec.matrix.org/v1.19/client-server-api/#e2e-extensions-to-sync
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from tricord.homeserver.encryption.device_keys import DeviceKeys, KeyCounts
from tricord.homeserver.encryption.device_lists import NO_NEWS, DeviceLists, ListNews
from tricord.homeserver.encryption.inboxes import Inboxes
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.homeserver.sync.delta import DeviceNews
from tricord.homeserver.sync.viewer import Viewer
from tricord.protocol.identifiers import DeviceId, RoomId, UserId

_MOST_REMEMBERED = 50_000


@dataclass(frozen=True, slots=True)
class _Known:
    """What a device has left, as it was at a position."""

    position: int
    counts: KeyCounts


class JoinedRooms(Protocol):
    """Who is in which rooms."""

    async def joined_rooms(self, user_id: UserId) -> Collection[RoomId]: ...


class DevicesSection:
    """Reads what is for one device."""

    def __init__(
        self,
        device_keys: DeviceKeys,
        inboxes: Inboxes,
        lists: DeviceLists,
        memberships: JoinedRooms,
        publisher: Publisher,
        changes: RecentChanges,
    ) -> None:
        self._lists = lists
        self._memberships = memberships
        self._inboxes = inboxes
        self._device_keys = device_keys
        self._publisher = publisher
        self._changes = changes
        self._known: dict[tuple[UserId, DeviceId], _Known] = {}

    async def note_received(self, viewer: Viewer, position: int) -> None:
        """Take out what a device has shown to have, by coming back with a position."""
        if viewer.device_id is not None:
            upto = position if viewer.messages_upto is None else viewer.messages_upto
            await self._inboxes.received(viewer.user_id, viewer.device_id, upto)

    async def news(self, viewer: Viewer, since: int | None, upto: int) -> DeviceNews:
        """Return what a device is told."""
        lists = NO_NEWS if since is None else await self._list_news(viewer.user_id, since, upto)
        if viewer.device_id is None:
            return DeviceNews(lists=lists)
        after = since if viewer.messages_upto is None else viewer.messages_upto
        mail = await self._inboxes.mail(viewer.user_id, viewer.device_id, after, upto)
        counts = await self._counts(viewer.user_id, viewer.device_id)
        return DeviceNews(
            one_time_keys=counts.one_time_keys,
            unused_fallback_keys=counts.unused_fallback_keys,
            # What the device has uploaded itself, it knows.
            were_claimed=since is not None and counts.claimed_at > since,
            messages=mail.messages,
            messages_upto=mail.upto,
            lists=lists,
        )

    async def _list_news(self, user_id: UserId, since: int, upto: int) -> ListNews:
        rooms = await self._memberships.joined_rooms(user_id)
        members_too = self._changes.members_changed(user_id, rooms, since, upto)
        if not members_too and not self._changes.user_changed(user_id, since):
            return NO_NEWS
        return await self._lists.news(user_id, since, upto, members_too=members_too)

    async def _counts(self, user_id: UserId, device_id: DeviceId) -> KeyCounts:
        key = (user_id, device_id)
        known = self._known.get(key)
        if known is not None and not self._changes.user_changed(user_id, known.position):
            return known.counts
        position = self._publisher.position
        counts = await self._device_keys.counts(user_id, device_id)
        self._known[key] = _Known(position, counts)
        if len(self._known) > _MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        return counts
