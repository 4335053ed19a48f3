"""The only writer of events: everything that enters a room's log goes through `Log`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.strict_json import JsonObject


@dataclass(frozen=True, slots=True)
class ClientTransaction:
    """What makes a request the same request: repeated in the same room, it gets the answer of the first."""

    user_id: UserId
    device_id: str
    endpoint: str
    transaction_id: str


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that a local user wants; the log gives it its place, hashes and signature."""

    room_id: RoomId
    sender: UserId
    type: str
    state_key: str | None
    content: JsonObject
    redacts: EventId | None = None
    transaction: ClientTransaction | None = None
    origin_server_ts: int | None = None


class Log:
    """The events of all rooms."""

    async def append(self, draft: Draft) -> StoredEvent:
        """Append an event; return it once it is committed.

        Raises Forbidden if the state before it does not allow it, NotFound if there is no such room. A repeated
        transaction returns the event of the first; state that is set already returns the event that set it.
        """
        raise NotImplementedError

    async def append_all(self, drafts: Sequence[Draft]) -> list[StoredEvent]:
        """Append events of one room, each after the other; all of them or none."""
        raise NotImplementedError

    async def create_room(
        self, version: RoomVersion, creator: UserId, create_content: JsonObject, drafts: Sequence[Draft]
    ) -> tuple[RoomId, list[StoredEvent]]:
        """Make a room of a create event and the drafts, all of them or nothing.

        The drafts need not name the room: they get its id, which may be the hash of the create event. The create event
        comes first in the list.
        """
        raise NotImplementedError

    async def run(self) -> None:
        """Write what is appended, for ever."""
        raise NotImplementedError
