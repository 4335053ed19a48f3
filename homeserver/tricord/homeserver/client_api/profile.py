"""Routes of profiles."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.profile import DeleteProfileField, GetProfile, GetProfileField, SetProfileField
from tricord.homeserver.accounts.profiles import Profiles
from tricord.homeserver.client_api.own import own_user_id
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import GuestAccessForbidden, MissingParam
from tricord.protocol.identifiers import parse_user_id
from tricord.protocol.strict_json import JsonObject


class ProfileApi:
    """What users show of themselves."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(GetProfile, self.get),
            Route(GetProfileField, self.get_field),
            Route(SetProfileField, self.set_field),
            Route(DeleteProfileField, self.delete_field),
        ]

    async def get(self, call: Call[Any, Any]) -> JsonObject:
        """Answer the whole profile of a user."""
        return await self._profiles.profile(parse_user_id(call.path["user_id"]))

    async def get_field(self, call: Call[Any, Any]) -> JsonObject:
        """Answer one field."""
        name = call.path["field"]
        return {name: await self._profiles.field(parse_user_id(call.path["user_id"]), name)}

    async def set_field(self, call: Call[JsonObject, Any]) -> JsonObject:
        """Write one field of the requester's profile."""
        user_id, name = own_user_id(call), call.path["field"]
        _check_guest(call, name)
        if name not in call.body:
            raise MissingParam(f"`{name[:255]}` is missing")
        await self._profiles.set(user_id, name, call.body[name])
        return {}

    async def delete_field(self, call: Call[Any, Any]) -> JsonObject:
        """Delete one field of the requester's profile."""
        user_id, name = own_user_id(call), call.path["field"]
        _check_guest(call, name)
        await self._profiles.delete(user_id, name)
        return {}


def _check_guest(call: Call[Any, Any], name: str) -> None:
    """Refuse guests who want to change more than their name.

    https://spec.matrix.org/v1.19/client-server-api/#guest-access
    """
    if call.requester.is_guest and name != "displayname":
        raise GuestAccessForbidden("guests may change their `displayname` only")
