"""Telling everybody who shares a room with a user that the user's devices, or their keys, have changed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import UserId


class Neighbours(Protocol):
    """Who is in a room together with a user."""

    async def neighbours_of(self, user_id: UserId) -> Collection[UserId]: ...


class DeviceChanges:
    """Announces what `put_device_list_changes` has written."""

    def __init__(self, publisher: Publisher, neighbours: Neighbours) -> None:
        self._publisher = publisher
        self._neighbours = neighbours

    async def announce(self, user_id: UserId, position: int) -> None:
        """Announce a change that has been committed at a position."""
        neighbours = await self._neighbours.neighbours_of(user_id)
        self._publisher.publish(Commit(position, rooms=frozenset(), users=frozenset({user_id, *neighbours})))
