"""What local users are to rooms that this server is not in: invited, knocking, or no longer either.

All that is known of such a room is the member event, which another server made or let us make. It is kept without a
place; the membership takes a position, so that sync tells of it.
"""

from __future__ import annotations

from tricord.homeserver.rooms.event_numbers import EventNumbers
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.outliers import OutlierRow
from tricord.homeserver.storage.remote_memberships import known_room, put_remote_membership
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import UserId


class Outsiders:
    """Keeps the memberships of local users in rooms elsewhere."""

    def __init__(self, database: Database, publisher: Publisher, memberships: Memberships) -> None:
        self._database = database
        self._publisher = publisher
        self._memberships = memberships
        self._numbers = EventNumbers(database)

    async def note(self, event: VerifiedEvent) -> None:
        """Take in a member event of a local user."""
        user_id, membership = UserId(event.state_key or ""), str(event.content["membership"])
        room_nid, _, _ = await self._database.run(known_room, event.room_id, event.version.name)
        row = OutlierRow(
            room_nid,
            next(await self._numbers.take(1)),
            event.event_id,
            event.depth,
            event.type,
            event.state_key,
            event.sender,
            event.origin_server_ts,
            False,
            "{}",
            event.json,
        )
        position = await self._database.run(put_remote_membership, row, user_id, membership)
        self._memberships.note(event.room_id, user_id, membership)
        self._publisher.publish(Commit(position, rooms=frozenset(), users=frozenset((user_id,))))
