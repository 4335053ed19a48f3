"""What policy lists say of users, servers and rooms. Pure rules; `policy_lists.py` reads the lists.

https://spec.matrix.org/v1.19/client-server-api/#moderation-policy-lists
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.protocol.globs import GlobSet
from tricord.protocol.identifiers import RoomId, UserId, server_name_of

_KINDS = ("user", "server", "room")
# The names that rules had before they were specified; lists from that time are still read.
_PREFIXES = ("m.policy.rule.", "m.room.rule.", "org.matrix.mjolnir.rule.")
TYPES = tuple(prefix + kind for prefix in _PREFIXES for kind in _KINDS)
_BANS = frozenset({"m.ban", "org.matrix.mjolnir.ban"})
_LONGEST_ENTITY = 255


class PolicyRules:
    """The rules of some lists together; only bans count."""

    def __init__(self, events: Iterable[StoredEvent]) -> None:
        entities: dict[str, list[str]] = {kind: [] for kind in _KINDS}
        for stored in events:
            entity = _banned(stored.event.content)
            if entity is not None:
                entities[stored.event.type.rpartition(".")[2]].append(entity)
        self._users = GlobSet(entities["user"])
        self._servers = GlobSet(entities["server"], ignore_case=True)
        self._rooms = GlobSet(entities["room"])

    def bans_user(self, user_id: UserId) -> bool:
        """Return whether a user, or their server, is banned."""
        # Lists name servers without their ports, as access control lists do.
        server = server_name_of(user_id)
        host = server.rpartition(":")[0] if server.rpartition(":")[2].isdigit() and ":" in server else server
        return self._users.matches(user_id) or self._servers.matches(server) or self._servers.matches(host)

    def bans_room(self, room_id: RoomId) -> bool:
        """Return whether a room is banned, or the server that made it, where its id says so."""
        if self._rooms.matches(room_id):
            return True
        return ":" in room_id and self._servers.matches(server_name_of(room_id))


def _banned(content: Mapping[str, Any]) -> str | None:
    match content:
        case {"entity": str() as entity, "recommendation": str() as recommendation}:
            if recommendation in _BANS and 0 < len(entity) <= _LONGEST_ENTITY:
                return entity
    return None
