"""History of a room whose members are not known yet: who joins can read at once what was said before they came.

Whether our users may read an event is decided by the history visibility and by their own membership at it. The former
is in what we were told of the room, and stays what it is as far back as nothing has changed it. The latter is taken as
none wherever it is not known. So the state of such events does for reading, and for nothing else: the events are judged
by what vouches for them, as told by the server whose word we take for the rest of the room; and when the members are
known, they are judged by whole states, and what these do not allow is taken out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from tricord.homeserver.peers.past import Past, PastStates
from tricord.homeserver.peers.trunk import trunk
from tricord.homeserver.rooms.cached_rooms import CachedRoom
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.outliers import Outliers, in_order
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.receive import Receiver
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.state_map import EMPTY, StateRoot
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.early_history import (
    count_early_history,
    early_history,
    settle_early_history,
    write_early_history,
)
from tricord.homeserver.storage.errors import UniqueViolation
from tricord.homeserver.storage.history import Part
from tricord.homeserver.storage.partial_rooms import PartialRoom
from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import EventId, ServerName, UserId, is_valid_user_id

# Who reads further back waits until the room is complete.
_MOST_EVENTS = 500
_SERVERS = 3
_MEMBER = "m.room.member"
# What is not passed: before these, nothing says who might read.
_DECISIVE = (("m.room.history_visibility", ""), ("m.room.create", ""))

_logger = structlog.get_logger(__name__)


class EarlyHistory:
    """Shows history of rooms that are not complete, and judges it when they are."""

    def __init__(
        self,
        database: Database,
        nodes: NodeCache,
        residence: Residence,
        partial_rooms: PartialRooms,
        outliers: Outliers,
        receiver: Receiver,
        states: PastStates,
    ) -> None:
        self._database = database
        self._nodes = nodes
        self._residence = residence
        self._partial_rooms = partial_rooms
        self._outliers = outliers
        self._receiver = receiver
        self._states = states

    async def hole(self, partial: PartialRoom, holes: Sequence[StoredEvent]) -> StoredEvent | None:
        """Return the one of some holes that can be filled already: before our join, or before early history."""
        if partial.complete_position is not None:
            return None
        early = await self._database.read(early_history, partial.room_nid)
        if len(early) >= _MOST_EVENTS:
            return None
        known = {partial.join_event_id, *(stored.event.event_id for stored in early)}
        return next((stored for stored in holes if stored.event.event_id in known), None)

    async def place(
        self,
        server: ServerName,
        room: CachedRoom,
        hole: StoredEvent,
        events: Mapping[EventId, VerifiedEvent],
        parts: Mapping[EventId, Part],
    ) -> bool:
        """Put those of some events in their place that can be shown; return whether there are any."""
        line = trunk(hole.event.prev_events, events, self._stops)
        if not line:
            return False
        await self._receiver.bring_auth_events(server, room, line)
        named = {id_ for event in line for id_ in (*event.prev_events, *event.auth_events, event.event_id)}
        known = await self._outliers.heard_of(named)
        past = Past(self._states, room, known, await self._states.redactions(event.event_id for event in line))
        root, made = await self._states.before(hole)
        past.made |= made
        # Beside what they say, clients show who they are.
        speakers = self._speakers(line, known)
        root = await self._states.applied(root, speakers, past.made)
        roots: dict[EventId, StateRoot] = {}
        for event in line:
            roots[event.event_id] = root
            if self._is_of_ours(event):
                # What they were before is not known.
                root = await self._states.applied(root, {(_MEMBER, event.state_key or ""): None}, past.made)
        for event in reversed(line):
            await past.add_unjudged(roots[event.event_id], event)
        history = past.batch(parts)
        if not history.rows:
            return False
        try:
            written = await self._database.run(write_early_history, room.nid, history)
        except UniqueViolation:
            return True  # another process has just fetched the same
        if not written:
            return False
        self._nodes.add(past.made)
        self._partial_rooms.look_again()
        _logger.info("early history was fetched", room_id=room.room_id, server=server, events=len(history.rows))
        return True

    async def judge(self, room: CachedRoom, join: StoredEvent) -> None:
        """Judge the early history of a room that is complete, and take out what its states do not allow."""
        if not await self._database.read(count_early_history, room.nid):
            return
        early = {stored.event.event_id: stored for stored in await self._database.read(early_history, room.nid)}
        events = {event_id: stored.event for event_id, stored in early.items()}
        named = {id_ for event in events.values() for id_ in (*event.prev_events, *event.auth_events)}
        known = {
            **await self._outliers.heard_of(named - early.keys()),
            **{id_: replace(stored, position=None, state_after=EMPTY, replaces=None) for id_, stored in early.items()},
        }
        past = Past(self._states, room, known)
        await self._add(past, room, join, list(in_order(events, lambda event: event.prev_events)))
        refused = [stored.nid for event_id, stored in early.items() if event_id not in past.added]
        if refused:
            _logger.info("history is not allowed by the whole state", room_id=room.room_id, events=len(refused))
        missing = [(id_, join.nid) for id_ in join.event.prev_events if id_ in early and id_ not in past.added]
        await self._database.run(
            settle_early_history,
            room.nid,
            [(stored.nid, bytes(stored.state_after), stored.replaces) for stored in past.added.values()],
            refused,
            list(past.made.items()),
            [*missing, *past.missing],
        )
        self._nodes.add(past.made)
        self._partial_rooms.look_again()

    async def _add(self, past: Past, room: CachedRoom, join: StoredEvent, ordered: Sequence[VerifiedEvent]) -> None:
        """Add the events by whole states: what our join tells of them, and, before that, other servers."""
        events = {event.event_id: event for event in ordered}
        line = trunk(join.event.prev_events, events, lambda event, _is_alone: event.is_state)
        sure = {event.event_id for event in line}
        before, made = await self._states.before(join)
        past.made |= made
        for server in (await self._residence.servers_in(room.room_id))[:_SERVERS]:
            for event in ordered:
                if event.event_id not in sure and event.event_id not in past.added:
                    await past.add(server, event)
            if len(past.added) + len(sure) == len(events):
                break
        for event in ordered:
            if event.event_id in sure:
                await past.add_at(before, event)

    def _stops(self, event: VerifiedEvent, is_alone: bool) -> bool:
        if not event.is_state:
            return False
        return (event.type, event.state_key) in _DECISIVE or (self._is_of_ours(event) and not is_alone)

    def _is_of_ours(self, event: VerifiedEvent) -> bool:
        """Return whether an event says what one of our users is to the room."""
        user_id = event.state_key
        return event.type == _MEMBER and is_valid_user_id(user_id) and self._residence.is_local(UserId(user_id))

    def _speakers(self, line: Iterable[VerifiedEvent], known: Mapping[EventId, StoredEvent]) -> dict[StateKey, int]:
        """Return the last known member events of those of other servers who sent some events, given newest first."""
        speakers: dict[StateKey, int] = {}
        for event in line:
            key = (_MEMBER, str(event.sender))
            if self._residence.is_local(event.sender) or key in speakers:
                continue
            for stored in (known[id_] for id_ in event.auth_events if id_ in known):
                if stored.key == key and not stored.rejected and not stored.unjudged:
                    speakers[key] = stored.nid
        return speakers
