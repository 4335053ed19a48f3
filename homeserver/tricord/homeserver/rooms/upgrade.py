"""Upgrading a room: a new one takes its place, and the old one points to it.

https://spec.matrix.org/v1.19/client-server-api/#room-upgrades
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.append import Draft, Log
from tricord.homeserver.rooms.canonical_alias import without_alias
from tricord.homeserver.rooms.create import create_content
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.people import MovingIn, Profiles
from tricord.homeserver.rooms.standing import Standing, standing
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey
from tricord.homeserver.rooms.timeline import Direction, Timeline
from tricord.homeserver.rooms.upgraded_state import (
    carried_addresses,
    carried_create_content,
    carried_power_levels,
    carried_state,
    silencing_power_levels,
)
from tricord.homeserver.storage import aliases as storage
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.rooms import rooms_with_state
from tricord.homeserver.stream.tokens import Place
from tricord.protocol.errors import Forbidden, InvalidRoomState
from tricord.protocol.identifiers import RoomAlias, RoomId, UserId
from tricord.protocol.room_versions import RoomVersion, room_version
from tricord.protocol.strict_json import JsonObject

_logger = structlog.get_logger(__name__)

_CANONICAL_ALIAS: StateKey = ("m.room.canonical_alias", "")
_POWER_LEVELS: StateKey = ("m.room.power_levels", "")
_NOT_YET = RoomId("")
_END = Place(10**17)


class RoomUpgrade:
    """Replaces rooms."""

    def __init__(
        self,
        database: Database,
        log: Log,
        state: RoomState,
        timeline: Timeline,
        memberships: Memberships,
        profiles: Profiles,
        moving_in: MovingIn,
        partial_rooms: PartialRooms,
        clock: Clock,
        server_name: str,
    ) -> None:
        self._database = database
        self._log = log
        self._state = state
        self._timeline = timeline
        self._memberships = memberships
        self._profiles = profiles
        self._moving_in = moving_in
        self._partial_rooms = partial_rooms
        self._clock = clock
        self._server_name = server_name

    async def upgrade(
        self, user_id: UserId, room_id: RoomId, version_name: str, additional_creators: Sequence[UserId]
    ) -> RoomId:
        """Replace a room by one of another version, and return that; the numbers are those of the specification."""
        version = room_version(version_name)
        # Who is banned is carried over.
        await self._partial_rooms.until_complete(room_id)
        old = await standing(self._state, room_id, [user_id], [_CANONICAL_ALIAS])
        old.check_may_set_state(user_id, "m.room.tombstone")  # 1
        aliases = await self._database.read(storage.aliases_of_room, room_id)
        new_id = await self._create(user_id, old, version, additional_creators, aliases)  # 2, 3
        # Before the aliases move: this is the step that may still be refused, if the user has just lost the power to.
        await self._bury(user_id, room_id, new_id)  # 5
        await self._database.run(storage.move_room_names, room_id, new_id, user_id, self._clock.now_ms())  # 4
        await self._strip(user_id, old, aliases)  # 4, 6
        await self._point_spaces(user_id, room_id, new_id)
        await self._moving_in.move_in(user_id, new_id)
        return new_id

    async def _create(
        self,
        user_id: UserId,
        old: Standing,
        version: RoomVersion,
        additional_creators: Sequence[UserId],
        aliases: Sequence[RoomAlias],
    ) -> RoomId:
        state = await self._state.current_all(old.room_id)
        creators = additional_creators if version.creators_have_infinite_power else ()
        predecessor: JsonObject = {"room_id": old.room_id}
        if not version.room_id_is_create_event_id:
            last = await self._timeline.page(old.room_id, _END, None, Direction.BACKWARD, 1)
            predecessor["event_id"] = last.events[0].event.event_id
        extra = {**carried_create_content(state["m.room.create", ""]), "predecessor": predecessor}
        content = create_content(user_id, version, creators, extra)
        joined = {"membership": "join", **await self._profiles.member_profile(user_id)}
        carried = [("m.room.member", user_id, joined), *carried_state(state, version)]
        if addresses := carried_addresses(old.content(*_CANONICAL_ALIAS), aliases):
            carried.append((*_CANONICAL_ALIAS, addresses))
        # Last: up to here the creator may set everything, whatever their level will be.
        carried.append((*_POWER_LEVELS, carried_power_levels(state, version, user_id, creators)))
        drafts = [Draft(_NOT_YET, user_id, event_type, key, content) for event_type, key, content in carried]
        try:
            new_id, _ = await self._log.create_room(version, user_id, content, drafts)
        except Forbidden as refusal:
            raise InvalidRoomState(refusal.message) from refusal
        return new_id

    async def _bury(self, user_id: UserId, room_id: RoomId, new_id: RoomId) -> None:
        content = {"body": "This room has been replaced", "replacement_room": new_id}
        await self._log.append(Draft(room_id, user_id, "m.room.tombstone", "", content))

    async def _strip(self, user_id: UserId, old: Standing, aliases: Sequence[RoomAlias]) -> None:
        """Take its addresses from the old room, and the right to speak in it, as far as the user may."""
        shown = old.content(*_CANONICAL_ALIAS)
        content = shown
        for alias in aliases:
            content = without_alias(content, alias)
        if content != shown:
            await self._try(Draft(old.room_id, user_id, *_CANONICAL_ALIAS, content))
        levels = old.content(*_POWER_LEVELS)
        silent = silencing_power_levels(levels, old.version)
        if levels and silent != levels:
            await self._try(Draft(old.room_id, user_id, *_POWER_LEVELS, silent))

    async def _point_spaces(self, user_id: UserId, room_id: RoomId, new_id: RoomId) -> None:
        """Put the new room in the place of the old one in the spaces where the user may."""
        joined = await self._memberships.joined_rooms(user_id)
        child: StateKey = ("m.space.child", room_id)
        spaces = await self._database.read(rooms_with_state, list(joined), *child)
        states = await self._state.current_in_rooms({space_id: [child] for space_id in spaces})
        for space_id, state in states.items():
            content = state[child].event.content if child in state else {}
            if "via" in content:
                replaced = {**content, "via": [self._server_name]}
                if await self._try(Draft(space_id, user_id, "m.space.child", new_id, replaced)):
                    await self._try(Draft(space_id, user_id, *child, {}))

    async def _try(self, draft: Draft) -> bool:
        """Append what is good to have; the upgrade stands without it."""
        try:
            await self._log.append(draft)
        except Forbidden as refusal:
            _logger.info("not done at an upgrade", room_id=draft.room_id, type=draft.type, reason=refusal.message)
            return False
        return True
