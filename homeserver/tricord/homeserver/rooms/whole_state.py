"""Giving a room that was joined without its members its whole state, once that is here.

Since the join, only local users have done something in the room, each after the other, and nothing that anybody else's
membership decides: so every state since then is the whole state before the join with what they changed, and what was
allowed stays so.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from tricord.homeserver.rooms.append import Log
from tricord.homeserver.rooms.cached_rooms import CachedRoom, CachedRooms
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.state_map import NodeId, Overlay, StateRoot, difference, get_many
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.events import events_by_nid
from tricord.homeserver.storage.partial_rooms import (
    Completion,
    PartialRoom,
    WholeMember,
    complete_room,
    states_since,
)
from tricord.homeserver.storage.room_servers import RemoteMemberRow
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.authorization import auth_event_keys, authorize
from tricord.protocol.errors import EventRejected
from tricord.protocol.identifiers import ServerName, UserId, is_valid_user_id, server_name_of

_MOST_TRIES = 20
_MEMBER = "m.room.member"
_EVENTS_AT_A_TIME = 1_000


class WholeStates:
    """Completes rooms."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        log: Log,
        rooms: CachedRooms,
        nodes: NodeCache,
        memberships: Memberships,
        partial_rooms: PartialRooms,
        server_name: ServerName,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._log = log
        self._rooms = rooms
        self._nodes = nodes
        self._memberships = memberships
        self._partial_rooms = partial_rooms
        self._server_name = server_name

    async def complete(
        self, partial: PartialRoom, join: StoredEvent, whole: StateRoot, made: Mapping[NodeId, bytes]
    ) -> None:
        """Let a room have the whole state before our join, with its new nodes.

        Raises EventRejected if that state does not allow the join: then it is not what the server let us in by.
        """
        await self._check_allows(join, whole, made)
        async with self._log.held(partial.room_id):
            for _ in range(_MOST_TRIES):
                room = await self._rooms.room(partial.room_id)
                if room is None:
                    raise DatabaseError(f"{partial.room_id} is gone")
                completion = await self._completion(partial, room, join, whole, made)
                # Once written, it must also be announced, whoever asked for it.
                with trio.CancelScope(shield=True):
                    position = await self._database.run(complete_room, completion)
                    self._rooms.forget(partial.room_id)
                    if position is not None:
                        self._take_in(partial, completion, position)
                        return
        raise DatabaseError(f"{partial.room_id} is being written to by too many others")

    def _take_in(self, partial: PartialRoom, completion: Completion, position: int) -> None:
        self._nodes.add({NodeId(node_id): node for node_id, node in completion.nodes.items()})
        for member in completion.members:
            self._memberships.note(partial.room_id, UserId(member.user_id), member.membership)
        users = frozenset(UserId(member.user_id) for member in completion.members)
        self._publisher.publish(Commit(position, frozenset((partial.room_id,)), users, has_events=True))
        self._partial_rooms.look_again()

    async def _completion(
        self,
        partial: PartialRoom,
        room: CachedRoom,
        join: StoredEvent,
        whole: StateRoot,
        made: Mapping[NodeId, bytes],
    ) -> Completion:
        told, nodes = StateRoot(partial.told_root), dict(made)
        roots: dict[bytes, bytes] = {}
        position = join.place.position
        for root in {*await self._database.read(states_since, room.nid, position), bytes(room.state_root)}:
            pairs = await self._changes(told, StateRoot(root), nodes)
            changed = await self._by_key([after for _, after in pairs if after is not None])
            changes = {key: stored.nid for key, stored in changed.items()}
            roots[root], nodes = await self._nodes.applied(whole, changes, nodes)
        now = StateRoot(roots[bytes(room.state_root)])
        pairs = await self._changes(room.state_root, now, nodes)
        state: list[tuple[str, str, int]] = []
        members: list[WholeMember] = []
        nids = [after for _, after in pairs if after is not None]
        for start in range(0, len(nids), _EVENTS_AT_A_TIME):
            for (kind, key), stored in (await self._by_key(nids[start : start + _EVENTS_AT_A_TIME])).items():
                state.append((kind, key, stored.nid))
                if kind == _MEMBER:
                    membership = str(stored.event.content.get("membership", "leave"))
                    members.append(WholeMember(key, membership, stored.nid, stored.event.sender))
        remote = [
            RemoteMemberRow(room.nid, one.user_id, server, one.membership, one.event_nid, by_us=False)
            for one in members
            if is_valid_user_id(one.user_id) and (server := server_name_of(one.user_id)) != self._server_name
        ]
        return Completion(room.nid, room.head, now, nodes, state, members, remote, roots, position)

    async def _changes(
        self, before: StateRoot, after: StateRoot, made: Mapping[NodeId, bytes]
    ) -> list[tuple[int | None, int | None]]:
        return await self._nodes.using(lambda nodes: difference(Overlay(made, nodes), before, after))

    async def _by_key(self, nids: list[int]) -> dict[StateKey, StoredEvent]:
        events = await self._database.read(events_by_nid, nids) if nids else {}
        return {stored.key: stored for stored in events.values() if stored.key is not None}

    async def _check_allows(self, join: StoredEvent, whole: StateRoot, made: Mapping[NodeId, bytes]) -> None:
        event = join.event
        keys = auth_event_keys(event.type, event.sender, event.state_key, event.content, event.version)
        wanted = {*keys, ("m.room.create", "")}
        nids = await self._nodes.using(lambda nodes: get_many(Overlay(made, nodes), whole, wanted))
        known = await self._database.read(events_by_nid, list(nids.values()))
        try:
            authorize(event, {key: known[nid].event for key, nid in nids.items()})
        except EventRejected as reason:
            raise EventRejected(f"the state that is told does not allow {event.event_id}: {reason}") from reason
