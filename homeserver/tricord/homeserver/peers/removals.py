"""Our users being removed from a room before it is complete.

The event that removes them waits, with all others, for the members of the room, and those who are out of it are told of
no members. So once the servers in the room refuse to tell, what waits is searched for the removal.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog

from tricord.homeserver.rooms.cached_rooms import CachedRoom, CachedRooms
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.outliers import Outliers
from tricord.homeserver.rooms.outsiders import Outsiders
from tricord.homeserver.rooms.placement import Arrival, Placement, Verdict
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.state_map import apply
from tricord.homeserver.rooms.verification import Verifier
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.partial_rooms import PartialRoom, postponed_events
from tricord.protocol.errors import MatrixError
from tricord.protocol.events import VerifiedEvent, parse_event
from tricord.protocol.identifiers import UserId

_AT_A_TIME = 200
_MEMBER = "m.room.member"

_logger = structlog.get_logger(__name__)


class Removals:
    """Finds out who of ours is no longer in a room."""

    def __init__(
        self,
        database: Database,
        rooms: CachedRooms,
        nodes: NodeCache,
        outliers: Outliers,
        placement: Placement,
        verifier: Verifier,
        memberships: Memberships,
        outsiders: Outsiders,
        residence: Residence,
    ) -> None:
        self._database = database
        self._rooms = rooms
        self._nodes = nodes
        self._outliers = outliers
        self._placement = placement
        self._verifier = verifier
        self._memberships = memberships
        self._outsiders = outsiders
        self._residence = residence

    async def take_in(self, partial: PartialRoom) -> None:
        """Let those of our users be out of a room whose removal waits."""
        room = await self._rooms.room(partial.room_id)
        joined = {
            id_ for id_ in await self._memberships.joined_members(partial.room_id) if self._residence.is_local(id_)
        }
        after = 0
        while room is not None and joined:
            waiting = await self._database.read(postponed_events, partial.room_nid, _AT_A_TIME, after)
            if not waiting:
                return
            after = waiting[-1][0]
            for event in await self._removals(room, [pdu for _, _, pdu in waiting], joined):
                await self._remove(room, event)
                joined.discard(UserId(event.state_key or ""))

    async def _removals(
        self, room: CachedRoom, pdus: Collection[bytes], joined: Collection[UserId]
    ) -> list[VerifiedEvent]:
        found = []
        for pdu in pdus:
            try:
                event = parse_event(pdu, room.version)
            except MatrixError:
                continue
            is_removal = event.type == _MEMBER and event.content.get("membership") in ("leave", "ban")
            if is_removal and event.state_key in joined and event.sender != event.state_key:
                found.append(event)
        return (await self._verifier.verified(found))[0]

    async def _remove(self, room: CachedRoom, event: VerifiedEvent) -> None:
        """Place a removal on what is known of the room, and of whoever does it; or else believe it."""
        vouching = await self._outliers.known(event.auth_events)
        members = {
            stored.key: stored.nid
            for stored in vouching.values()
            if stored.key is not None and stored.key[0] == _MEMBER and stored.key[1] == event.sender
        }
        now = await self._rooms.room(room.room_id) or room
        root, made = await self._nodes.using(lambda nodes: apply(nodes, now.state_root, members))
        arrival = Arrival(event, root, made, starts_anew=True)
        outcome = (await self._placement.place(room.room_id, [arrival]))[event.event_id]
        if outcome.verdict is Verdict.NOT_PLACED:
            await self._outsiders.note(event)
        _logger.info(
            "a user was removed from a room that is not complete",
            room_id=room.room_id, user_id=event.state_key, by=event.sender, verdict=outcome.verdict.value,
        )  # fmt: skip
