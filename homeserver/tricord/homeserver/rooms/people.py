"""What rooms ask about people; accounts answer it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tricord.protocol.identifiers import UserId
from tricord.protocol.strict_json import JsonObject


class Profiles(Protocol):
    """What a user shows of themselves."""

    async def member_profile(self, user_id: UserId) -> JsonObject:
        """Return `displayname` and `avatar_url` as member events carry them; what is not set is absent."""
        ...


class InvitePermissions(Protocol):
    """Who wants no invitations.

    https://spec.matrix.org/v1.19/client-server-api/#invite-permission
    """

    async def blocking_invites(self, user_ids: Sequence[UserId]) -> frozenset[UserId]:
        """Return those of the users, all local, whose `m.invite_permission_config` blocks invitations."""
        ...


class Ignoring(Protocol):
    """Whom a user ignores.

    https://spec.matrix.org/v1.19/client-server-api/#ignoring-users
    """

    async def ignored_by(self, user_id: UserId) -> frozenset[UserId]:
        """Return the users in the `m.ignored_user_list` of the user."""
        ...
