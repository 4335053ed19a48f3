"""What is told with an event about the events that relate to it: its edit, its thread, its references.

Only what the reader may see counts, and nothing of people whom they ignore. Children are looked up for all events of
an answer at once.
https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.threads import relation
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.visibility import Seen, Visibility
from tricord.homeserver.storage.aggregations import (
    ThreadRow,
    kinds_of_children,
    newest_replacements,
    references_to,
    threads_of,
)
from tricord.homeserver.storage.database import Database
from tricord.protocol.identifiers import EventId, UserId

REPLACE, THREAD, REFERENCE = "m.replace", "m.thread", "m.reference"
_AGGREGATED = {REPLACE, THREAD, REFERENCE}
# The newest may be malformed, or where the reader cannot see it: so many are tried.
_MOST_TRIED = 5
_MOST_REFERENCES = 100


@dataclass(frozen=True, slots=True)
class Thread:
    """The thread that begins with an event."""

    latest: Seen
    count: int
    participated: bool
    of_latest: Aggregation | None = None
    """What relates to the latest event; never a thread, so that threads cannot contain each other."""


@dataclass(frozen=True, slots=True)
class Aggregation:
    """What relates to an event."""

    replacement: Seen | None = None
    thread: Thread | None = None
    references: Sequence[EventId] = ()

    def __bool__(self) -> bool:
        return bool(self.replacement or self.thread or self.references)

    def events(self) -> Iterator[StoredEvent]:
        """Go through the events that are told whole."""
        if self.replacement is not None:
            yield self.replacement.stored
        if self.thread is not None:
            yield self.thread.latest.stored
            if self.thread.of_latest is not None:
                yield from self.thread.of_latest.events()


@dataclass(slots=True)
class _Children:
    """What might be told of, before anybody has asked whether the reader may see it."""

    replacements: Mapping[EventId, Sequence[EventId]] = field(default_factory=dict)
    references: Mapping[EventId, Sequence[EventId]] = field(default_factory=dict)
    threads: Mapping[EventId, ThreadRow] = field(default_factory=dict)

    def ids(self) -> set[EventId]:
        found = {child for children in self.replacements.values() for child in children}
        found |= {child for children in self.references.values() for child in children}
        return found | {child for thread in self.threads.values() for child in thread.newest}


class Aggregations:
    """Aggregates what relates to events.

    SQL: one query for all events of an answer; where any of them has children, one for each way of relating, one for
    the children themselves, and what `Visibility` needs.
    """

    def __init__(
        self, database: Database, timeline: Timeline, visibility: Visibility, preferences: Preferences
    ) -> None:
        self._database = database
        self._timeline = timeline
        self._visibility = visibility
        self._preferences = preferences

    async def of(
        self, user_id: UserId, events: Collection[StoredEvent], *, with_threads: bool = True
    ) -> dict[EventId, Aggregation]:
        """Return what relates to events that a user may see; events to which nothing does are absent."""
        # "State events do not currently receive bundled aggregations."
        parents = {stored.event.event_id: stored for stored in events if not stored.event.is_state}
        if not parents:
            return {}
        kinds = await self._database.read(kinds_of_children, list(parents))
        parents = {event_id: parents[event_id] for event_id, of in kinds.items() if of & _AGGREGATED}
        if not parents:
            return {}
        ignored = await self._preferences.ignored_by(user_id)
        children = await self._children(user_id, parents, kinds, ignored, with_threads=with_threads)
        visible = await self._visible(user_id, children.ids(), ignored)
        latest = {
            root_id: seen
            for root_id, thread in children.threads.items()
            if (seen := _first(thread.newest, visible)) is not None
        }
        of_latest: Mapping[EventId, Aggregation] = {}
        if latest:
            of_latest = await self.of(user_id, [seen.stored for seen in latest.values()], with_threads=False)
        found = {}
        for event_id, parent in parents.items():
            thread = None
            if (seen := latest.get(event_id)) is not None:
                row = children.threads[event_id]
                thread = Thread(seen, row.count, row.participated, of_latest.get(seen.stored.event.event_id))
            replacements = [
                child
                for child in children.replacements.get(event_id, ())
                if child in visible and is_replacement(parent, visible[child].stored)
            ]
            references = [child for child in children.references.get(event_id, ()) if child in visible]
            aggregation = Aggregation(_first(replacements, visible), thread, references)
            if aggregation:
                found[event_id] = aggregation
        return found

    async def _children(
        self,
        user_id: UserId,
        parents: Mapping[EventId, StoredEvent],
        kinds: Mapping[EventId, set[str]],
        ignored: Collection[UserId],
        *,
        with_threads: bool,
    ) -> _Children:
        children = _Children()
        replaced = [
            stored for event_id, stored in parents.items() if REPLACE in kinds[event_id] and replaceable(stored)
        ]
        if replaced:
            keys = [(stored.event.event_id, stored.event.sender, stored.event.type) for stored in replaced]
            children.replacements = await self._database.read(newest_replacements, keys, _MOST_TRIED)
        referred_to = [event_id for event_id in parents if REFERENCE in kinds[event_id]]
        if referred_to:
            references: dict[EventId, list[EventId]] = {}
            for parent_id, child_id in await self._database.read(references_to, referred_to, _MOST_REFERENCES):
                references.setdefault(parent_id, []).append(child_id)
            children.references = references
        roots = [event_id for event_id, stored in parents.items() if THREAD in kinds[event_id] and can_be_root(stored)]
        if roots and with_threads:
            rows = await self._database.read(threads_of, roots, user_id, ignored, _MOST_TRIED)
            children.threads = {row.root_id: row for row in rows}
        return children

    async def _visible(
        self, user_id: UserId, event_ids: Collection[EventId], ignored: Collection[UserId]
    ) -> dict[EventId, Seen]:
        children = await self._timeline.events(event_ids)
        heard = [stored for stored in children.values() if stored.event.sender not in ignored]
        return {seen.stored.event.event_id: seen for seen in await self._visibility.seen(user_id, heard)}


def can_be_root(stored: StoredEvent) -> bool:
    """Return whether a thread can begin with an event: not with one that relates to another itself."""
    return relation(stored.event) is None


def replaceable(stored: StoredEvent) -> bool:
    """Return whether an event can be edited: no state, no edit, and nothing that was redacted."""
    related = relation(stored.event)
    is_edit = related is not None and related[0] == REPLACE
    return not stored.event.is_state and not is_edit and stored.redacted_because is None


def is_replacement(parent: StoredEvent, child: StoredEvent) -> bool:
    """Return whether an event is a valid edit of another one.

    https://spec.matrix.org/v1.19/client-server-api/#validity-of-replacement-events
    """
    old, new = parent.event, child.event
    return (
        replaceable(parent)
        and (old.room_id, old.sender, old.type) == (new.room_id, new.sender, new.type)
        and not new.is_state
        and relation(new) == (REPLACE, old.event_id)
        # What is encrypted has it inside.
        and (new.type == "m.room.encrypted" or isinstance(new.content.get("m.new_content"), dict))
    )


def told_whole(aggregations: Iterable[Aggregation]) -> list[StoredEvent]:
    """Return all events that some aggregations tell whole."""
    return [stored for aggregation in aggregations for stored in aggregation.events()]


def _first(event_ids: Iterable[EventId], visible: Mapping[EventId, Seen]) -> Seen | None:
    return next((visible[event_id] for event_id in event_ids if event_id in visible), None)
