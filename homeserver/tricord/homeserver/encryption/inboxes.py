"""What waits for a device, read and taken out: by `/sync`, by the WebSocket, by whoever else has a token of its own.

A token of any kind holds the position of the last message that its client was told. When it comes back, the client has
shown that it has all up to there: `received` deletes them. Until then they are told again to whoever asks from before.

https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.to_device import DeviceName, delete_messages, messages_for
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.protocol.identifiers import DeviceId, UserId

MOST_AT_ONCE = 100
_MOST_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class Mail:
    """The first messages after a position, as JSON."""

    messages: Sequence[bytes] = ()
    upto: int | None = None
    """The position of the last of them, if there are more; None: these are all."""


class Inboxes:
    """Reads the messages for devices."""

    def __init__(self, database: Database, changes: RecentChanges) -> None:
        self._database = database
        self._changes = changes
        # Up to which position there is nothing left for a device. What came after it may have been told, be it by
        # another process.
        self._empty_upto: dict[DeviceName, int] = {}

    async def mail(
        self, user_id: UserId, device_id: DeviceId, after: int | None, upto: int, limit: int = MOST_AT_ONCE
    ) -> Mail:
        """Return what came for a device after one position (None: everything), up to another."""
        if after is not None and not self._changes.user_changed(user_id, after):
            return Mail()
        empty_upto = self._empty_upto.get((user_id, device_id))
        if empty_upto is not None and not self._changes.user_changed(user_id, empty_upto):
            return Mail()
        found = await self._database.read(messages_for, user_id, device_id, after or 0, upto, limit + 1)
        if not found and not after:
            self._note_empty((user_id, device_id), upto)
        more = len(found) > limit
        told = found[:limit]
        return Mail([message for _, message in told], told[-1][0] if more else None)

    async def received(self, user_id: UserId, device_id: DeviceId, upto: int) -> None:
        """Delete what a device has shown to have: all up to a position."""
        name = (user_id, device_id)
        empty_upto = self._empty_upto.get(name)
        if empty_upto is None or self._changes.user_changed(user_id, empty_upto):
            await self._database.run(delete_messages, user_id, device_id, upto)
            self._note_empty(name, upto)

    def _note_empty(self, name: DeviceName, upto: int) -> None:
        self._empty_upto.pop(name, None)
        self._empty_upto[name] = upto
        if len(self._empty_upto) > _MOST_REMEMBERED:
            del self._empty_upto[next(iter(self._empty_upto))]
