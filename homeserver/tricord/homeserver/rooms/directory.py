"""The published room directory: the rooms of this server that anybody may find.

https://spec.matrix.org/v1.19/client-server-api/#published-room-directory
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tricord.clients.api.directory import DirectoryFilter, PublicRoom, PublicRoomsPage
from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.room_summary import SUMMARY_KEYS, summarize
from tricord.homeserver.rooms.standing import standing
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.storage import aliases as storage
from tricord.homeserver.storage.database import Database
from tricord.protocol.errors import InvalidParam, NotFound
from tricord.protocol.identifiers import RoomId, ServerName, UserId, parse_server_name

MAX_ROOMS = 500
_DEFAULT_ROOMS = 100


@dataclass(frozen=True, slots=True, order=True)
class _Rank:
    """Where a room stands in the directory: the largest first."""

    negated_members: int
    room_id: str

    @classmethod
    def of(cls, room: PublicRoom) -> _Rank:
        return cls(-room.num_joined_members, room.room_id)


@dataclass(frozen=True, slots=True)
class Networks:
    """Of which networks rooms are wanted: of Matrix alone, of all, or of one that is bridged."""

    all_of_them: bool = False
    instance_id: str | None = None

    def __post_init__(self) -> None:
        if self.all_of_them and self.instance_id is not None:
            raise InvalidParam("`third_party_instance_id` is for when `include_all_networks` is false")


MATRIX = Networks()


class RemoteDirectories(Protocol):
    """Asks other servers for theirs."""

    async def published_rooms(
        self, server: ServerName, wanted: DirectoryFilter, since: str | None, limit: int, networks: Networks
    ) -> PublicRoomsPage:
        """Return a page of a remote server's directory; raise NotFound if it cannot be had."""
        ...


class Directory:
    """Publishes rooms, and shows what is published.

    SQL of a page: one query for the published rooms, one for their sizes, and one look at their states.
    """

    def __init__(
        self,
        database: Database,
        state: RoomState,
        memberships: Memberships,
        clock: Clock,
        server_name: ServerName,
        remote: RemoteDirectories | None = None,
    ) -> None:
        self._database = database
        self._state = state
        self._memberships = memberships
        self._clock = clock
        self._server_name = server_name
        self._remote = remote

    async def is_published(self, room_id: RoomId) -> bool:
        """Say whether a room is in the directory."""
        await standing(self._state, room_id)  # raises if there is no such room
        return await self._database.read(storage.is_published, room_id)

    async def set_published(self, requester: Requester, room_id: RoomId, *, published: bool) -> None:
        """Put a room into the directory or take it out, for those who may set its main address, and administrators."""
        room = await standing(self._state, room_id, [requester.user_id])
        if not requester.is_admin:
            room.check_may_set_state(requester.user_id, "m.room.canonical_alias")
        if published:
            await self.publish(room_id, requester.user_id)
        else:
            await self._database.run(storage.unpublish_room, room_id)

    async def publish(self, room_id: RoomId, by: UserId) -> None:
        """Put a room into the directory."""
        await self._database.run(storage.publish_room, room_id, by, self._clock.now_ms())

    async def page(
        self,
        wanted: DirectoryFilter,
        since: str | None,
        limit: int | None,
        server: str | None,
        networks: Networks = MATRIX,
    ) -> PublicRoomsPage:
        """Return a page of the rooms that match, the largest first, of this server or of another one."""
        limit = min(max(limit or _DEFAULT_ROOMS, 1), MAX_ROOMS)
        if server is not None and server != self._server_name:
            if self._remote is None:
                raise NotFound(f"the directory of {server} cannot be reached from here")
            return await self._remote.published_rooms(parse_server_name(server), wanted, since, limit, networks)
        if networks.instance_id is not None:
            # No network is bridged here.
            return PublicRoomsPage(chunk=[], total_room_count_estimate=0)
        rooms = [room for room in await self._published() if _matches(room, wanted)]
        rooms.sort(key=_Rank.of)
        return _page(rooms, since, limit)

    async def _published(self) -> list[PublicRoom]:
        room_ids = await self._database.read(storage.published_rooms)
        states = await self._state.current_in_rooms(dict.fromkeys(room_ids, SUMMARY_KEYS))
        counts = await self._memberships.counts(room_ids)
        return [
            summarize(room_id, states[room_id], counts[room_id].joined)
            for room_id in room_ids
            if room_id in states and room_id in counts
        ]


def _matches(room: PublicRoom, wanted: DirectoryFilter) -> bool:
    if wanted.room_types is not None and room.room_type not in wanted.room_types:
        return False
    if not wanted.generic_search_term:
        return True
    term = wanted.generic_search_term.casefold()
    return any(term in text.casefold() for text in (room.name, room.topic, room.canonical_alias) if text)


def _page(rooms: Sequence[PublicRoom], since: str | None, limit: int) -> PublicRoomsPage:
    """Cut a page out of the sorted rooms.

    A token names the room at the page's edge and on which side of it to read, so that rooms which come and go meanwhile
    move nothing else.
    """
    first = 0
    if since is not None:
        forward, edge = _parse_token(since)
        if forward:
            first = sum(_Rank.of(room) <= edge for room in rooms)
        else:
            first = max(sum(_Rank.of(room) < edge for room in rooms) - limit, 0)
    chunk = list(rooms[first : first + limit])
    page = PublicRoomsPage(chunk=chunk, total_room_count_estimate=len(rooms))
    if chunk and first + limit < len(rooms):
        page.next_batch = _token(forward=True, rank=_Rank.of(chunk[-1]))
    if chunk and first > 0:
        page.prev_batch = _token(forward=False, rank=_Rank.of(chunk[0]))
    return page


def _token(*, forward: bool, rank: _Rank) -> str:
    return f"{'n' if forward else 'p'}_{-rank.negated_members}_{rank.room_id}"


def _parse_token(token: str) -> tuple[bool, _Rank]:
    kind, _, rest = token.partition("_")
    members, _, room_id = rest.partition("_")
    if kind not in {"n", "p"} or not (members.isascii() and members.isdigit() and len(members) < 10) or not room_id:
        raise InvalidParam("`since` is not a token of this directory")
    return kind == "n", _Rank(-int(members), room_id)
