"""One connection's way through the stream: what it looks at, what it was told of that, and what is new."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import orjson
import trio

from tricord.clients.api.sliding_sync import SlidingSync
from tricord.homeserver.rooms.memberships import Membership, Memberships
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.storage.partial_rooms import PartialRoom
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.homeserver.stream.tokens import encode_token
from tricord.homeserver.sync.engine import SyncEngine
from tricord.homeserver.sync.room_reads import UnreadableRooms
from tricord.homeserver.sync.sections.account_data import AccountDataNews, AccountDataSection
from tricord.homeserver.sync.sliding.connections import Connections, Name, UnknownPosition, pos_token
from tricord.homeserver.sync.sliding.extensions import ExtensionReader, Extras, Turn
from tricord.homeserver.sync.sliding.lists import RoomLists
from tricord.homeserver.sync.sliding.own_rooms import OwnRooms, RoomsOfUsers
from tricord.homeserver.sync.sliding.rooms import Room, RoomReader
from tricord.homeserver.sync.sliding.told import RoomTold, Told
from tricord.homeserver.sync.sliding.wishes import RequiredState, RoomWish, room_wish
from tricord.homeserver.sync.viewer import Viewer
from tricord.homeserver.sync.windows import Windows
from tricord.homeserver.together import together
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import RoomId

_INSIDE = "join"
_OUTSIDE = ("leave", "ban")


@dataclass(frozen=True, slots=True)
class Connection:
    """What one request goes on from."""

    name: Name
    told: Told
    since: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a client is told, and what it has been told then."""

    upto: int
    told: Told
    counts: Mapping[str, int]
    sections: Mapping[RoomId, orjson.Fragment]
    extras: Extras
    is_news: bool


class SlidingEngine:
    """Answers requests of sliding sync."""

    def __init__(
        self,
        engine: SyncEngine,
        publisher: Publisher,
        changes: RecentChanges,
        memberships: Memberships,
        partial_rooms: PartialRooms,
        windows: Windows,
        account_data: AccountDataSection,
        preferences: Preferences,
        connections: Connections,
        own_rooms: RoomsOfUsers,
        lists: RoomLists,
        rooms: RoomReader,
        unreadable: UnreadableRooms,
        extensions: ExtensionReader,
    ) -> None:
        self._engine = engine
        self._publisher = publisher
        self._changes = changes
        self._memberships = memberships
        self._partial_rooms = partial_rooms
        self._windows = windows
        self._account_data = account_data
        self._preferences = preferences
        self._connections = connections
        self._own_rooms = own_rooms
        self._lists = lists
        self._rooms = rooms
        self._unreadable = unreadable
        self._extensions = extensions

    async def answer(
        self, viewer: Viewer, request: SlidingSync.Body, pos: str | None, *, wait: bool, deadline: float
    ) -> bytes:
        """Return what is new as the body of an answer; wait if nothing is. Raises UnknownPosition."""
        connection = await self._connection(viewer, request.conn_id, pos)
        if connection.since is None or not wait:
            outcome = await self._outcome(viewer, request, connection)
        else:
            outcome = await self._next_news(viewer, request, connection, deadline)
        told = await self._connections.keep(connection.name, connection.told, outcome.told)
        return orjson.dumps(
            {
                "pos": pos_token(told, outcome.upto),
                "lists": {name: {"count": count} for name, count in outcome.counts.items()},
                "rooms": outcome.sections,
                "extensions": outcome.extras.answers,
            }
        )

    async def _connection(self, viewer: Viewer, conn_id: str, pos: str | None) -> Connection:
        name = Name(viewer.session_id, conn_id)
        if not pos:
            return Connection(name, Told(), None)
        told, position = await self._connections.at(name, pos)
        try:
            return Connection(name, told, await self._engine.checked_position(encode_token(position)))
        except InvalidParam as error:
            raise UnknownPosition("`pos` was never given out") from error

    async def _next_news(
        self, viewer: Viewer, request: SlidingSync.Body, connection: Connection, deadline: float
    ) -> Outcome:
        rooms = await self._memberships.joined_rooms(viewer.user_id)
        with self._publisher.subscribe(viewer.user_id, rooms) as subscription:
            while True:
                outcome = await self._outcome(viewer, request, connection)
                if outcome.is_news:
                    return outcome
                joined = await self._memberships.joined_rooms(viewer.user_id)
                if joined is not subscription.rooms:
                    subscription.rooms = joined
                with trio.move_on_at(deadline) as waiting:
                    await subscription.wait()
                if waiting.cancelled_caught:
                    return outcome

    async def _outcome(self, viewer: Viewer, request: SlidingSync.Body, connection: Connection) -> Outcome:
        """Return what is new up to now."""
        since, told, upto = connection.since, connection.told, self._publisher.position
        ignored = await self._preferences.ignored_by(viewer.user_id)
        own = await self._own_rooms.of(viewer.user_id, since, upto, ignored)
        subscriptions = {
            RoomId(room_id): room_wish(config, viewer.user_id) for room_id, config in request.room_subscriptions.items()
        }
        looked_at = await self._lists.look_at(viewer.user_id, request.lists, subscriptions, own)
        changed = await self._changed(told, since, upto)
        data = AccountDataNews()
        if since is not None and self._changes.user_changed(viewer.user_id, since):
            data = await self._account_data.changes(viewer, since, upto, everything=False)
        partial = await self._partial_rooms.all()
        rooms: dict[RoomId, Room] = {}
        for room_id, wish in looked_at.rooms.items():
            known = told.rooms.get(room_id)
            if known is not None and room_id in partial and _was_partial(partial[room_id], known, since, upto):
                known = None
            if (room := _room(room_id, wish, known, own, changed, since, upto)) is not None:
                rooms[room_id] = room
        for room in await self._leaving(viewer, told, own, since, upto):
            rooms[room.room_id] = room
        reads = self._unreadable.reads_for(viewer.user_id)

        async def read(some: Mapping[RoomId, Room]) -> Mapping[RoomId, Room]:
            await self._rooms.read(viewer, some.values(), ignored)
            return some

        async def sections(some: Mapping[RoomId, Room]) -> Mapping[RoomId, orjson.Fragment]:
            return await self._rooms.sections(viewer, request.conn_id, some.values(), since)

        rooms = dict(await reads.read(rooms, read))
        news = {room_id: room for room_id, room in rooms.items() if room.is_news(viewer.user_id)}
        turn = Turn(
            viewer,
            request.extensions,
            looked_at,
            subscriptions.keys(),
            own.joined,
            told.rooms,
            told.account_data,
            rooms,
            data,
            since,
            upto,
            ignored,
        )
        told_of_rooms, extras = await together(reads.read(news, sections), self._extensions.read(turn))
        wanted = request.extensions.account_data.enabled
        after = Told(
            rooms=_told_after(told, since, reads.readable(rooms), own, changed.union(reads.left_out), extras),
            request=_digest(request),
            account_data=wanted or (told.account_data and not data.of_account),
        )
        is_news = bool(told_of_rooms) or extras.is_news or after.request != told.request
        return Outcome(upto, after, looked_at.counts, told_of_rooms, extras, is_news)

    async def _changed(self, told: Told, since: int | None, upto: int) -> frozenset[RoomId]:
        """Return which of the rooms that the client follows have changed."""
        if since is None:
            return frozenset()
        followed = {room_id for room_id, room in told.rooms.items() if room.upto is None and room.membership == _INSIDE}
        return frozenset(await self._windows.rooms_changed(followed, since, upto))

    async def _leaving(self, viewer: Viewer, told: Told, own: OwnRooms, since: int | None, upto: int) -> list[Room]:
        """Return the rooms that the client knows and the user has left, so that it hears of that."""
        gone = [
            room_id
            for room_id in told.rooms
            if room_id not in own.joined and room_id not in own.outside and room_id not in own.late
        ]
        if not gone:
            return []
        rows = await self._memberships.memberships(viewer.user_id, gone)
        members = [row for row in rows.values() if row.membership in _OUTSIDE and row.position <= upto]
        left = await self._own_rooms.last_inside(
            [row for row in members if told.rooms[row.room_id].membership == _INSIDE]
        )
        leaving = []
        for row in members:
            before = told.rooms[row.room_id]
            wish = RoomWish(max(before.limit, 1), before.required)
            after = (since or 0) if before.upto is None else before.upto
            if row.room_id not in left:
                # All they ever hear is what became of themselves.
                after = row.position - 1
            leaving.append(
                Room(row.room_id, wish, row.membership, after, row.position, member=row, left=left.get(row.room_id))
            )
        return leaving


def _was_partial(partial: PartialRoom, told: RoomTold, since: int | None, upto: int) -> bool:
    """Return whether the client was told of a room before all of its members were known, as they are now."""
    told_upto = (since or 0) if told.upto is None else told.upto
    return partial.complete_position is not None and told_upto < partial.complete_position <= upto


def _room(
    room_id: RoomId,
    wish: RoomWish,
    told: RoomTold | None,
    own: OwnRooms,
    changed: Collection[RoomId],
    since: int | None,
    upto: int,
) -> Room | None:
    """Return a room that is looked at, if anything about it may be new."""
    told_upto = 0 if told is None else (since or 0) if told.upto is None else told.upto
    if (outside := own.outside.get(room_id)) is not None:
        member = outside.member
        if told is not None and told.membership == member.membership and member.position <= told_upto:
            return None
        knows = told is not None and told.membership in (_INSIDE, *_OUTSIDE) and outside.stripped is None
        return Room(
            room_id,
            wish,
            member.membership,
            told_upto if knows else 0,
            member.position,
            initial=not knows,
            member=member,
            left=outside.left,
            stripped=outside.stripped,
        )
    is_dm = room_id in own.direct
    moved = own.moved.get(room_id)
    if told is None or told.membership != _INSIDE or (moved is not None and moved.since > told_upto):
        return Room(room_id, wish, _INSIDE, 0, upto, initial=True, is_dm=is_dm or None)
    room = Room(
        room_id,
        wish,
        _INSIDE,
        told_upto,
        upto,
        more_timeline=wish.limit > told.limit,
        more_state=None if told.required.covers(wish.required) else wish.required,
        is_dm=None if is_dm is told.is_dm else is_dm,
    )
    is_same = room_id not in changed and told.upto is None and not room.more_timeline
    return None if is_same and room.more_state is None and room.is_dm is None else room


def _told_after(
    told: Told,
    since: int | None,
    rooms: Mapping[RoomId, Room],
    own: OwnRooms,
    changed: Collection[RoomId],
    extras: Extras,
) -> dict[RoomId, RoomTold]:
    """Return what the client has been told of its rooms when it has the answer."""
    after = dict(told.rooms)
    for room_id in changed:
        if room_id not in rooms and (known := after.get(room_id)) is not None and known.upto is None:
            # Not looked at, or left out: it is told from here on when it is.
            after[room_id] = known._replace(upto=since)
    for room_id, member in own.moved.items():
        if room_id in after and room_id not in rooms and _came_anew(member, after[room_id], since):
            del after[room_id]
    for room_id, room in rooms.items():
        before = told.rooms.get(room_id)
        if room.membership in _OUTSIDE and room_id not in own.outside:
            after.pop(room_id, None)
            continue
        after[room_id] = RoomTold(
            None,
            room.membership,
            _limit_after(room, before),
            _required_after(room, before),
            room_id in own.direct,
            extras.begun.get(room_id, 0),
        )
    for room_id, room_told in after.items():
        begun = extras.begun.get(room_id, 0)
        if room_id not in rooms and begun != room_told.extensions:
            after[room_id] = room_told._replace(extensions=begun)
    return after


def _came_anew(member: Membership, told: RoomTold, since: int | None) -> bool:
    told_upto = (since or 0) if told.upto is None else told.upto
    return member.membership == _INSIDE and member.since > told_upto


def _limit_after(room: Room, before: RoomTold | None) -> int:
    if before is None or room.begins or room.limited or room.stripped is not None:
        return room.wish.limit
    return before.limit


def _required_after(room: Room, before: RoomTold | None) -> RequiredState:
    wanted = room.wish.required
    if before is None or room.initial or room.stripped is not None:
        return wanted
    both = before.required.and_also(wanted)
    # What is not asked for now has not been told, and is out of date.
    missed = any(both.includes(key) and not wanted.includes(key) for key in room.changed)
    return wanted if missed else both


def _digest(request: SlidingSync.Body) -> int:
    looked_at = request.model_dump_json(include={"lists", "room_subscriptions"}, exclude_defaults=True)
    return int.from_bytes(hashlib.blake2b(looked_at.encode(), digest_size=6).digest())
