"""Whom a room without a name is named after."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.protocol.identifiers import RoomId, UserId

NAMES: tuple[StateKey, ...] = (("m.room.name", ""), ("m.room.canonical_alias", ""))
_MOST_HEROES = 5


def is_named(names: Mapping[StateKey, StoredEvent]) -> bool:
    """Return whether a room has a name or an alias, by the state under `NAMES`."""
    name, alias = (names.get(key) for key in NAMES)
    return bool((name and name.event.content.get("name")) or (alias and alias.event.content.get("alias")))


async def heroes_of(
    memberships: Memberships, room_ids: Collection[RoomId], *, but: UserId
) -> dict[RoomId, list[UserId]]:
    """Return who gives each of the rooms its name: its members; where there are none, those who were."""
    heroes: dict[RoomId, list[UserId]] = {room_id: [] for room_id in room_ids}
    for kinds in (("join", "invite"), ("leave", "ban")):
        lonely = [room_id for room_id, users in heroes.items() if not users]
        if lonely:
            heroes |= await memberships.first_members(lonely, kinds, but=but, limit=_MOST_HEROES)
    return heroes
