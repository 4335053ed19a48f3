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
from tricord.protocol.identifiers import UserId


class Preferences:
    """Reads the account data that others have to respect; each question is one query by primary key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def blocking_invites(self, user_ids: Sequence[UserId]) -> frozenset[UserId]:
        """Return those of the users who accept no invitations."""
        contents = await self._contents(user_ids, "m.invite_permission_config")
        return frozenset(user_id for user_id, content in contents.items() if content.get("default_action") == "block")

    async def ignored_by(self, user_id: UserId) -> frozenset[UserId]:
        """Return the users that somebody ignores."""
        contents = await self._contents([user_id], "m.ignored_user_list")
        ignored = contents.get(user_id, {}).get("ignored_users")
        return frozenset(UserId(ignored_id) for ignored_id in ignored) if isinstance(ignored, dict) else frozenset()

    async def _contents(self, user_ids: Sequence[UserId], data_type: str) -> dict[UserId, dict[str, Any]]:
        found = await self._database.read(contents_of_users, user_ids, data_type)
        return {user_id: orjson.loads(content) for user_id, content in found.items()}
