"""Routes of account data and tags."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.account_data import (
    DeleteTag,
    GetAccountData,
    GetRoomAccountData,
    GetTags,
    SetAccountData,
    SetRoomAccountData,
    SetTag,
)
from tricord.homeserver.accounts.account_data import AccountData
from tricord.homeserver.client_api.own import own_user_id
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.protocol.identifiers import RoomId, parse_room_id
from tricord.protocol.strict_json import JsonObject


class AccountDataApi:
    """What clients keep on the server for their user."""

    def __init__(self, account_data: AccountData) -> None:
        self._account_data = account_data

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(GetAccountData, self.get),
            Route(SetAccountData, self.set),
            Route(GetRoomAccountData, self.get),
            Route(SetRoomAccountData, self.set),
            Route(GetTags, self.tags),
            Route(SetTag, self.set_tag),
            Route(DeleteTag, self.delete_tag),
        ]

    async def get(self, call: Call[Any, Any]) -> Answer:
        """Answer the content of a piece."""
        return Answer(await self._account_data.get(own_user_id(call), _room_id(call), call.path["type"]))

    async def set(self, call: Call[JsonObject, Any]) -> JsonObject:
        """Write a piece."""
        await self._account_data.set(own_user_id(call), _room_id(call), call.path["type"], call.body)
        return {}

    async def tags(self, call: Call[Any, Any]) -> JsonObject:
        """Answer the tags of a room."""
        return {"tags": await self._account_data.tags(own_user_id(call), parse_room_id(call.path["room_id"]))}

    async def set_tag(self, call: Call[JsonObject, Any]) -> JsonObject:
        """Tag a room."""
        room_id = parse_room_id(call.path["room_id"])
        await self._account_data.set_tag(own_user_id(call), room_id, call.path["tag"], call.body)
        return {}

    async def delete_tag(self, call: Call[Any, Any]) -> JsonObject:
        """Take a tag off a room."""
        room_id = parse_room_id(call.path["room_id"])
        await self._account_data.delete_tag(own_user_id(call), room_id, call.path["tag"])
        return {}


def _room_id(call: Call[Any, Any]) -> RoomId | None:
    """Return the room that the data is about; None for data of the account as a whole."""
    text = call.path.get("room_id")
    return None if text is None else parse_room_id(text)
