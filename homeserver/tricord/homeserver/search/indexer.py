"""Keeping the search index: a reader behind the log, which notes in the database how far it has got.

Whatever an event does to the index (a message, an edit of one, a redaction of either), the events concerned are put
into the index anew, as they are now. So it does not matter how often something is read, or in which order it came. Of
several processes one reads on at a time. Siblings leave it to the one with the fewest connections, which rests on
behalf of all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import structlog
import trio

from tricord.homeserver.rooms.aggregations import REPLACE, is_replacement
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.threads import relation
from tricord.homeserver.search.lexemes import Kind, vector
from tricord.homeserver.search.stems import Stems
from tricord.homeserver.search.texts import searched_text
from tricord.homeserver.search.words import words
from tricord.homeserver.storage.aggregations import newest_replacements
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.events import events_by_id, events_by_nid
from tricord.homeserver.storage.search import (
    IndexRow,
    indexed_by_edits,
    lock_progress,
    nids_to_index,
    put_in_index,
    room_nids,
    set_progress,
    take_queue,
)
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import EventId, RoomId

_logger = structlog.get_logger(__name__)

# Enough that the work is done for many at once, and little enough that nobody waits for it.
_MOST_EVENTS = 200
# Where much happens it is better read together.
_PAUSE_SECONDS = 1
# How much longer than it works it rests, while it has much to do: those who send are to notice nothing.
_REST = 5
_LOOK_AGAIN_SECONDS = 60
_MOST_EDITS_TRIED = 5


class SearchIndexer:
    """Writes the search index."""

    def __init__(
        self, database: Database, publisher: Publisher, stems: Stems, *, is_ours: Callable[[], bool] = lambda: True
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._stems = stems
        self._is_ours = is_ours
        self._read_upto = -1
        self._has_work = trio.Event()
        self._turn = trio.Lock()
        publisher.observe(self._note, lambda _position: self._has_work.set())

    async def run(self) -> None:
        """Index what is committed, for ever."""
        while True:
            try:
                started = trio.current_time()
                while self._is_ours() and await self._index_some(wait=False):
                    await trio.sleep((trio.current_time() - started) * _REST)
                    started = trio.current_time()
            except DatabaseError as error:
                _logger.warning("the search index falls behind", reason=str(error))
            with trio.move_on_after(_LOOK_AGAIN_SECONDS):
                await self._has_work.wait()
            self._has_work = trio.Event()
            await trio.sleep(_PAUSE_SECONDS)

    async def catch_up(self) -> None:
        """Return once all that is published now can be found."""
        upto = self._publisher.position
        while self._read_upto < upto and await self._index_some(wait=True):
            pass

    def _note(self, commit: Commit) -> None:
        if commit.has_events:
            self._has_work.set()

    async def _index_some(self, *, wait: bool) -> bool:
        """Index the next events; return whether there may be more."""
        async with self._turn:
            # Read before the events are: what is published by now is among them.
            upto = self._publisher.position
            more = await self._database.run(self._index, wait=wait)
            if more is False:
                self._read_upto = upto
            return bool(more)

    async def _index(self, tx: Transaction, *, wait: bool) -> bool | None:
        """Index the next events; return whether there are more, None if another process is at it."""
        after = await lock_progress(tx, wait=wait)
        if after is None:
            return None
        queued = await take_queue(tx, _MOST_EVENTS)
        next_ones = await nids_to_index(tx, after, _MOST_EVENTS)
        read = await events_by_nid(tx, [*queued, *(nid for nid, _ in next_ones)])
        concerned = await _concerned(tx, read.values())
        await self._index_again(tx, concerned)
        if next_ones:
            await set_progress(tx, next_ones[-1][1])
        return len(next_ones) == _MOST_EVENTS or len(queued) == _MOST_EVENTS

    async def _index_again(self, tx: Transaction, events: Collection[StoredEvent]) -> None:
        """Put events into the index as they are now."""
        edits = await _edits(tx, events)
        texts: dict[StoredEvent, tuple[Kind, list[str]]] = {}
        to_stem: set[str] = set()
        for stored in events:
            edit = edits.get(stored.event.event_id)
            text = searched_text(stored.event, None if edit is None else edit.event) if _is_found(stored) else None
            if text is None:
                continue
            found = words(text[1])
            texts[stored] = text[0], [word for word, _ in found]
            to_stem.update(word for word, is_unspaced in found if not is_unspaced)
            # There may be long ones among them.
            await trio.lowlevel.checkpoint()
        stems = await self._stems.of(tx, to_stem)
        rooms: Mapping[RoomId, int] = await room_nids(tx, {stored.event.room_id for stored in texts})
        rows = []
        for stored, (kind, of_text) in texts.items():
            edit, room_nid = edits.get(stored.event.event_id), rooms[stored.event.room_id]
            rows.append(
                IndexRow(
                    stored.nid,
                    room_nid,
                    stored.place.position,
                    stored.place.rank,
                    stored.event.sender,
                    None if edit is None else edit.nid,
                    vector(room_nid, kind, of_text, stems),
                )
            )
        await put_in_index(tx, rows, [stored.nid for stored in events if stored not in texts])


def _is_found(stored: StoredEvent) -> bool:
    happened = stored.position is not None and not stored.rejected and not stored.soft_failed
    return happened and stored.redacted_because is None and _edited_by(stored) is None


def _edited_by(stored: StoredEvent) -> EventId | None:
    """Return what an event is an edit of, if it is one."""
    related = relation(stored.event)
    return related[1] if related is not None and related[0] == REPLACE else None


async def _concerned(tx: Transaction, read: Collection[StoredEvent]) -> list[StoredEvent]:
    """Return the events whose place in the index some events may change."""
    concerned = {stored.event.event_id: stored for stored in read if stored.event.type != "m.room.redaction"}
    others: set[EventId] = set()
    redacted: set[EventId] = set()
    for stored in read:
        if (edited := _edited_by(stored)) is not None and "\0" not in edited:
            others.add(edited)
        if stored.event.redacts is not None and "\0" not in stored.event.redacts:
            redacted.add(stored.event.redacts)
    known = {stored.event.event_id: stored for stored in read}
    missing = (others | redacted) - known.keys()
    if missing:
        known |= await events_by_id(tx, list(missing))
    concerned |= {event_id: known[event_id] for event_id in others | redacted if event_id in known}
    edits = [known[event_id].nid for event_id in redacted if event_id in known]
    by_edits = set(await indexed_by_edits(tx, edits)) - concerned.keys() if edits else set()
    if by_edits:
        concerned |= await events_by_id(tx, list(by_edits))
    return list(concerned.values())


async def _edits(tx: Transaction, events: Collection[StoredEvent]) -> dict[EventId, StoredEvent]:
    """Return the newest edit of each of some messages that has one."""
    messages = {stored.event.event_id: stored for stored in events if stored.event.type == "m.room.message"}
    keys = [(event_id, stored.event.sender, stored.event.type) for event_id, stored in messages.items()]
    if not keys:
        return {}
    tried = await newest_replacements(tx, keys, _MOST_EDITS_TRIED)
    known = await events_by_id(tx, [edit for edits in tried.values() for edit in edits]) if tried else {}
    found = {}
    for event_id, edits in tried.items():
        valid = (known[edit] for edit in edits if edit in known and is_replacement(messages[event_id], known[edit]))
        if (newest := next(valid, None)) is not None:
            found[event_id] = newest
    return found
