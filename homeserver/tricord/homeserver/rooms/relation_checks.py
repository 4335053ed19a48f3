"""Refusing relations that make no sense, before an event is made of them.

Events of other servers are not asked: whoever reads relations leaves out what makes no sense.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import trio

from tricord.homeserver.rooms.aggregations import THREAD, can_be_root
from tricord.homeserver.rooms.drafts import Draft
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.threads import relation_in
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.storage.aggregations import annotations_by
from tricord.homeserver.storage.database import Database
from tricord.protocol.errors import DuplicateAnnotation, Unknown
from tricord.protocol.identifiers import EventId, UserId

_ANNOTATION = "m.annotation"


class RelationChecks:
    """Looks at what new events relate to. SQL: none for most; one or two look-ups for reactions and in threads."""

    def __init__(self, database: Database, timeline: Timeline, memberships: Memberships) -> None:
        self._database = database
        self._timeline = timeline
        self._memberships = memberships
        # Whose annotation of which event is under way here. Two of one user in two processes at once are not noticed.
        self._annotating: dict[tuple[UserId, EventId], trio.Lock] = {}

    @contextlib.asynccontextmanager
    async def checked(self, draft: Draft) -> AsyncIterator[None]:
        """Refuse to react twice in the same way, and to begin a thread where none can be; append it inside."""
        related = relation_in(draft.content)
        if related is None or related[0] != _ANNOTATION:
            await self._check(draft)
            yield
            return
        key = (draft.sender, related[1])
        lock = self._annotating.setdefault(key, trio.Lock())
        try:
            async with lock:
                await self._check(draft)
                yield
        finally:
            if not lock.locked() and not lock.statistics().tasks_waiting:
                self._annotating.pop(key, None)

    async def _check(self, draft: Draft) -> None:
        related = relation_in(draft.content)
        if related is None or draft.room_id not in await self._memberships.joined_rooms(draft.sender):
            # Who is not in the room is refused anyway, and learns nothing of its events.
            return
        rel_type, parent_id = related
        if "\0" in parent_id:
            return
        if rel_type == _ANNOTATION:
            await self._check_annotation(draft, parent_id)
        elif rel_type == THREAD:
            await self._check_thread(draft, parent_id)

    async def _check_annotation(self, draft: Draft, parent_id: EventId) -> None:
        """Refuse a second annotation that says the same.

        https://spec.matrix.org/v1.19/client-server-api/#avoiding-duplicate-annotations
        """
        found = await self._database.read(annotations_by, parent_id, draft.sender, draft.type)
        for stored in (await self._timeline.events(found)).values():
            if (
                stored.event.room_id == draft.room_id
                and _key(stored.event.content) == _key(draft.content)
                # The same request again is answered as before.
                and not _is_answer_to(stored, draft)
            ):
                raise DuplicateAnnotation(f"{draft.sender} has annotated {parent_id} like that already")

    async def _check_thread(self, draft: Draft, root_id: EventId) -> None:
        """Refuse a thread that begins with an event which relates to another.

        https://spec.matrix.org/v1.19/client-server-api/#validation-of-mthread-relationships
        """
        root = await self._timeline.event(root_id)
        if root is not None and root.event.room_id == draft.room_id and not can_be_root(root):
            raise Unknown(f"{root_id} relates to another event itself, so that no thread can begin with it")


def _key(content: dict[str, object]) -> object:
    relates_to = content.get("m.relates_to")
    return relates_to.get("key") if isinstance(relates_to, dict) else None


def _is_answer_to(stored: StoredEvent, draft: Draft) -> bool:
    transaction = draft.transaction
    return transaction is not None and (stored.sender_device, stored.transaction_id) == (
        transaction.device_id,
        transaction.transaction_id,
    )
