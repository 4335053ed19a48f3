"""What rooms look like from outside, and who may have a look.

"The server should return any rooms where at least one of the following conditions is true: […] The requesting user
already has permission to join":
https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tricord.clients.api.spaces import RoomSummary
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.room_summary import FULL_SUMMARY_KEYS, summarize_fully
from tricord.homeserver.rooms.space_children import CHILD, SpaceChild, children_of, stripped_child
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey
from tricord.protocol.identifiers import RoomId, ServerName, UserId
from tricord.protocol.room_versions import ROOM_VERSIONS
from tricord.protocol.server_acl import ServerAcl
from tricord.protocol.strict_json import JsonObject

SPACE = "m.space"
_MOST_CHILDREN = 5000
_CREATE: StateKey = ("m.room.create", "")
_SERVER_ACL: StateKey = ("m.room.server_acl", "")
_FOR_EVERYBODY = frozenset({"public", "knock", "knock_restricted"})


@dataclass(frozen=True, slots=True)
class Preview:
    """A room from outside; if it is a space, with what it says is in it, in order."""

    summary: RoomSummary
    children: tuple[SpaceChild, ...] = ()
    acl: JsonObject | None = None
    """Which servers it shuts out, where this is known."""


class Previews:
    """Looks at rooms that are here, many at once.

    SQL: a query each for who is in them, for their state, for their sizes, and for the rooms of those that are spaces.
    """

    def __init__(self, state: RoomState, memberships: Memberships, server_name: ServerName) -> None:
        self._state = state
        self._memberships = memberships
        self._server_name = server_name

    async def of_rooms(self, room_ids: Collection[RoomId], *, suggested_only: bool = False) -> dict[RoomId, Preview]:
        """Return those of the rooms that this server is in: of the others it knows at best what they once were."""
        resident = await self._memberships.rooms_with_people_of(self._server_name, room_ids)
        if not resident:
            return {}
        keys = (*FULL_SUMMARY_KEYS, _SERVER_ACL)
        states = await self._state.current_in_rooms(dict.fromkeys(resident, keys))
        counts = await self._memberships.counts(resident)
        spaces = [
            room_id
            for room_id, state in states.items()
            if _CREATE in state and state[_CREATE].event.content.get("type") == SPACE
        ]
        stored = await self._state.of_type_in_rooms(spaces, CHILD, most_per_room=_MOST_CHILDREN) if spaces else {}
        return {
            room_id: Preview(
                summarize_fully(room_id, state, counts[room_id].joined),
                children_of(map(stripped_child, stored.get(room_id, ())), suggested_only=suggested_only),
                state[_SERVER_ACL].event.content if _SERVER_ACL in state else None,
            )
            for room_id, state in states.items()
            if _CREATE in state and room_id in counts
        }

    async def visible_to_server(self, server: ServerName, previews: Mapping[RoomId, Preview]) -> set[RoomId]:
        """Return those of the rooms that users of another server are in or could join, as far as is known here."""
        asked = {room_id for preview in previews.values() for room_id in preview.summary.allowed_room_ids or ()}
        joined = await self._memberships.rooms_with_people_of(server, [*previews, *asked])
        invited = await self._memberships.rooms_with_people_of(server, list(previews), ("invite",))
        return {
            room_id
            for room_id, preview in previews.items()
            if (preview.acl is None or ServerAcl(preview.acl).allows(server))
            and (
                room_id in joined
                or room_id in invited
                or is_open(preview.summary)
                or not joined.isdisjoint(preview.summary.allowed_room_ids or ())
            )
        }

    async def visible_to_user(
        self, user_id: UserId, summaries: Mapping[RoomId, RoomSummary]
    ) -> dict[RoomId, str | None]:
        """Return those of the rooms that a user is in or could join, and what they are to each."""
        memberships = await self._memberships.memberships(user_id, summaries.keys())
        joined = await self._memberships.joined_rooms(user_id)
        visible: dict[RoomId, str | None] = {}
        for room_id, summary in summaries.items():
            now = memberships.get(room_id)
            membership = None if now is None or now.forgotten else now.membership
            if now is not None and now.membership == "ban":
                may_look = summary.world_readable
            else:
                may_look = (
                    membership in {"join", "invite"}
                    or is_open(summary)
                    or (summary.join_rule == "restricted" and not joined.isdisjoint(summary.allowed_room_ids or ()))
                )
            if may_look:
                visible[room_id] = membership
        return visible


def is_open(summary: RoomSummary) -> bool:
    """Return whether everybody may look at a room: they could join it, knock on it, or read it."""
    version = ROOM_VERSIONS.get(summary.room_version or "")
    if summary.world_readable or summary.join_rule == "public":
        return True
    # Of a version that we do not know we believe that it has these rules: another server said so.
    knocking = version is None or (
        version.knock_restricted_joins if summary.join_rule == "knock_restricted" else version.knocking
    )
    return summary.join_rule in _FOR_EVERYBODY and knocking
