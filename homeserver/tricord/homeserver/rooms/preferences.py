"""What users have said in their account data about being bothered: whom they ignore, whether they can be invited.

https://spec.matrix.org/v1.19/client-server-api/#ignoring-users
https://spec.matrix.org/v1.19/client-server-api/#invite-permission
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tricord.homeserver.storage.account_data import contents_of_users
from tricord.homeserver.storage.database import Database
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import UserId

_MOST_IGNORING = 50_000


class Preferences:
    """Reads the account data that others have to respect; each question is one query by primary key.

    Whom somebody ignores is asked at every read of theirs, and kept until anything of their own changes.
    """

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._ignored: dict[UserId, frozenset[UserId]] = {}
        # Lists being read: to forget one meanwhile is to not keep it afterwards.
        self._reading: dict[UserId, object] = {}
        publisher.observe_at_once(self._forget_changed, self._forget_all)

    async def blocking_invites(self, user_ids: Sequence[UserId]) -> frozenset[UserId]:
        """Return those of the users who accept no invitations."""
        contents = await self._contents(user_ids, "m.invite_permission_config")
        return frozenset(user_id for user_id, content in contents.items() if content.get("default_action") == "block")

    async def ignored_by(self, user_id: UserId) -> frozenset[UserId]:
        """Return the users that somebody ignores."""
        if (known := self._ignored.get(user_id)) is not None:
            return known
        reading = self._reading[user_id] = object()
        try:
            contents = await self._contents([user_id], "m.ignored_user_list")
            named = contents.get(user_id, {}).get("ignored_users")
            ignored = frozenset(UserId(name) for name in named) if isinstance(named, dict) else frozenset[UserId]()
            if self._reading.get(user_id) is reading:
                self._ignored[user_id] = ignored
                if len(self._ignored) > _MOST_IGNORING:
                    del self._ignored[next(iter(self._ignored))]
            return ignored
        finally:
            if self._reading.get(user_id) is reading:
                del self._reading[user_id]

    async def _contents(self, user_ids: Sequence[UserId], data_type: str) -> dict[UserId, dict[str, Any]]:
        found = await self._database.read(contents_of_users, user_ids, data_type)
        return {user_id: orjson.loads(content) for user_id, content in found.items()}

    def _forget_changed(self, commit: Commit) -> None:
        for user_id in commit.users:
            self._ignored.pop(user_id, None)
            self._reading.pop(user_id, None)

    def _forget_all(self, _position: int) -> None:
        self._ignored.clear()
        self._reading.clear()
