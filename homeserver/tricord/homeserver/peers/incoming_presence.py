"""Which users of other servers are there.

https://spec.matrix.org/v1.19/server-server-api/#presence
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from tricord.homeserver.accounts.presence import OFFLINE, ONLINE, UNAVAILABLE
from tricord.homeserver.accounts.remote_presence import RemotePresences
from tricord.homeserver.clock import Clock
from tricord.homeserver.peers.edus import user_of
from tricord.homeserver.storage.presence import Presence
from tricord.protocol.errors import BadJson, MatrixError
from tricord.protocol.identifiers import RoomId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject

_MOST_PRESENCES = 500
_LONGEST_STATUS = 1_000
_LONGEST_AGO_MS = 365 * 24 * 3600 * 1000


class RoomsOfUsers(Protocol):
    """Who is in which rooms here."""

    async def joined_rooms(self, user_id: UserId) -> Collection[RoomId]: ...


class IncomingPresence:
    """Takes in `m.presence`."""

    def __init__(self, presences: RemotePresences, memberships: RoomsOfUsers, clock: Clock) -> None:
        self._presences = presences
        self._memberships = memberships
        self._clock = clock

    async def receive(self, origin: ServerName, content: JsonObject) -> None:
        """Note who is there, of those whom somebody here may know."""
        push = content.get("push")
        if not isinstance(push, list):
            raise BadJson("`m.presence` has an array `push`")
        told: dict[UserId, Presence] = {}
        for said in push[:_MOST_PRESENCES]:
            try:
                presence = self._read(origin, said)
            except MatrixError:
                continue
            if await self._memberships.joined_rooms(presence.user_id):
                told[presence.user_id] = presence
        await self._presences.note(list(told.values()))

    def _read(self, origin: ServerName, said: Any) -> Presence:
        if not isinstance(said, dict):
            raise BadJson("presence is an object")
        user_id, state, status = user_of(origin, said.get("user_id")), said.get("presence"), said.get("status_msg")
        if state not in (ONLINE, UNAVAILABLE, OFFLINE):
            raise BadJson("there is no such state")
        ago = said.get("last_active_ago", 0)
        if type(ago) is not int or not 0 <= ago <= _LONGEST_AGO_MS:
            ago = 0
        if not isinstance(status, str) or len(status) > _LONGEST_STATUS or "\0" in status:
            status = None
        active = said.get("currently_active") is True
        return Presence(user_id, state, status, self._clock.now_ms() - ago, currently_active=active, position=0)
