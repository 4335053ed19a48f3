"""Finding the event closest to a time in history that other servers have and we lack.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
"""

from __future__ import annotations

import structlog

from tricord.federation.errors import PeerError
from tricord.federation.peers import Peers
from tricord.homeserver.peers.backfill import Backfill
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.timeline import Direction, Timeline
from tricord.homeserver.stream.tokens import Place
from tricord.protocol.identifiers import RoomId

_SERVERS = 3
# Senders' clocks differ, so that the order by time is only about that of the history.
_NEIGHBOURS = 5

_logger = structlog.get_logger(__name__)


class ClosestElsewhere:
    """Asks other servers which event is closest to a time, and fetches it."""

    def __init__(self, timeline: Timeline, residence: Residence, peers: Peers, backfill: Backfill) -> None:
        self._timeline = timeline
        self._residence = residence
        self._peers = peers
        self._backfill = backfill

    async def fetch(self, room_id: RoomId, ts: int, direction: Direction, ours: StoredEvent | None) -> bool:
        """Fetch an event that is closer to a time than the closest one here; return whether there is one now."""
        if not await self._is_something_missing(room_id, direction, ours):
            return False
        for server in (await self._residence.servers_in(room_id))[:_SERVERS]:
            try:
                event_id, at = await self._peers.timestamp_to_event(server, room_id, ts, direction.value)
            except PeerError as error:
                _logger.info("knows no event close to a time", room_id=room_id, server=server, reason=str(error))
                continue
            if _is_closer(at, ts, direction, ours) and await self._backfill.fetch_part(server, room_id, event_id):
                return True
        return False

    async def _is_something_missing(self, room_id: RoomId, direction: Direction, ours: StoredEvent | None) -> bool:
        """Return whether an event between ours and the time could be missing."""
        if ours is None and direction is Direction.FORWARD:
            return False  # the time is later than all that happened, and the newest events are here
        place = Place(0) if ours is None else ours.place
        if direction is Direction.FORWARD:
            place = Place(place.position, place.rank - 1)  # what came before our event itself may be missing
        page = await self._timeline.page(room_id, place, None, Direction.FORWARD, _NEIGHBOURS)
        return bool(page.gaps)


def _is_closer(at: int, ts: int, direction: Direction, ours: StoredEvent | None) -> bool:
    if direction is Direction.FORWARD:
        return ts <= at and (ours is None or at < ours.event.origin_server_ts)
    return at <= ts and (ours is None or at > ours.event.origin_server_ts)
