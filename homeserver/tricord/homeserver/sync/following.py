"""One viewer's way through the stream: from one delta to the next, and waiting in between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.stream.publisher import Publisher, Subscription
from tricord.homeserver.sync.delta import Delta
from tricord.homeserver.sync.room_reads import marks_of
from tricord.homeserver.sync.viewer import Viewer

# Nobody announces that a room can be read again.
_OWED_AGAIN_SECONDS = 30

ReadDelta = Callable[[Viewer, int | None, int], Awaitable[Delta]]


class Following:
    """Somebody who follows what changes."""

    def __init__(
        self,
        read_delta: ReadDelta,
        publisher: Publisher,
        memberships: Memberships,
        viewer: Viewer,
        subscription: Subscription,
    ) -> None:
        self._read_delta = read_delta
        self._publisher = publisher
        self._memberships = memberships
        self._viewer = viewer
        self._subscription = subscription

    async def next_delta(self, since: int | None, *, at_once: bool = False, deadline: float = float("inf")) -> Delta:
        """Return the next delta with something in it; an empty one at the deadline, or `at_once`."""
        while True:
            viewer, upto = self._viewer, self._publisher.position
            delta = Delta(upto)
            if since is None or upto > since or at_once or viewer.messages_upto is not None or viewer.left_out:
                delta = await self._read_delta(viewer, since, upto)
                if delta.devices.messages_upto != viewer.messages_upto or delta.left_out or viewer.left_out:
                    self._viewer = replace(
                        viewer, messages_upto=delta.devices.messages_upto, left_out=marks_of(delta.left_out)
                    )
            if delta or at_once or since is None:
                return delta
            since = upto
            await self._watch_all_rooms()
            again = trio.current_time() + _OWED_AGAIN_SECONDS if delta.left_out else deadline
            # Only the waiting has an end: what is being read then is read to the end.
            with trio.move_on_at(min(again, deadline)) as waiting:
                await self._subscription.wait()
            if waiting.cancelled_caught and again >= deadline:
                return delta

    async def _watch_all_rooms(self) -> None:
        rooms = await self._memberships.joined_rooms(self._viewer.user_id)
        if rooms is not self._subscription.rooms and rooms != self._subscription.rooms:
            self._subscription.rooms = rooms
