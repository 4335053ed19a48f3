"""Reading the state of rooms: as it is now, and as it was at an event.

What is read here is what is set; who may see it is for `visibility.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from tricord.homeserver.rooms.cached_rooms import CachedRoom, CachedRooms
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.state_map import EMPTY, Nodes, StateRoot, difference, event_numbers, get_many
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.events import events_by_id, events_by_nid, events_by_nid_without_type
from tricord.homeserver.storage.rooms import (
    current_state_nids_in_rooms,
    current_state_nids_without_type,
    state_nids_of_type_in_rooms,
)
from tricord.protocol.identifiers import RoomId


class RoomState:
    """What is set in a room."""

    def __init__(self, database: Database, rooms: CachedRooms, nodes: NodeCache) -> None:
        self._database = database
        self._rooms = rooms
        self._nodes = nodes

    async def current(self, room_id: RoomId, keys: Collection[StateKey]) -> dict[StateKey, StoredEvent]:
        """Return those of the keys that are set now; {} for a room that is not here."""
        room = await self._rooms.room(room_id)
        if room is None:
            return {}
        if not room.has_whole_state and not room.state.keys() >= set(keys):
            await self._rooms.read_state([(room, keys)])
        return _set_in(room, keys)

    async def current_in_rooms(
        self, wanted: Mapping[RoomId, Collection[StateKey]]
    ) -> dict[RoomId, dict[StateKey, StoredEvent]]:
        """Return some of the current state of many rooms at once; rooms that are not here are absent."""
        rooms = await self._rooms.rooms(wanted.keys())
        await self._rooms.read_state((room, wanted[room_id]) for room_id, room in rooms.items())
        return {room_id: _set_in(room, wanted[room_id]) for room_id, room in rooms.items()}

    async def current_all(self, room_id: RoomId) -> dict[StateKey, StoredEvent]:
        """Return the whole state as it is now."""
        room = await self._rooms.room(room_id)
        return {} if room is None else await self._rooms.whole_state(room)

    async def current_of_types(self, room_id: RoomId, types: Collection[str]) -> dict[StateKey, StoredEvent]:
        """Return the state of some types as it is now."""
        room = await self._rooms.room(room_id)
        return {} if room is None else await self._rooms.whole_state(room, types)

    async def of_type_in_rooms(
        self, room_ids: Collection[RoomId], event_type: str, *, most_per_room: int
    ) -> dict[RoomId, list[StoredEvent]]:
        """Return the state of one type in many rooms at once, of each room at most so much."""
        found: dict[RoomId, list[StoredEvent]] = {}
        for stored in await self._database.read(_of_type_in_rooms, room_ids, event_type, most_per_room):
            found.setdefault(stored.event.room_id, []).append(stored)
        return found

    async def current_kinds_in_rooms(
        self, room_ids: Collection[RoomId], types: Collection[str] | None, *, but: str | None = None
    ) -> dict[RoomId, dict[StateKey, StoredEvent]]:
        """Return the current state of many rooms at once, of some types; or (None) of all, but for one."""
        rooms = await self._rooms.rooms(room_ids)
        nids = [room.nid for room in rooms.values()]
        found: dict[RoomId, dict[StateKey, StoredEvent]] = {room_id: {} for room_id in rooms}
        for stored in await self._database.read(_kinds_in_rooms, nids, types, but):
            if (key := stored.key) is not None:
                found[stored.event.room_id][key] = stored
        return found

    async def of_rooms_at_without_type(
        self, events: Collection[StoredEvent], event_type: str
    ) -> dict[StoredEvent, dict[StateKey, StoredEvent]]:
        """Return the states of rooms once some events were in them, but for what has one type; one event a room.

        That is what is set now, with what has changed since put back. So without members a room of ten thousand costs
        no more than a small one.
        """
        rooms = await self._rooms.rooms({event.event.room_id for event in events})
        roots: dict[int, StateRoot] = {}
        now: dict[int, set[int]] = {}
        nids = [room.nid for room in rooms.values()]
        for room_nid, root, nid in await self._database.read(current_state_nids_without_type, nids, event_type):
            roots[room_nid] = StateRoot(root)
            now.setdefault(room_nid, set()).update(() if nid is None else (nid,))
        numbers = {event: rooms[event.event.room_id].nid for event in events}
        changes = await self._nodes.using_each(
            lambda nodes, event: difference(nodes, event.room_state, roots[numbers[event]]), numbers
        )
        then: dict[StoredEvent, set[int]] = {}
        for event, nid in numbers.items():
            then[event] = now[nid] - {new for _, new in changes[event] if new is not None}
            then[event] |= {old for old, _ in changes[event] if old is not None}
        known = await self._events(set[int]().union(*then.values()), events)
        return {
            event: {key: stored for key, stored in _by_key([known[n] for n in some]).items() if key[0] != event_type}
            for event, some in then.items()
        }

    async def some_of_rooms_at(
        self, wanted: Mapping[StoredEvent, Collection[StateKey]]
    ) -> dict[StoredEvent, dict[StateKey, StoredEvent]]:
        """Return some of the states of rooms once some events were in them."""
        return await self._some({event: (event.room_state, keys) for event, keys in wanted.items()})

    async def some_at(
        self, wanted: Mapping[StoredEvent, Collection[StateKey]]
    ) -> dict[StoredEvent, dict[StateKey, StoredEvent]]:
        """Return some of the states after some events: of each those keys that are set."""
        return await self._some({event: (event.state_after, keys) for event, keys in wanted.items()})

    async def _some(
        self, wanted: Mapping[StoredEvent, tuple[StateRoot, Collection[StateKey]]]
    ) -> dict[StoredEvent, dict[StateKey, StoredEvent]]:
        return await self._set_by(
            await self._nodes.using_each(lambda nodes, event: get_many(nodes, *wanted[event]), wanted)
        )

    async def at(self, event: StoredEvent, keys: Collection[StateKey]) -> dict[StateKey, StoredEvent]:
        """Return those of the keys that are set after an event."""
        return (await self.at_many([event], keys))[event]

    async def at_many(
        self, events: Collection[StoredEvent], keys: Collection[StateKey]
    ) -> dict[StoredEvent, dict[StateKey, StoredEvent]]:
        """Return those of the keys that are set after each of some events."""
        roots = {event.state_after for event in events}
        nids = await self._nodes.using_each(lambda nodes, root: get_many(nodes, root, keys), roots)
        return await self._set_by({event: nids[event.state_after] for event in events})

    async def all_at(self, event: StoredEvent) -> dict[StateKey, StoredEvent]:
        """Return the whole state after an event."""
        nids = await self._nodes.using(lambda nodes: event_numbers(nodes, event.state_after))
        return _by_key((await self._events(nids, [event])).values())

    async def at_without_type(self, event: StoredEvent, event_type: str) -> dict[StateKey, StoredEvent]:
        """Return the state after an event, but for what has one type: without members, a large room is small."""
        nids = await self._nodes.using(lambda nodes: event_numbers(nodes, event.state_after))
        return _by_key((await self._database.read(events_by_nid_without_type, nids, event_type)).values())

    async def of_room_at(self, event: StoredEvent) -> dict[StateKey, StoredEvent]:
        """Return the whole state of the room once an event was in it: on a fork, not the state after the event."""
        return (await self.of_rooms_at([event]))[event]

    async def of_rooms_at(self, events: Collection[StoredEvent]) -> dict[StoredEvent, dict[StateKey, StoredEvent]]:
        """Return the same for events of many rooms at once."""
        roots = {event.room_state for event in events}
        nids = await self._nodes.using_each(event_numbers, roots)
        known = await self._events({nid for numbers in nids.values() for nid in numbers}, events)
        return {event: _by_key([known[nid] for nid in nids[event.room_state]]) for event in events}

    async def before(self, event: StoredEvent) -> dict[StateKey, StoredEvent]:
        """Return the whole state before an event."""
        return (await self.before_many([event]))[event]

    async def before_many(self, events: Collection[StoredEvent]) -> dict[StoredEvent, dict[StateKey, StoredEvent]]:
        """Return the whole states before some events: those after them, but for what they set themselves."""
        after = await self._nodes.using_each(lambda nodes, event: event_numbers(nodes, event.state_after), events)
        nids = {event: [nid for nid in some if nid != event.nid] for event, some in after.items()}
        known = await self._events({nid for some in nids.values() for nid in some}, events)
        before = {event: _by_key([known[nid] for nid in some]) for event, some in nids.items()}
        replaced_ids = [event.replaces for event in events if event.replaces is not None]
        replaced = await self._database.read(events_by_id, replaced_ids) if replaced_ids else {}
        for event in events:
            if event.replaces is not None and (was := replaced.get(event.replaces)) and was.key is not None:
                before[event][was.key] = was
        return before

    async def changes(self, before: StoredEvent | None, after: StoredEvent) -> dict[StateKey, StoredEvent]:
        """Return what is set in the room once `after` was in it, and was not, or otherwise, once `before` was.

        None stands for before the room began.
        """
        return (await self.changes_since({after: before}))[after]

    async def changes_since(
        self, before: Mapping[StoredEvent, StoredEvent | None]
    ) -> dict[StoredEvent, dict[StateKey, StoredEvent]]:
        """Return the same for events of many rooms at once, by the events after; each with the one before it."""

        def changed(nodes: Nodes, after: StoredEvent) -> list[int]:
            then = before[after]
            pairs = difference(nodes, EMPTY if then is None else then.room_state, after.room_state)
            return [nid for _, nid in pairs if nid is not None]

        nids = await self._nodes.using_each(changed, before)
        known = await self._events({nid for some in nids.values() for nid in some}, before)
        return {after: _by_key([known[nid] for nid in some]) for after, some in nids.items()}

    async def _set_by(
        self, nids: Mapping[StoredEvent, Mapping[StateKey, int]]
    ) -> dict[StoredEvent, dict[StateKey, StoredEvent]]:
        """Return the events that set some keys at others, by their numbers; what is still set, from memory."""
        known: dict[int, StoredEvent] = {}
        for event, of_event in nids.items():
            now = self._rooms.known_state(event.event.room_id)
            known |= {nid: stored for key, nid in of_event.items() if (stored := now.get(key)) and stored.nid == nid}
        missing = {nid for of_event in nids.values() for nid in of_event.values() if nid not in known}
        if missing:
            known |= await self._database.read(events_by_nid, list(missing))
        return {event: {key: known[nid] for key, nid in of_event.items()} for event, of_event in nids.items()}

    async def _events(self, nids: Collection[int], of_states_at: Iterable[StoredEvent]) -> dict[int, StoredEvent]:
        """Return events of the states at some events; what is still set, from memory, if it is there."""
        known = self._rooms.state_in_memory({event.event.room_id for event in of_states_at}) if nids else {}
        missing = [nid for nid in nids if nid not in known]
        read = await self._database.read(events_by_nid, missing) if missing else {}
        return {nid: stored for nid in nids if (stored := known.get(nid) or read.get(nid)) is not None}


def _set_in(room: CachedRoom, keys: Collection[StateKey]) -> dict[StateKey, StoredEvent]:
    return {key: stored for key in keys if (stored := room.state.get(key)) is not None}


def _by_key(events: Collection[StoredEvent]) -> dict[StateKey, StoredEvent]:
    return {key: stored for stored in events if (key := stored.key) is not None}


async def _kinds_in_rooms(
    tx: Transaction, room_nids: list[int], types: Collection[str] | None, but: str | None
) -> list[StoredEvent]:
    if types is None and but is not None:
        rows = await current_state_nids_without_type(tx, room_nids, but)
        nids = [nid for _, _, nid in rows if nid is not None]
    else:
        nids = await current_state_nids_in_rooms(tx, room_nids, None if types is None else list(types))
    return list((await events_by_nid(tx, nids)).values())


async def _of_type_in_rooms(
    tx: Transaction, room_ids: Collection[RoomId], event_type: str, most_per_room: int
) -> list[StoredEvent]:
    nids = await state_nids_of_type_in_rooms(tx, room_ids, event_type, most_per_room)
    return list((await events_by_nid(tx, nids)).values())
