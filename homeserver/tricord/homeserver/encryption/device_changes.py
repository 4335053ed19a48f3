"""Telling everybody who shares a room with a user that the user's devices, or their keys, have changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

import trio

from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import ServerName, UserId, server_name_of

WakeServers = Callable[[Collection[ServerName]], Awaitable[None]]
"""Has what was written for other servers sent."""


class Neighbours(Protocol):
    """Who is in a room together with a user."""

    async def neighbours_of(self, user_id: UserId) -> Collection[UserId]: ...


class DeviceChanges:
    """Announces what `put_list_changes` and `put_device_list_changes` have written."""

    def __init__(self, server_name: ServerName, publisher: Publisher, neighbours: Neighbours) -> None:
        self._server_name = server_name
        self._publisher = publisher
        self._neighbours = neighbours
        self._wake_servers: WakeServers | None = None

    def on_edus(self, wake_servers: WakeServers) -> None:
        """Call when something has been written for other servers."""
        self._wake_servers = wake_servers

    async def announce(self, user_id: UserId, position: int) -> None:
        """Announce a change that has been committed at a position."""
        keys = frozenset({user_id})
        self._publisher.hear(Commit(position, rooms=frozenset(), users=frozenset(), keys=keys))
        # Others wait for this position, so it is told even if whoever asked has gone.
        with trio.CancelScope(shield=True):
            neighbours = await self._neighbours.neighbours_of(user_id)
        local = {user for user in (user_id, *neighbours) if server_name_of(user) == self._server_name}
        self._publisher.publish(Commit(position, rooms=frozenset(), users=frozenset(local), keys=keys))
        if self._wake_servers is not None and user_id in local:
            servers = {server_name_of(user) for user in neighbours} - {self._server_name}
            if servers:
                await self._wake_servers(servers)
