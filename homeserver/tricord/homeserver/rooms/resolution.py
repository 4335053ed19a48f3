"""The state of a room where its history has forked: the rules of the library, on the states and events of the log.

Only what differs between the forks is read. The rules run in a thread of their own, since they may take long; from
there they ask for events, which are read by the loop.

https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import trio

from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.state_map import (
    NodeId,
    Nodes,
    Overlay,
    StateRoot,
    apply,
    difference,
    event_numbers,
    get_many,
)
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.storage.auth_edges import auth_edges, event_ids_by_nid
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.events import events_by_id, events_by_nid
from tricord.protocol.events import Event
from tricord.protocol.identifiers import EventId
from tricord.protocol.room_versions import RoomVersion, StateResolutionAlgorithm
from tricord.protocol.state_resolution import Conflict, Steps, resolve_conflict
from tricord.protocol.state_resolution.walked_chains import WalkedAuthChains

T = TypeVar("T")

# At most this many at once, so that forks in many rooms do not take all threads.
_THREADS = 4


class StateResolver:
    """Resolves the states after several events into one."""

    def __init__(self, database: Database, nodes: NodeCache) -> None:
        self._database = database
        self._nodes = nodes
        self._limiter = trio.CapacityLimiter(_THREADS)

    async def resolve(
        self,
        version: RoomVersion,
        roots: Collection[StateRoot],
        pending: Mapping[int, StoredEvent],
        made: Mapping[NodeId, bytes],
    ) -> tuple[StateRoot, dict[NodeId, bytes]]:
        """Return the root of the one state that stands for several, and its new nodes.

        `pending` are events that are not in the database yet, by their numbers, and `made` such nodes. Raises
        ResolutionTooLarge.
        """
        first, *others = sorted(set(roots))
        if not others:
            return first, {}
        changes = await self._using(
            made, lambda nodes: [pair for other in others for pair in difference(nodes, first, other)]
        )
        events = await self._events({nid for pair in changes for nid in pair if nid is not None}, pending)
        keys = sorted({key for stored in events.values() if (key := stored.key) is not None})
        found = await self._using(made, lambda nodes: [get_many(nodes, root, keys) for root in [first, *others]])
        forks = [{key: events[nid].event.event_id for key, nid in state.items()} for state in found]
        shared: dict[StateKey, EventId] = {}
        if version.state_resolution is StateResolutionAlgorithm.V1:
            # What only some of the states have is not in conflict by the first version.
            shared = {key: ids.pop() for key in keys if len(ids := {fork[key] for fork in forks if key in fork}) == 1}
            forks = [{key: id_ for key, id_ in fork.items() if key not in shared} for fork in forks]
        library = _Library(self, pending, made, Steps())
        conflict = Conflict(_Shared(library, first, frozenset(keys), shared), forks)
        resolved = await trio.to_thread.run_sync(
            lambda: resolve_conflict(version, conflict, library, library, library.steps), limiter=self._limiter
        )
        resolved = {**shared, **resolved}
        nids = {stored.event.event_id: stored.nid for stored in events.values()}
        nids |= {stored.event.event_id: stored.nid for stored in library.read.values()}
        wanted = {key: nids[resolved[key]] if key in resolved else None for key in {*keys, *resolved}}
        return await self._using(made, lambda nodes: apply(nodes, first, wanted))

    async def _using(self, made: Mapping[NodeId, bytes], function: Callable[[Nodes], T]) -> T:
        return await self._nodes.using(lambda nodes: function(Overlay(made, nodes)))

    async def _events(self, nids: Collection[int], pending: Mapping[int, StoredEvent]) -> dict[int, StoredEvent]:
        known = {nid: pending[nid] for nid in nids if nid in pending}
        unknown = [nid for nid in nids if nid not in known]
        return known | (await self._database.read(events_by_nid, unknown) if unknown else {})

    async def events_by_id(self, event_ids: Collection[EventId]) -> dict[EventId, StoredEvent]:
        """Return those of the events that are here."""
        return await self._database.read(events_by_id, list(event_ids)) if event_ids else {}

    async def auth_edges(self, event_ids: Collection[EventId]) -> dict[EventId, Sequence[EventId]]:
        """Return the `auth_events` of those of the events that are here."""
        return await self._database.read(auth_edges, event_ids) if event_ids else {}

    async def state_ids(
        self,
        root: StateRoot,
        keys: Collection[StateKey] | None,
        pending: Mapping[int, StoredEvent],
        made: Mapping[NodeId, bytes],
    ) -> dict[Any, EventId]:
        """Return event ids of a state by some keys, or (None) of all of it by event numbers."""
        if keys is None:
            nids: dict[Any, int] = {nid: nid for nid in await self._using(made, lambda n: event_numbers(n, root))}
        else:
            nids = await self._using(made, lambda nodes: get_many(nodes, root, keys))
        names = {nid: pending[nid].event.event_id for nid in nids.values() if nid in pending}
        names |= await self._database.read(event_ids_by_nid, [nid for nid in nids.values() if nid not in names])
        return {key: names[nid] for key, nid in nids.items()}


class _Library(WalkedAuthChains):
    """The log as the rules want it, from the thread that they run in."""

    def __init__(
        self,
        resolver: StateResolver,
        pending: Mapping[int, StoredEvent],
        made: Mapping[NodeId, bytes],
        steps: Steps,
    ) -> None:
        super().__init__(self._auth_events, steps)
        self.steps = steps
        self.read: dict[EventId, StoredEvent] = {stored.event.event_id: stored for stored in pending.values()}
        """All events that were looked at."""
        self._pending = pending
        self._made = made
        self._resolver = resolver

    def events(self, event_ids: Collection[EventId]) -> Mapping[EventId, Event]:
        """Return events by id."""
        unknown = [event_id for event_id in event_ids if event_id not in self.read]
        if unknown:
            self.read |= trio.from_thread.run(self._resolver.events_by_id, unknown)
        return {event_id: self.read[event_id].event for event_id in event_ids if event_id in self.read}

    def is_rejected(self, event_id: EventId) -> bool:
        """Return whether an event was rejected."""
        self.events([event_id])
        return event_id in self.read and self.read[event_id].rejected

    def state_ids(self, root: StateRoot, keys: Collection[StateKey] | None) -> dict[Any, EventId]:
        """Return event ids of a state by some keys, or (None) all of them."""
        return trio.from_thread.run(self._resolver.state_ids, root, keys, self._pending, self._made)

    def _auth_events(self, event_ids: Collection[EventId]) -> dict[EventId, Sequence[EventId]]:
        edges: dict[EventId, Sequence[EventId]] = {
            event_id: self.read[event_id].event.auth_events for event_id in event_ids if event_id in self.read
        }
        return edges | trio.from_thread.run(
            self._resolver.auth_edges, [event_id for event_id in event_ids if event_id not in edges]
        )


class _Shared(Mapping[StateKey, EventId]):
    """What all forks have in common, read as it is asked for: it may be ten thousand members."""

    def __init__(
        self, library: _Library, root: StateRoot, disputed: frozenset[StateKey], more: Mapping[StateKey, EventId]
    ) -> None:
        self._library = library
        self._root = root
        self._disputed = disputed
        self._known: dict[StateKey, EventId | None] = dict(more)

    def __getitem__(self, key: StateKey) -> EventId:
        if key not in self._known:
            found = {} if key in self._disputed else self._library.state_ids(self._root, [key])
            self._known[key] = found.get(key)
        event_id = self._known[key]
        if event_id is None:
            raise KeyError(key)
        return event_id

    def __iter__(self) -> Iterator[StateKey]:
        raise NotImplementedError("nothing needs the keys of the whole shared state")

    def __len__(self) -> int:
        return len(self._library.state_ids(self._root, None))

    def values(self) -> Any:
        """Return the shared events."""
        of_forks = set(self._library.state_ids(self._root, sorted(self._disputed)).values())
        shared = set(self._library.state_ids(self._root, None).values()) - of_forks
        return shared | {event_id for event_id in self._known.values() if event_id is not None}
