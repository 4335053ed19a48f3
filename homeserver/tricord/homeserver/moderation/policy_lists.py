"""Policy lists that those who run the server follow: whom they ban does not invite, and does not come in, here.

https://spec.matrix.org/v1.19/client-server-api/#mban-recommendation

A list is a room that somebody of this server is in. Its rules are read once, and again when something happens in it.
Users of this server are not judged by the lists of others: over these the operator decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from tricord.homeserver.moderation.policy_rules import TYPES, PolicyRules
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import RoomId, ServerName, UserId, server_name_of

_MOST_RULES = 50_000


class PolicyLists:
    """Implements Admission by policy lists."""

    def __init__(
        self, lists: Sequence[RoomId], server_name: ServerName, state: RoomState, publisher: Publisher
    ) -> None:
        self._lists = frozenset(lists)
        self._server_name = server_name
        self._state = state
        self._rules: PolicyRules | None = None
        # Counts what makes the rules out of date: they may be while they are being read.
        self._changes = 0
        publisher.observe_at_once(self._note, lambda _position: self._forget())

    async def check_invitation(self, sender: UserId, user_id: UserId, room_id: RoomId | None) -> None:
        """Refuse invitations by those who are banned, of those who are banned, and to rooms that are."""
        if not self._lists:
            return
        rules = await self._read()
        if room_id is not None and rules.bans_room(room_id):
            raise Forbidden(f"this server has no part in {room_id}")
        for who in (sender, user_id):
            if self._is_banned(rules, who):
                raise Forbidden(f"this server does not deal with {who}")

    async def check_coming_in(self, user_id: UserId, room_id: RoomId) -> None:
        """Refuse those who are banned, and rooms that are."""
        if not self._lists:
            return
        rules = await self._read()
        if rules.bans_room(room_id):
            raise Forbidden(f"this server has no part in {room_id}")
        if self._is_banned(rules, user_id):
            raise Forbidden(f"this server does not deal with {user_id}")

    def _is_banned(self, rules: PolicyRules, user_id: UserId) -> bool:
        return server_name_of(user_id) != self._server_name and rules.bans_user(user_id)

    async def _read(self) -> PolicyRules:
        if self._rules is not None:
            return self._rules
        changes = self._changes
        events: list[StoredEvent] = []
        for room_id in sorted(self._lists):
            events += (await self._state.current_of_types(room_id, TYPES)).values()
        rules = PolicyRules(events[:_MOST_RULES])
        if changes == self._changes:
            self._rules = rules
        return rules

    def _note(self, commit: Commit) -> None:
        if commit.has_events and not self._lists.isdisjoint(commit.rooms):
            self._forget()

    def _forget(self) -> None:
        self._rules = None
        self._changes += 1
