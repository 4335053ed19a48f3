"""What this process remembers of rooms: the head, a part of the current state, and the tail of the timeline.

What is remembered of a room belongs to one head. The log moves it along with what it commits, and tells other processes
on this machine, which do the same once somebody asks for the room there: they go on with another object, and who holds
the one before finds nothing changed. Where the move to a head was not told, or the one before it, or where much has
been told and nobody asked, the room is forgotten whole. An append on top of something out of date is refused by the
database, so being late costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tricord.homeserver.rooms.moves import Extremity, Move, ToldMove, told_move
from tricord.homeserver.rooms.state_map import StateRoot
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.tail import Tail, memory_of
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.events import events_by_nid, newest_events
from tricord.homeserver.storage.gathered_reads import GatheredReads
from tricord.homeserver.storage.rooms import RoomRow, current_state_nids, current_state_nids_of_room, rooms_by_id
from tricord.homeserver.stream.interests import MOVES
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.homeserver.stream.siblings import Siblings, Topic
from tricord.protocol.identifiers import RoomId
from tricord.protocol.room_versions import RoomVersion, room_version

_BUDGET, _TAIL_BUDGET = 24 << 20, 256 << 10
# A room that nobody has asked for in so many minutes is forgotten.
_MINUTES = 10
_ROOM_BYTES = 2_000
_KEY_BYTES = 200
# Of rooms with more state than this, it is not all kept.
_MOST_STATE = 20_000
# Of more than this, other processes read what they need.
_MOST_TOLD = 1_000
# In a room with more of its state in memory, to look through it may take longer than to read what is wanted.
_MOST_LOOKED_THROUGH = 500
# In a room that nobody has asked for while so much was told of it.
_MOST_TOLD_BYTES = 64 << 10
_RoomKey = tuple[int, str, str]
"""The number of a room, a type and a state key."""
_UNTOLD = ToldMove(RoomId(""), 0, 0, b"")


@dataclass(slots=True, eq=False)
class CachedRoom:
    """A room as it is, as far as this process remembers it."""

    nid: int
    room_id: RoomId
    version: RoomVersion
    head: int
    state_root: StateRoot
    extremities: tuple[Extremity, ...]
    state: dict[StateKey, StoredEvent | None] = field(default_factory=dict)
    """The pieces of the current state that have been asked for; None: not set."""
    has_whole_state: bool = False
    """Whether all that is set is in `state`."""
    tail: Tail | None = None
    redactions: int = 0
    """Goes up when events in it are redacted: what was read meanwhile may still have their content."""
    position: int = 0
    """What was committed up to here is in it, as far as is known, or has been told; it may be newer."""
    told: list[ToldMove] = field(default_factory=list)
    """What another process has told of it since, from one head to the next; not in it yet."""
    counted: int = 0
    """The bytes that count towards the budget."""
    minute: int = 0
    """When it was asked for last, as `CachedRooms` counts."""
    # Without what is in the tail, too.
    _state_size: int = 0
    _told_size: int = 0

    @property
    def last_head(self) -> int:
        """The last head that is known."""
        return self.told[-1].head if self.told else self.head

    def set_state(self, key: StateKey, stored: StoredEvent | None) -> None:
        """Remember what is set for a key."""
        before = self.state.get(key)
        self._state_size += _KEY_BYTES * (key not in self.state) + self._beside(stored) - self._beside(before)
        self.state[key] = stored

    def hear(self, told: ToldMove) -> bool:
        """Keep the next move for later; return False if that is too much by now."""
        self.told.append(told)
        self._told_size += len(told.encoded)
        return self._told_size <= _MOST_TOLD_BYTES

    def moved(self, *, tail_budget: int) -> CachedRoom:
        """Return the room as it has become by what was told; whoever has this one keeps what they have."""
        room = replace(self, state=self.state.copy(), counted=0, told=[], _told_size=0)
        for told in self.told:
            room.move(told.move(), tail_budget=tail_budget)
        return room

    def move(self, move: Move, *, tail_budget: int) -> None:
        """Take in what has been committed on top of the head."""
        self.head += 1
        self.position = max(self.position, move.position)
        self.state_root = move.state_root
        self.extremities = move.extremities
        if move.events and self.tail is None:
            self.tail = Tail(move.events[0].place.position - 1, budget=tail_budget)
        for key, became in move.state.items():
            self.set_state(key, became)
        if self.tail is not None:
            self._state_size += self._of_state(self.tail.append(move.events))
        for stored in move.redacted:
            self.redactions += 1
            own_key = stored.key
            if own_key is not None and self.state.get(own_key) == stored:
                self.set_state(own_key, stored)
            if stored.position is not None and self.tail is not None:
                self.tail.replace(stored)

    def reach_back(self, events: Sequence[StoredEvent], floor: int, *, tail_budget: int) -> Tail:
        """Let the tail begin with events before those that are in it, if there are any: all after a floor."""
        if self.tail is None:
            self.tail = Tail(events[-1].place.position if events else 0, budget=tail_budget)
        self._state_size -= self._of_state(events)
        self._state_size += self._of_state(self.tail.prepend(events, floor))
        return self.tail

    def _beside(self, stored: StoredEvent | None) -> int:
        """Return what a piece of state takes that is not in the tail anyway."""
        return 0 if stored is None or (self.tail is not None and self.tail.has(stored)) else memory_of(stored)

    def _of_state(self, events: Iterable[StoredEvent]) -> int:
        """Return what those of some events take that are what is set now."""
        state = self.state
        return sum(memory_of(stored) for stored in events if (key := stored.key) and state.get(key) == stored)

    @property
    def size(self) -> int:
        """About how many bytes all this takes."""
        return _ROOM_BYTES + self._state_size + self._told_size + (0 if self.tail is None else self.tail.size)


@dataclass(slots=True, eq=False)
class _Reading:
    """A reading of a room that is under way, and the last move of the room that was told meanwhile."""

    told: ToldMove = _UNTOLD


class CachedRooms:
    """The rooms used last, within a budget of bytes, and none that nobody has used for long."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        siblings: Siblings | None = None,
        *,
        budget: int = _BUDGET,
        tail_budget: int = _TAIL_BUDGET,
    ) -> None:
        self._database = database
        self._budget = budget
        self._tail_budget = tail_budget
        self._size = 0
        self._minute = 0
        # The one used last is the last.
        self._rooms: dict[RoomId, CachedRoom] = {}
        # Rooms being read, by one or several at once: to forget one meanwhile is to not keep it afterwards.
        self._reading: dict[RoomId, _Reading] = {}
        self._siblings = siblings
        if siblings is not None:
            siblings.listen(Topic.ROOMS, self._hear)
        # Where everybody asks for what is theirs: when a crowd joins a room, for example.
        self._current = GatheredReads[_RoomKey, StoredEvent](lambda rows: database.read(_current_events, rows))
        publisher.observe_other_processes(self._forget_changed, self._forget_all)

    async def rooms(self, room_ids: Collection[RoomId]) -> dict[RoomId, CachedRoom]:
        """Return those of the rooms that are here."""
        found = {}
        unknown = []
        for room_id in room_ids:
            room = self.known(room_id)
            if room is None:
                unknown.append(room_id)
            else:
                found[room_id] = room
        if unknown:
            self._want_moves(unknown)
            readings = {room_id: self._reading.setdefault(room_id, _Reading()) for room_id in unknown}
            try:
                for row in await self._database.read(rooms_by_id, unknown):
                    found[row.room_id] = self._read_or_known(row, readings[row.room_id])
            finally:
                for room_id, reading in readings.items():
                    if self._reading.get(room_id) is reading:
                        del self._reading[room_id]
                        self._want_no_moves_unless_known(room_id)
        return found

    async def room(self, room_id: RoomId) -> CachedRoom | None:
        """Return a room, if it is here."""
        return self.known(room_id) or (await self.rooms([room_id])).get(room_id)

    def known_state(self, room_id: RoomId) -> Mapping[StateKey, StoredEvent | None]:
        """Return what is known of what is set in a room now; None for what is not set."""
        room = self._rooms.get(room_id)
        return {} if room is None else room.state

    def state_in_memory(self, room_ids: Iterable[RoomId]) -> dict[int, StoredEvent]:
        """Return what is known to be set in some rooms, by number; nothing of rooms of which very much is."""
        rooms = [room for room_id in room_ids if (room := self._rooms.get(room_id)) is not None]
        return {
            stored.nid: stored
            for room in rooms
            if len(room.state) <= _MOST_LOOKED_THROUGH
            for stored in room.state.values()
            if stored is not None
        }

    async def read_state(self, wanted: Iterable[tuple[CachedRoom, Collection[StateKey]]]) -> None:
        """See to it that `state` of each room has the keys."""
        keys = [
            (room, key, room.redactions)
            for room, keys in wanted
            if not room.has_whole_state
            for key in keys
            if key not in room.state
        ]
        if not keys:
            return
        # PostgreSQL has no text with NUL, so nothing is set under such a name.
        rows = [(room.nid, *key) for room, key, _ in keys if "\0" not in key[0] and "\0" not in key[1]]
        events = await self._current.get(rows)
        again: list[tuple[CachedRoom, Collection[StateKey]]] = []
        for room, key, redactions in keys:
            if room.redactions != redactions:
                # What was read may still have the content that has been redacted since.
                again.append((room, [key]))
            elif key not in room.state:  # else it has been set since, and what was read may be older
                room.set_state(key, events.get((room.nid, *key)))
        self._account(room for room, _, _ in keys)
        if again:
            await self.read_state(again)

    async def whole_state(self, room: CachedRoom, types: Collection[str] | None = None) -> dict[StateKey, StoredEvent]:
        """Return all that is set in a room now, or all of some types; and remember it unless it is very much."""
        if not room.has_whole_state:
            redactions = room.redactions
            read = await self._database.read(_all_current_events, room.nid)
            if room.redactions != redactions:
                return await self.whole_state(room, types)
            # What has been committed meanwhile, or was known before, is as new as this or newer.
            state = {stored.key: stored for stored in read if stored.key is not None} | room.state
            if len(state) > _MOST_STATE:
                return _set(state, types)
            for key, stored in state.items():
                room.set_state(key, stored)
            room.has_whole_state = True
            self._account([room])
        return _set(room.state, types)

    async def read_tail(self, room: CachedRoom, limit: int) -> Tail:
        """Make the tail of a room reach back by `limit` more events, or as far as it may."""
        tail = room.tail
        floor = 2**62 if tail is None else tail.floor
        redactions = room.redactions
        read = await self._database.read(newest_events, [(room.room_id, 0, floor)], limit)
        if room.tail is not tail or (tail is not None and tail.floor != floor) or room.redactions != redactions:
            return await self.read_tail(room, limit)  # it has changed meanwhile, and might not join up
        events = read.get(room.room_id, [])
        floor = events[0].place.position - 1 if len(events) == limit else 0
        tail = room.reach_back(events, floor, tail_budget=self._tail_budget)
        self._account([room])
        return tail

    def add_new(self, room: CachedRoom) -> None:
        """Remember a room that is just being created: all of its events will be in the tail."""
        # Somebody may have read it since it was committed.
        self.forget(room.room_id)
        room.tail = Tail(0, budget=self._tail_budget)
        self._add(room)

    def move(self, room: CachedRoom, move: Move) -> bool:
        """Take in what this process has committed on top of a room's head.

        Return False if the room is not remembered as it was: others may have gone on from there, and have been heard.
        """
        is_known = self._rooms.get(room.room_id) is room
        if not is_known:
            # It has been forgotten since the log began; whoever has read it again has read what it was before.
            self.forget(room.room_id)
        room.move(move, tail_budget=self._tail_budget)
        self._account([room])
        # What is being read there may be of before a redaction, so that then the room is forgotten.
        is_told = not move.redacted and len(move.events) + len(move.state) <= _MOST_TOLD
        if self._siblings is not None and is_told and self._siblings.interests.elsewhere(room.room_id, MOVES):
            self._siblings.tell(Topic.ROOMS, told_move(room.room_id, room.head, move))
        return is_known

    def forget(self, room_id: RoomId) -> None:
        """Forget a room: it has been changed elsewhere."""
        self._reading.pop(room_id, None)
        room = self._rooms.pop(room_id, None)
        if room is not None:
            self._size -= room.counted
        self._want_no_moves_unless_known(room_id)

    def outdate(self, room: CachedRoom) -> None:
        """Forget a room that is no longer where it was; unless it has been moved there since."""
        if self._rooms.get(room.room_id) is room and not room.told:
            self.forget(room.room_id)

    def let_go(self) -> None:
        """Forget the rooms that nobody has asked for lately; called every minute."""
        self._minute += 1
        for room in list(self._rooms.values()):
            if room.minute > self._minute - _MINUTES:
                break
            self.forget(room.room_id)

    def known(self, room_id: RoomId) -> CachedRoom | None:
        """Return a room if it is remembered, with all that has been told of it; it is the one used last."""
        room = self._rooms.pop(room_id, None)
        if room is None:
            return None
        if not room.told:
            room.minute = self._minute
            self._rooms[room_id] = room
            return room
        self._size -= room.counted
        room = room.moved(tail_budget=self._tail_budget)
        self._add(room)
        return room

    def _want_moves(self, room_ids: Iterable[RoomId]) -> None:
        """Have siblings tell what becomes of rooms from now on."""
        if self._siblings is not None:
            for room_id in room_ids:
                self._siblings.interests.note(room_id, MOVES)

    def _want_no_moves_unless_known(self, room_id: RoomId) -> None:
        if self._siblings is not None and room_id not in self._rooms and room_id not in self._reading:
            self._siblings.interests.drop(room_id, MOVES)

    def _add(self, room: CachedRoom) -> None:
        self._want_moves([room.room_id])
        room.minute = self._minute
        self._rooms[room.room_id] = room
        self._account([room])

    def _read_or_known(self, row: RoomRow, reading: _Reading) -> CachedRoom:
        if (known := self.known(row.room_id)) is not None:
            return known  # another task was quicker, and the log may have moved it on since
        extremities = tuple(Extremity(*extremity) for extremity in row.extremities)
        room = CachedRoom(
            row.room_nid, row.room_id, room_version(row.version), row.head, StateRoot(row.state_root), extremities
        )
        if self._reading.get(row.room_id) is reading and row.head >= reading.told.head:
            room.position = reading.told.position
            self._add(room)
        return room

    def _hear(self, news: bytes) -> None:
        """Take notice of another process that has moved a room."""
        told = ToldMove.of(news)
        room_id = told.room_id
        reading = self._reading.get(room_id)
        # What several processes have written one after the other may be heard in another order.
        if reading is not None and reading.told.head < told.head:
            reading.told = told
        if (room := self._rooms.get(room_id)) is None:
            return
        if told.head > room.last_head and not (told.head == room.last_head + 1 and room.hear(told)):
            self.forget(room_id)
        else:
            room.position = max(room.position, told.position)
            self._account([room])

    def _forget_changed(self, commit: Commit) -> None:
        if commit.has_events:
            for room_id in commit.rooms:
                room, reading = self._rooms.get(room_id), self._reading.get(room_id)
                if room is not None and room.position < commit.position:
                    self.forget(room_id)
                elif reading is not None and reading.told.position < commit.position:
                    del self._reading[room_id]
                    self._want_no_moves_unless_known(room_id)

    def _forget_all(self, _position: int) -> None:
        known = [*self._rooms, *self._reading]
        self._rooms.clear()
        self._reading.clear()
        self._size = 0
        for room_id in known:
            self._want_no_moves_unless_known(room_id)

    def _account(self, rooms: Iterable[CachedRoom]) -> None:
        for room in set(rooms):
            if self._rooms.get(room.room_id) is room:
                self._size += room.size - room.counted
                room.counted = room.size
        while self._size > self._budget and len(self._rooms) > 1:
            self.forget(next(iter(self._rooms)))


def _set(state: Mapping[StateKey, StoredEvent | None], types: Collection[str] | None) -> dict[StateKey, StoredEvent]:
    if types is None:
        return {key: stored for key, stored in state.items() if stored is not None}
    return {key: stored for key, stored in state.items() if stored is not None and key[0] in types}


async def _all_current_events(tx: Transaction, room_nid: int) -> list[StoredEvent]:
    return list((await events_by_nid(tx, await current_state_nids_of_room(tx, room_nid))).values())


async def _current_events(tx: Transaction, keys: Sequence[_RoomKey]) -> dict[_RoomKey, StoredEvent]:
    nids = await current_state_nids(tx, keys)
    events = await events_by_nid(tx, list(nids.values())) if nids else {}
    return {key: events[nid] for key, nid in nids.items()}
