"""Refusing relations that make no sense, before an event is made of them.

Events of other servers are not asked: whoever reads relations leaves out what makes no sense. That nobody annotates
twice in the same way is for the log to see to: see `annotations.py`.
"""

from __future__ import annotations

from tricord.homeserver.rooms.aggregations import THREAD, can_be_root
from tricord.homeserver.rooms.drafts import Draft
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.threads import relation_in
from tricord.homeserver.rooms.timeline import Timeline
from tricord.protocol.errors import Unknown


class RelationChecks:
    """Looks at what new events relate to. SQL: none for most; one look-up in threads."""

    def __init__(self, timeline: Timeline, memberships: Memberships) -> None:
        self._timeline = timeline
        self._memberships = memberships

    async def check(self, draft: Draft) -> None:
        """Refuse a thread that begins with an event which relates to another.

        https://spec.matrix.org/v1.19/client-server-api/#validation-of-mthread-relationships
        """
        related = relation_in(draft.content)
        if related is None or related[0] != THREAD or "\0" in related[1]:
            return
        if draft.room_id not in await self._memberships.joined_rooms(draft.sender):
            # Who is not in the room is refused anyway, and learns nothing of its events.
            return
        root = await self._timeline.event(related[1])
        if root is not None and root.event.room_id == draft.room_id and not can_be_root(root):
            raise Unknown(f"{related[1]} relates to another event itself, so that no thread can begin with it")
