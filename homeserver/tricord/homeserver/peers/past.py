"""A part of a room's past while it is put together: the states of its events, and what is to be written of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tricord.homeserver.rooms.cached_rooms import CachedRoom
from tricord.homeserver.rooms.chain_rows import relation_of
from tricord.homeserver.rooms.event_numbers import EventNumbers
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.placement import rejection_by_auth_events
from tricord.homeserver.rooms.receive import Receiver
from tricord.homeserver.rooms.resolution import StateResolver
from tricord.homeserver.rooms.state_map import EMPTY, NodeId, Overlay, StateRoot, apply, get_many
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.events import events_by_id, events_by_nid
from tricord.homeserver.storage.history import HistoryBatch, HistoryRow, Part, Redactions
from tricord.homeserver.storage.missing_events import redactions_waiting_for
from tricord.protocol.authorization import auth_event_keys, authorize, may_redact
from tricord.protocol.errors import EventRejected, ResolutionTooLarge
from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import EventId, ServerName

_CREATE: StateKey = ("m.room.create", "")
_POWER_LEVELS: StateKey = ("m.room.power_levels", "")


class PastStates:
    """Knows the states of past events, or finds them out."""

    def __init__(self, database: Database, nodes: NodeCache, resolver: StateResolver, receiver: Receiver) -> None:
        self._database = database
        self._nodes = nodes
        self._resolver = resolver
        self._receiver = receiver
        self._numbers = EventNumbers(database)

    async def number(self) -> int:
        """Return the number for a new event."""
        return next(await self._numbers.take(1))

    async def redactions(self, event_ids: Iterable[EventId]) -> dict[EventId, StoredEvent]:
        """Return the redactions that came before some events that they redact."""
        return await self._database.read(redactions_waiting_for, list(event_ids))

    async def before(self, stored: StoredEvent) -> tuple[StateRoot, dict[NodeId, bytes]]:
        """Return the state before an event that is in its place, and its new nodes."""
        key = stored.key
        if key is None:
            return stored.state_after, {}
        replaced = await self._database.read(events_by_id, [stored.replaces]) if stored.replaces else {}
        nid = replaced[stored.replaces].nid if stored.replaces in replaced else None
        return await self._nodes.using(lambda nodes: apply(nodes, stored.state_after, {key: nid}))

    async def told(
        self, server: ServerName, room: CachedRoom, event: VerifiedEvent
    ) -> tuple[StateRoot, Mapping[NodeId, bytes]] | None:
        """Return the state before an event as a server tells it."""
        return await self._receiver.told_state(server, room, event)

    async def resolved(
        self, room: CachedRoom, roots: set[StateRoot], pending: Mapping[int, StoredEvent], made: dict[NodeId, bytes]
    ) -> StateRoot:
        """Return the one state that stands for several."""
        if len(roots) == 1:
            return next(iter(roots))
        root, new = await self._resolver.resolve(room.version, roots, pending, made)
        made |= new
        return root

    async def get(
        self, root: StateRoot, keys: Sequence[StateKey], known: dict[int, StoredEvent], made: Mapping[NodeId, bytes]
    ) -> dict[StateKey, StoredEvent]:
        """Return some of a state; what has to be read for it is known from then on."""
        nids = await self._nodes.using(lambda nodes: get_many(Overlay(made, nodes), root, keys))
        if unknown := [nid for nid in nids.values() if nid not in known]:
            known |= await self._database.read(events_by_nid, unknown)
        return {key: known[nid] for key, nid in nids.items()}

    async def applied(
        self, root: StateRoot, changes: Mapping[StateKey, int | None], made: dict[NodeId, bytes]
    ) -> StateRoot:
        """Return a state with some keys set, or unset."""
        after, new = await self._nodes.using(lambda nodes: apply(Overlay(made, nodes), root, changes))
        made |= new
        return after


class Past:
    """A part of a room's past that is being put together."""

    def __init__(
        self,
        states: PastStates,
        room: CachedRoom,
        known: Mapping[EventId, StoredEvent],
        redactions: Mapping[EventId, StoredEvent] | None = None,
    ) -> None:
        self.made: dict[NodeId, bytes] = {}
        self.added: dict[EventId, StoredEvent] = {}
        self.missing: list[tuple[EventId, int]] = []
        """Events that are not in their places, and the numbers of those that name them."""
        self.waiting: list[tuple[EventId, int]] = []
        """What is redacted and not here, and the numbers of the redactions."""
        self.redacted: list[StoredEvent] = []
        """What was here before, and is redacted by what was added."""
        self._states = states
        self._room = room
        self._known = dict(known)
        self._by_nid = {stored.nid: stored for stored in known.values()}
        self._redactions = redactions or {}

    async def add(self, server: ServerName, event: VerifiedEvent) -> None:
        """Add an event after those before it, if its state can be found out and it is allowed.

        Where the part begins, the state is what the server tells.
        """
        before = await self._state_before(server, event)
        if before is not None:
            await self.add_at(before, event)

    async def add_at(self, before: StateRoot, event: VerifiedEvent) -> None:
        """Add an event with the state before it, if it is allowed."""
        auth = self._auth_events(event)
        if auth is None:
            return
        keys = [
            *auth_event_keys(event.type, event.sender, event.state_key, event.content, event.version),
            _CREATE,
            _POWER_LEVELS,
        ]
        if event.state_key is not None:
            keys.append((event.type, event.state_key))
        state = await self._states.get(before, keys, self._by_nid, self.made)
        try:
            authorize(event, {key: stored.event for key, stored in state.items()})
        except EventRejected:
            return
        if rejection_by_auth_events(event, auth, state.get(_CREATE)) is not None:
            return
        nid = await self._number(event)
        after, replaces = before, None
        if event.state_key is not None:
            key = (event.type, event.state_key)
            after = await self._states.applied(before, {key: nid}, self.made)
            replaced = state.get(key)
            replaces = None if replaced is None or replaced.nid == nid else replaced.event.event_id
        self._add(StoredEvent(event, nid, None, after, replaces=replaces))
        self._redact(event, {key: stored.event for key, stored in state.items()})

    async def add_unjudged(self, root: StateRoot, event: VerifiedEvent) -> None:
        """Add an event by its auth events alone, with a state that will do until it is judged."""
        auth = self._auth_events(event)
        if auth is None:
            return
        state = await self._states.get(root, [_CREATE, _POWER_LEVELS], self._by_nid, self.made)
        if rejection_by_auth_events(event, auth, state.get(_CREATE)) is None:
            self._add(StoredEvent(event, await self._number(event), None, root))
            self._redact(event, {key: stored.event for key, stored in state.items()})

    def batch(self, parts: Mapping[EventId, Part]) -> HistoryBatch:
        """Return what is to be written, each event at the beginning of its part."""
        return HistoryBatch(
            self._rows(parts), list(self.made.items()), self.missing, self._relations(), self._redactions_done()
        )

    def _rows(self, parts: Mapping[EventId, Part]) -> list[HistoryRow]:
        rows: list[HistoryRow] = []
        written: Counter[Part] = Counter()
        for stored in reversed(self.added.values()):
            event = stored.event
            part = parts[event.event_id]
            written[part] += 1
            rows.append(
                HistoryRow(
                    self._room.nid,
                    stored.nid,
                    event.event_id,
                    *part,
                    written[part],
                    event.depth,
                    event.type,
                    event.state_key,
                    event.sender,
                    event.origin_server_ts,
                    stored.state_after,
                    stored.replaces,
                    stored.redacted_because,
                    self._nids(event.prev_events),
                    self._nids(event.auth_events),
                    event.json,
                )
            )
        return rows

    def _redactions_done(self) -> Redactions:
        return Redactions(self.waiting, [(one.nid, one.event.json, str(one.redacted_because)) for one in self.redacted])

    def _relations(self) -> list[tuple[str, str, int, str, str]]:
        return [
            (*relation, stored.nid, stored.event.type, stored.event.sender)
            for stored in self.added.values()
            if (relation := relation_of(stored.event)) is not None
        ]

    def _redact(self, event: VerifiedEvent, state: Mapping[StateKey, VerifiedEvent]) -> None:
        """Let a redaction that waits take effect on an event, or an event that is a redaction on what it redacts."""
        redaction = self._redactions.get(event.event_id)
        if redaction is not None and may_redact(redaction.event, event, state):
            self._cut_down(event.event_id, redaction.event.event_id)
        if event.redacts is None:
            return
        target = self._known.get(event.redacts)
        if target is None:
            self.waiting.append((event.redacts, self._known[event.event_id].nid))
        elif target.redacted_because is None and may_redact(event, target.event, state):
            if event.redacts in self.added:
                self._cut_down(event.redacts, event.event_id)
            else:
                self.redacted.append(target.redacted(event.event_id))

    def _cut_down(self, event_id: EventId, because: EventId) -> None:
        stored = self.added[event_id]
        if stored.redacted_because is None:
            self._put(stored.redacted(because))

    def _put(self, stored: StoredEvent) -> None:
        self._known[stored.event.event_id] = self.added[stored.event.event_id] = stored
        self._by_nid[stored.nid] = stored

    def _auth_events(self, event: VerifiedEvent) -> list[StoredEvent] | None:
        """Return the events that vouch for an event; None if not all are here."""
        auth = [known for id_ in event.auth_events if (known := self._known.get(id_)) and not known.unjudged]
        return auth if len(auth) == len(event.auth_events) else None

    async def _number(self, event: VerifiedEvent) -> int:
        existing = self._known.get(event.event_id)
        return await self._states.number() if existing is None else existing.nid

    def _add(self, stored: StoredEvent) -> None:
        event = stored.event
        self.missing += [
            (id_, stored.nid)
            for id_ in event.prev_events
            if (previous := self._known.get(id_)) is None or previous.state_after == EMPTY
        ]
        self._put(stored)

    async def _state_before(self, server: ServerName, event: VerifiedEvent) -> StateRoot | None:
        if event.type == "m.room.create" and event.state_key == "":
            return EMPTY
        previous = [self._known.get(event_id) for event_id in event.prev_events]
        roots = {one.state_after for one in previous if one is not None}
        if previous and None not in previous and EMPTY not in roots:
            pending = {stored.nid: stored for stored in self.added.values()}
            try:
                return await self._states.resolved(self._room, roots, pending, self.made)
            except ResolutionTooLarge:
                return None
        told = await self._states.told(server, self._room, event)
        if told is None:
            return None
        root, nodes = told
        self.made |= nodes
        return root

    def _nids(self, event_ids: Iterable[EventId]) -> str:
        return "{" + ",".join(str(self._known[id_].nid) for id_ in event_ids if id_ in self._known) + "}"
