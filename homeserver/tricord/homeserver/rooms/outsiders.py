"""What local users are to rooms that this server is not in: invited, knocking, or no longer either.

All that is known of such a room is the member event, which another server made or let us make. It is kept without a
place and without a judgement; the membership takes a position, so that sync tells of it.
"""

from __future__ import annotations

from tricord.homeserver.rooms.event_numbers import EventNumbers
from tricord.homeserver.rooms.memberships import Membership, Memberships
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.events import events_by_id
from tricord.homeserver.storage.outliers import OutlierRow
from tricord.homeserver.storage.remote_memberships import put_remote_membership
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.errors import InvalidParam
from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import RoomId, ServerName, UserId, is_valid_user_id, server_name_of
from tricord.protocol.strict_json import JsonObject


class Outsiders:
    """Keeps the memberships of local users in rooms elsewhere."""

    def __init__(self, database: Database, publisher: Publisher, memberships: Memberships) -> None:
        self._database = database
        self._publisher = publisher
        self._memberships = memberships
        self._numbers = EventNumbers(database)

    async def note(self, event: VerifiedEvent) -> None:
        """Take in a member event of a local user.

        Raises InvalidParam if the room, or the event, is known as another than the one this speaks of.
        """
        user_id, membership = UserId(event.state_key or ""), str(event.content["membership"])
        row = OutlierRow(
            0,
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
            unjudged=True,
        )
        version = event.version.name
        position = await self._database.run(put_remote_membership, event.room_id, version, row, user_id, membership)
        if position is None:
            raise InvalidParam(f"{event.event_id} is not of a room {event.room_id} of version {version}")
        self._memberships.note(event.room_id, user_id, membership)
        self._publisher.publish(Commit(position, rooms=frozenset(), users=frozenset((user_id,))))

    async def told_by(self, now: Membership) -> set[ServerName]:
        """Return the servers from which a user has what they are told to be: of who invited them, or shows the room."""
        event = (await self._database.read(events_by_id, [now.event_id]))[now.event_id].event
        if now.membership == "invite":
            return {server_name_of(event.sender)}
        return {*servers_in_id(now.room_id), *servers_shown(event.unsigned)}


def servers_in_id(room_id: RoomId) -> list[ServerName]:
    """Return the server that made the room, where its id says so."""
    return [server_name_of(room_id)] if ":" in room_id else []


def servers_shown(unsigned: JsonObject) -> list[ServerName]:
    """Return the servers of those who made the room what we were told when we were invited, or knocked."""
    told = unsigned.get("invite_room_state") or unsigned.get("knock_room_state")
    events = told if isinstance(told, list) else []
    senders = [event.get("sender") for event in events if isinstance(event, dict)]
    return [server_name_of(sender) for sender in senders if is_valid_user_id(sender)]
