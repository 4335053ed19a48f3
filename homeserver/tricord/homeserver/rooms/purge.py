"""Deleting messages whose time is over.

It goes through all rooms, a few messages at a time, and notes in the database how far it has come, so that a restart
costs nothing and of several processes one is at it. What is deleted is whole: the event, its relations, its words in
the search index, and its files if the operator wants that. What stays: state, which the room is made of; forward
extremities, which the next event stands on; and redactions, as long as what they redact is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.media.blobs import StoreUnavailable
from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.chain_rows import relation_of
from tricord.homeserver.rooms.retention import lifetime_ms
from tricord.homeserver.rooms.retention_settings import RetentionSettings
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.retention import (
    OldMessage,
    PurgePlace,
    RetentionRow,
    delete_messages,
    files_to_delete,
    first_room_with_old_messages,
    known_events,
    lock_purge,
    lock_room,
    old_messages,
    rooms_and_their_retention,
    set_purge_place,
)
from tricord.protocol.errors import InvalidParam
from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import EventId, RoomId
from tricord.protocol.media import Mxc, parse_mxc
from tricord.protocol.room_versions import room_version

_logger = structlog.get_logger(__name__)

# Little enough that nobody waits for the room meanwhile.
_MOST_MESSAGES = 200
_MOST_ROOMS = 200
# How much longer than it works it rests: those who send are to notice nothing.
_REST = 4
_LOOK_EVERY_SECONDS = 60
_MINUTE_MS = 60_000
# Where messages name their files: https://spec.matrix.org/v1.19/client-server-api/#mroommessage-msgtypes
_FILES = (("url",), ("file", "url"), ("info", "thumbnail_url"), ("info", "thumbnail_file", "url"))


class Files(Protocol):
    """Deletes files."""

    async def erase_within(self, tx: Transaction, names: Sequence[Mxc]) -> Sequence[bytes]:
        """Delete media in a transaction; return the bytes to delete once that is committed."""
        ...

    async def delete_bytes(self, digests: Sequence[bytes]) -> None:
        """Delete bytes that nothing names any more. Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class _Step:
    """What a step has done."""

    is_last: bool = False
    room_id: RoomId | None = None
    deleted: int = 0
    bytes_to_delete: Sequence[bytes] = ()


class Purge:
    """Deletes what is over."""

    def __init__(
        self,
        database: Database,
        rooms: CachedRooms,
        clock: Clock,
        settings: RetentionSettings,
        files: Files | None = None,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._clock = clock
        self._settings = settings
        self._files = files

    async def run(self) -> None:
        """Delete what is over, now and then, for ever."""
        while self._settings.enabled:
            try:
                started = trio.current_time()
                while await self.step():
                    await trio.sleep((trio.current_time() - started) * _REST)
                    started = trio.current_time()
            except DatabaseError as error:
                _logger.warning("old messages are not deleted", reason=str(error))
            await trio.sleep(_LOOK_EVERY_SECONDS)

    async def step(self) -> bool:
        """Delete a few messages; return whether there may be more to do now."""
        step = await self._database.run(self._step, self._clock.now_ms())
        if step is None:
            return False
        if step.deleted and step.room_id is not None:
            # Other processes keep what they have in memory, and show none of it: `Visibility` sees to that.
            self._rooms.forget(step.room_id)
            _logger.info("old messages are deleted", room_id=step.room_id, messages=step.deleted)
        if step.bytes_to_delete and self._files is not None:
            try:
                await self._files.delete_bytes(step.bytes_to_delete)
            except (StoreUnavailable, OSError) as error:
                # Nothing names them any more, and the next sweep deletes what nothing names.
                _logger.warning("the files of old messages are not deleted yet", reason=str(error))
        return not step.is_last

    async def _step(self, tx: Transaction, now_ms: int) -> _Step | None:
        """Go on by a few rooms, or in one room by a few messages; None if there is nothing to do now."""
        place = await lock_purge(tx, now_ms)
        if place is None:
            return None
        rooms = await rooms_and_their_retention(tx, place.room_nid, _MOST_ROOMS)
        if not rooms:
            await set_purge_place(tx, PurgePlace(), now_ms + self._settings.purge_every_minutes * _MINUTE_MS)
            return _Step(is_last=True)
        horizons = {
            room.room_nid: now_ms - lifetime for room in rooms if (lifetime := self._lifetime(room)) is not None
        }
        found = await first_room_with_old_messages(tx, list(horizons.items()), place) if horizons else None
        if found is None:
            await set_purge_place(tx, PurgePlace(rooms[-1].room_nid + 1))
            return _Step()
        if found != place.room_nid:
            place = PurgePlace(found)
        room = next(each for each in rooms if each.room_nid == found)
        messages = await old_messages(tx, place, horizons[found], _MOST_MESSAGES)
        step = await self._delete(tx, room, messages)
        if len(messages) < _MOST_MESSAGES:
            await set_purge_place(tx, PurgePlace(found + 1))
        else:
            await set_purge_place(tx, PurgePlace(found, messages[-1].origin_server_ts, messages[-1].event_nid))
        return step

    def _lifetime(self, room: RetentionRow) -> int | None:
        content = None if room.said is None else orjson.loads(room.said).get("content")
        return lifetime_ms(content if isinstance(content, dict) else None, self._settings)

    async def _delete(self, tx: Transaction, room: RetentionRow, messages: Sequence[OldMessage]) -> _Step:
        """Delete those of some messages that nothing here stands on."""
        extremities = await lock_room(tx, room.room_nid)
        version = room_version(room.version)
        events = {
            one.event_nid: VerifiedEvent.from_stored(one.json, version, one.event_id)
            for one in messages
            if one.event_nid not in extremities
        }
        redacts = {nid: event.redacts for nid, event in events.items() if event.redacts and "\0" not in event.redacts}
        staying = await known_events(tx, set(redacts.values())) - {
            event.event_id for nid, event in events.items() if nid not in redacts
        }
        gone = {nid: event for nid, event in events.items() if redacts.get(nid) not in staying}
        if not gone:
            return _Step()
        relations = [(EventId(one[0]), one[1], nid) for nid, event in gone.items() if (one := relation_of(event))]
        await delete_messages(
            tx,
            {nid: event.event_id for nid, event in gone.items()},
            relations,
            {redacts[nid] for nid in gone.keys() & redacts.keys()},
        )
        digests: Sequence[bytes] = ()
        if self._files is not None:
            shown = {(mxc, event.sender) for event in gone.values() for mxc in _files_of(event.content)}
            names = await files_to_delete(tx, shown) if shown else []
            digests = await self._files.erase_within(tx, names) if names else ()
        return _Step(room_id=room.room_id, deleted=len(gone), bytes_to_delete=digests)


def _files_of(content: Mapping[str, Any]) -> Iterator[Mxc]:
    """Yield the files that a message names where everybody can read it."""
    for said in (content, content.get("m.new_content")):
        for path in _FILES:
            value: Any = said
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if isinstance(value, str):
                with suppress(InvalidParam):
                    yield parse_mxc(value)
