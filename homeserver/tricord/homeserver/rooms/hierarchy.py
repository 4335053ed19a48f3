"""Walking through a space and the spaces in it, depth first, a page at a time.

https://spec.matrix.org/v1.19/client-server-api/#discovering-rooms-within-spaces

Each room is shown once, which breaks loops. A walk ends after so many rooms and so deep. What is next is looked at many
rooms at once; rooms elsewhere are asked for side by side, and one that cannot be had is left out.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple, Protocol

import orjson

from tricord.clients.api.spaces import GetHierarchy, HierarchyRoom
from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.outsiders import servers_in_id
from tricord.homeserver.rooms.previews import Preview, Previews
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.hierarchy_walks import put_walk, walk_named
from tricord.protocol.errors import Forbidden, InvalidParam
from tricord.protocol.identifiers import RoomId, ServerName, UserId, server_name_of

MOST_ROOMS_OF_A_PAGE = 100
_USUAL_ROOMS = 50
_DEEPEST = 50
_USUAL_DEPTH = 20
_MOST_ROOMS_OF_A_WALK = 5000
_WALK_LASTS_MS = 600_000
_MOST_WALKS_OF_A_USER = 30


@dataclass(frozen=True, slots=True)
class RemotePreview:
    """What another server tells of a room and of the rooms in it."""

    room: Preview
    children: Mapping[RoomId, Preview] = field(default_factory=dict)
    inaccessible: frozenset[RoomId] = frozenset()
    """Rooms that nobody of this server could join."""


class RoomsElsewhere(Protocol):
    """Asks other servers about rooms that this one is not in."""

    async def previews(
        self, wanted: Mapping[RoomId, Sequence[ServerName]], *, suggested_only: bool
    ) -> Mapping[RoomId, RemotePreview]:
        """Return what is to be had of each of the rooms from one of the servers given with it, within a while."""
        ...


class Step(NamedTuple):
    """A room to go to."""

    room_id: RoomId
    depth: int
    via: tuple[ServerName, ...]


@dataclass(slots=True)
class Walk:
    """Where a walk has come to; what is next stands last."""

    room_id: RoomId
    suggested_only: bool
    max_depth: int
    ahead: list[Step]
    seen: set[RoomId] = field(default_factory=set)
    inaccessible: set[RoomId] = field(default_factory=set)

    def next_steps(self, most: int) -> list[Step]:
        """Return where the walk goes next, as far as can be said before having been there."""
        steps: dict[RoomId, Step] = {}
        for step in reversed(self.ahead):
            if len(steps) == most:
                break
            if step.room_id not in self.seen and step.room_id not in self.inaccessible:
                steps.setdefault(step.room_id, step)
        return list(steps.values())

    def take(self, step: Step) -> None:
        """Go to the first of the next steps."""
        while self.ahead and self.ahead.pop() is not step:
            pass
        self.seen.add(step.room_id)

    def enter(self, step: Step, preview: Preview) -> None:
        """Have the rooms of a space before us."""
        if step.depth < self.max_depth:
            ahead = [Step(child.room_id, step.depth + 1, child.via) for child in preview.children]
            room = _MOST_ROOMS_OF_A_WALK - len(self.seen) - len(self.ahead)
            self.ahead += reversed(ahead[: max(room, 0)])

    def to_json(self) -> bytes:
        """Return the walk as it is stored."""
        return orjson.dumps(asdict(self), default=list)

    @classmethod
    def from_json(cls, data: bytes) -> Walk:
        """Return a walk that was stored."""
        stored = orjson.loads(data)
        stored["ahead"] = [Step(room_id, depth, tuple(via)) for room_id, depth, via in stored["ahead"]]
        return cls(**stored | {"seen": set(stored["seen"]), "inaccessible": set(stored["inaccessible"])})


class Hierarchy:
    """Shows users what is in spaces."""

    def __init__(
        self,
        database: Database,
        previews: Previews,
        memberships: Memberships,
        clock: Clock,
        elsewhere: RoomsElsewhere,
    ) -> None:
        self._database = database
        self._previews = previews
        self._memberships = memberships
        self._clock = clock
        self._elsewhere = elsewhere

    async def page(
        self,
        user_id: UserId,
        room_id: RoomId,
        *,
        suggested_only: bool,
        max_depth: int | None,
        limit: int | None,
        token: str | None,
    ) -> GetHierarchy.Response:
        """Return some rooms of a space, the space itself first; raise Forbidden if the user may not look at it."""
        max_depth = min(_USUAL_DEPTH if max_depth is None else max_depth, _DEEPEST)
        limit = min(limit or _USUAL_ROOMS, MOST_ROOMS_OF_A_PAGE)
        if token is None:
            via = await self._servers_of(user_id, room_id)
            walk = Walk(room_id, suggested_only, max_depth, [Step(room_id, 0, via)])
        else:
            walk = await self._walk_named(token, user_id)
            if (walk.room_id, walk.suggested_only, walk.max_depth) != (room_id, suggested_only, max_depth):
                raise InvalidParam("`suggested_only` and `max_depth` stay as they were on the first page")
        rooms = await _Page(self._previews, self._elsewhere, user_id, walk, limit).rooms()
        if token is None and (not rooms or rooms[0].room_id != room_id):
            raise Forbidden(f"{user_id} may not look at {room_id}")
        page = GetHierarchy.Response(rooms=rooms)
        if walk.next_steps(1) and len(walk.seen) < _MOST_ROOMS_OF_A_WALK:
            page.next_batch = await self._kept(user_id, walk)
        return page

    async def _servers_of(self, user_id: UserId, room_id: RoomId) -> tuple[ServerName, ...]:
        now = await self._memberships.membership(user_id, room_id)
        inviting = [] if now is None or now.membership != "invite" else [server_name_of(now.sender)]
        return tuple(dict.fromkeys([*inviting, *servers_in_id(room_id)]))

    async def _walk_named(self, token: str, user_id: UserId) -> Walk:
        stored = await self._database.read(walk_named, token, user_id)
        if stored is None:
            raise InvalidParam("`from` is not a token of this walk, or too old")
        return Walk.from_json(stored)

    async def _kept(self, user_id: UserId, walk: Walk) -> str:
        token = secrets.token_urlsafe(12)
        await self._database.run(
            put_walk,
            token,
            user_id,
            walk.to_json(),
            self._clock.now_ms(),
            lasts_ms=_WALK_LASTS_MS,
            most=_MOST_WALKS_OF_A_USER,
        )
        return token


@dataclass(slots=True)
class _Page:
    """One page of a walk being made."""

    previews: Previews
    elsewhere: RoomsElsewhere
    user_id: UserId
    walk: Walk
    limit: int
    # What was looked at and is not shown yet; None: not to be had, or not for this user.
    known: dict[RoomId, Preview | None] = field(default_factory=dict)
    # What servers told of the children of other rooms: enough for those that are no spaces themselves.
    hints: dict[RoomId, Preview] = field(default_factory=dict)

    async def rooms(self) -> list[HierarchyRoom]:
        """Walk on until the page is full."""
        shown: list[HierarchyRoom] = []
        # Rooms that are not shown cost the same, so there is a bound for these, too.
        for _ in range(MOST_ROOMS_OF_A_PAGE * 10):
            steps = self.walk.next_steps(self.limit - len(shown))
            if not steps:
                break
            if steps[0].room_id not in self.known:
                # This may tell that some of them are for nobody here, so we look again where to go.
                await self._look_at([step for step in steps if step.room_id not in self.known])
                continue
            self.walk.take(steps[0])
            if (preview := self.known.pop(steps[0].room_id)) is not None:
                self.walk.enter(steps[0], preview)
                state = [child.stripped for child in preview.children]
                shown.append(HierarchyRoom(**preview.summary.model_dump(), children_state=state))
        return shown

    async def _look_at(self, steps: Collection[Step]) -> None:
        suggested_only = self.walk.suggested_only
        wanted = {step.room_id: step.via for step in steps}
        found = await self.previews.of_rooms(wanted.keys(), suggested_only=suggested_only)
        far = {room_id: via for room_id, via in wanted.items() if room_id not in found}
        found |= {room_id: self.hints[room_id] for room_id in far if room_id in self.hints}
        far = {room_id: via for room_id, via in far.items() if room_id not in found and via}
        if far:
            for room_id, told in (await self.elsewhere.previews(far, suggested_only=suggested_only)).items():
                found[room_id] = told.room
                self.hints |= told.children
                self.walk.inaccessible |= told.inaccessible
        summaries = {room_id: preview.summary for room_id, preview in found.items()}
        visible = await self.previews.visible_to_user(self.user_id, summaries)
        self.known |= {room_id: found[room_id] if room_id in visible else None for room_id in wanted}
