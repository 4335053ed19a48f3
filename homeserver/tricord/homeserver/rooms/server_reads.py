"""What other servers may read of rooms: the same history visibility as for users, by the users that they have.

https://spec.matrix.org/v1.19/server-server-api/#retrieving-events
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence

from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.heroes import heroes_of, is_named
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.retention import Retention
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.state_map import EMPTY
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.event_graph import auth_chain_nids, nids_before
from tricord.homeserver.storage.events import events_by_nid
from tricord.protocol.errors import Forbidden, NotFound
from tricord.protocol.events import VerifiedEvent, redacted_copy
from tricord.protocol.history_visibility import INVITED, JOINED, visibility_of
from tricord.protocol.identifiers import EventId, RoomId, ServerName, server_name_of
from tricord.protocol.server_acl import ServerAcl

_HISTORY_VISIBILITY: StateKey = ("m.room.history_visibility", "")
_SERVER_ACL: StateKey = ("m.room.server_acl", "")
_MEMBER = "m.room.member"
# Of a server with more users than this in the room, some are as good as all.
_MOST_USERS = 500
# Lists of thousands of servers take up to a megabyte each.
_MOST_ACLS = 100
# So much history is read first in a room that was joined just now.
_LAST_EVENTS = 50


class ServerReads:
    """Reads rooms for other servers."""

    def __init__(
        self,
        database: Database,
        rooms: CachedRooms,
        nodes: NodeCache,
        state: RoomState,
        timeline: Timeline,
        memberships: Memberships,
        partial_rooms: PartialRooms,
        retention: Retention,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._nodes = nodes
        self._state = state
        self._timeline = timeline
        self._memberships = memberships
        self._partial_rooms = partial_rooms
        self._retention = retention
        self._acls: OrderedDict[EventId, ServerAcl] = OrderedDict()

    async def check_acl(self, server: ServerName, room_id: RoomId) -> None:
        """Refuse a server that the room shuts out.

        https://spec.matrix.org/v1.19/server-server-api/#server-access-control-lists-acls
        """
        found = await self._state.current(room_id, [_SERVER_ACL])
        stored = found.get(_SERVER_ACL)
        if stored is not None and not self._acl(stored).allows(server):
            raise Forbidden(f"{server} is shut out of {room_id}")

    def _acl(self, stored: StoredEvent) -> ServerAcl:
        """Return an access control list, which is made once, however long it is."""
        acl = self._acls.pop(stored.event.event_id, None) or ServerAcl(stored.event.content)
        self._acls[stored.event.event_id] = acl
        if len(self._acls) > _MOST_ACLS:
            self._acls.popitem(last=False)
        return acl

    async def check_in_room(self, server: ServerName, room_id: RoomId) -> None:
        """Refuse a server that has no user in the room, or is shut out of it."""
        if await self._rooms.room(room_id) is None:
            raise NotFound(f"there is no room {room_id} on this server")
        members = await self._memberships.joined_members(room_id)
        partial = await self._partial_rooms.get(room_id)
        said_to_be = () if partial is None else partial.servers
        if server not in said_to_be and not any(server_name_of(user_id) == server for user_id in members):
            raise Forbidden(f"{server} is not in {room_id}")
        await self.check_acl(server, room_id)

    async def event(self, server: ServerName, event_id: EventId) -> VerifiedEvent:
        """Return an event; NotFound if there is none, Forbidden if it is of a room that the server is not in."""
        stored = await self._timeline.event(event_id)
        if stored is None or stored.rejected:
            raise NotFound(f"there is no event {event_id} on this server")
        try:
            await self.check_in_room(server, stored.event.room_id)
        except Forbidden as error:
            # Which room an event is of is nothing to those who are not in it.
            raise Forbidden(f"{server} may not see {event_id}") from error
        (shown,) = await self.shown(server, stored.event.room_id, [stored])
        return shown

    async def placed(self, room_id: RoomId, event_id: EventId) -> StoredEvent:
        """Return an event of a room whose state is known; NotFound if there is none."""
        stored = await self._timeline.event(event_id)
        if stored is None or stored.event.room_id != room_id or stored.state_after == EMPTY:
            raise NotFound(f"there is no event {event_id} in {room_id} on this server, or its state is not known")
        if await self._partial_rooms.get(room_id) is not None:
            raise NotFound(f"the state of {room_id} is not wholly known here yet")
        return stored

    async def state_before(self, event: StoredEvent) -> list[StoredEvent]:
        """Return the whole state before an event."""
        return list((await self._state.before(event)).values())

    async def state_before_without_members(self, event: StoredEvent) -> list[StoredEvent]:
        """Return the state before a member event, and of its members only those who are told with it.

        They are those who vouch for it, those after whom a room without a name is named, and those who spoke last: so
        what they said can be shown at once.
        """
        state, replaced = await self._state.at_without_type(event, _MEMBER), event.replaces
        vouching = {stored.key for stored in (await self._timeline.events(event.event.auth_events)).values()}
        users = {user_id for kind, user_id in filter(None, vouching) if kind == _MEMBER}
        upto = event.position or 0
        last = await self._timeline.recent(event.event.room_id, after=0, upto=upto, limit=_LAST_EVENTS)
        users.update(stored.event.sender for stored in last.events)
        if not is_named(state):
            room_id = event.event.room_id
            users.update((await heroes_of(self._memberships, [room_id], but=event.event.sender))[room_id])
        told = await self._state.at(event, [(_MEMBER, user_id) for user_id in users - {event.event.sender}])
        before = await self._timeline.events([replaced]) if replaced is not None else {}
        return [*state.values(), *told.values(), *before.values()]

    async def auth_chain(self, events: Collection[StoredEvent]) -> list[StoredEvent]:
        """Return all events that vouch for some events, directly or not."""
        return await self._database.read(_auth_chain, [stored.nid for stored in events])

    async def backfill(
        self, server: ServerName, room_id: RoomId, event_ids: Sequence[EventId], limit: int
    ) -> list[VerifiedEvent]:
        """Return some events and those before them, nearest first."""
        return await self._before(server, room_id, event_ids, (), limit)

    async def missing(
        self,
        server: ServerName,
        room_id: RoomId,
        earliest: Sequence[EventId],
        latest: Sequence[EventId],
        limit: int,
    ) -> list[VerifiedEvent]:
        """Return events between some events and others, oldest first, without these; if too many, the newest."""
        named = {*earliest, *latest}
        events = await self._before(server, room_id, [*named.difference(earliest)], earliest, limit + len(latest))
        wanted = [event for event in events if event.event_id not in named][:limit]
        return wanted[::-1]

    async def shown(self, server: ServerName, room_id: RoomId, events: Sequence[StoredEvent]) -> list[VerifiedEvent]:
        """Return events as a server may see them: redacted, where it had nobody in the room who could.

        So is what is over by its room's retention: what comes after it stands on it, and needs nothing of its content.
        """
        at_events = await self._state.at_many(events, [_HISTORY_VISIBILITY])
        restricted = [
            stored for stored in events if _visibility(at_events[stored].get(_HISTORY_VISIBILITY)) in (INVITED, JOINED)
        ]
        hidden: set[StoredEvent] = set(await self._retention.over(events))
        if restricted:
            members = await self._memberships.members_of(room_id, ("join", "leave", "ban", "invite", "knock"))
            of_server = [one.user_id for one in members if server_name_of(one.user_id) == server][:_MOST_USERS]
            keys: list[StateKey] = [("m.room.member", user_id) for user_id in of_server]
            memberships = await self._state.at_many(restricted, keys)
            for stored in restricted:
                enough = {"join"}
                if _visibility(at_events[stored].get(_HISTORY_VISIBILITY)) == INVITED:
                    enough.add("invite")
                if not any(one.event.content.get("membership") in enough for one in memberships[stored].values()):
                    hidden.add(stored)
        return [redacted_copy(stored.event) if stored in hidden else stored.event for stored in events]

    async def _before(
        self,
        server: ServerName,
        room_id: RoomId,
        start: Sequence[EventId],
        stop: Sequence[EventId],
        limit: int,
    ) -> list[VerifiedEvent]:
        room = await self._rooms.room(room_id)
        if room is None:
            raise NotFound(f"there is no room {room_id} on this server")
        known = await self._timeline.events([*start, *stop])
        begin = [known[event_id].nid for event_id in start if event_id in known]
        end = [known[event_id].nid for event_id in stop if event_id in known]
        events = await self._database.read(_events_before, room.nid, begin, end, limit)
        return await self.shown(server, room_id, events)


def _visibility(stored: StoredEvent | None) -> str:
    return visibility_of(None if stored is None else stored.event.content)


async def _auth_chain(tx: Transaction, nids: Collection[int]) -> list[StoredEvent]:
    return list((await events_by_nid(tx, await auth_chain_nids(tx, nids))).values())


async def _events_before(
    tx: Transaction, room_nid: int, start: Collection[int], stop: Collection[int], limit: int
) -> list[StoredEvent]:
    nids = await nids_before(tx, room_nid, start, stop, limit)
    events = await events_by_nid(tx, nids)
    return [events[nid] for nid in nids if nid in events]
