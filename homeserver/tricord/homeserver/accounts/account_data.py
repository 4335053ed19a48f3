"""What clients keep on the server for their user.

https://spec.matrix.org/v1.19/client-server-api/#client-config
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson

from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.storage.account_data import (
    account_data_content,
    account_data_of_room,
    lock_account_data,
    put_account_data,
)
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.errors import BadJson, Forbidden, InvalidParam, NotFound, TooLarge
from tricord.protocol.identifiers import RoomId, UserId, fits
from tricord.protocol.strict_json import JsonObject

TAGS = "m.tag"
FULLY_READ = "m.fully_read"
PUSH_RULES = "m.push_rules"

_MAXIMUM_CONTENT_BYTES = 512 << 10
_MAXIMUM_TAGS = 1000
_SERVER_MANAGED = frozenset({FULLY_READ, PUSH_RULES})


class ManagedByServer(BadJson):
    """The server writes this type of account data itself."""

    status = 405


class AccountData:
    """Reads and writes account data, and the tags of rooms, which are such data too."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        memberships: Memberships,
        push_rules: Callable[[UserId], Awaitable[JsonObject]],
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._memberships = memberships
        self._push_rules = push_rules

    async def get(self, user_id: UserId, room_id: RoomId | None, data_type: str) -> bytes:
        """Return the content of a piece, as JSON; raise NotFound if there is none."""
        check_type(data_type)
        if data_type == PUSH_RULES and room_id is None:
            return orjson.dumps(await self._push_rules(user_id))
        content = await self._database.read(account_data_content, user_id, room_id, data_type)
        if content is None:
            raise NotFound(f"there is no account data of type {data_type}")
        return content

    async def of_room(self, user_id: UserId, room_id: RoomId) -> list[JsonObject]:
        """Return all that a user has set for a room, as events."""
        pieces = await self._database.read(account_data_of_room, user_id, room_id)
        return [{"type": data_type, "content": orjson.Fragment(content)} for data_type, content in pieces]

    async def set(self, user_id: UserId, room_id: RoomId | None, data_type: str, content: JsonObject) -> None:
        """Write a piece as a client asks; raise for those that the server manages, and for rooms of others."""
        check_type(data_type)
        if data_type in _SERVER_MANAGED:
            raise ManagedByServer(f"Cannot set {data_type} through this API.")
        if room_id is not None:
            await self._check_room(user_id, room_id)
        await self._put(user_id, room_id, data_type, content)

    async def put_marker(self, user_id: UserId, room_id: RoomId, data_type: str, content: JsonObject) -> None:
        """Write a piece of a room's account data that clients cannot write themselves."""
        await self._put(user_id, room_id, data_type, content)

    async def tags(self, user_id: UserId, room_id: RoomId) -> JsonObject:
        """Return what is known of each tag of a room."""
        return _tags(await self._database.read(account_data_content, user_id, room_id, TAGS))

    async def set_tag(self, user_id: UserId, room_id: RoomId, tag: str, content: JsonObject) -> None:
        """Tag a room."""
        if not fits(tag) or "\0" in tag:
            raise InvalidParam("the name of a tag has at most 255 bytes")
        order = content.get("order")
        if order is not None and (isinstance(order, bool) or not isinstance(order, int | float)):
            raise InvalidParam("`order` is not a number")
        await self._check_room(user_id, room_id)
        await self._change_tag(user_id, room_id, tag, content)

    async def delete_tag(self, user_id: UserId, room_id: RoomId, tag: str) -> None:
        """Take a tag off a room, if it is there."""
        await self._check_room(user_id, room_id)
        await self._change_tag(user_id, room_id, tag, None)

    async def change(
        self,
        user_id: UserId,
        room_id: RoomId | None,
        data_type: str,
        act: Callable[[JsonObject], JsonObject | None],
    ) -> None:
        """Write what `act` makes of a piece ({} if there is none), if it makes something of it."""
        position = await self._database.run(_write_changed, user_id, room_id, data_type, act)
        if position is not None:
            self._publish(user_id, position)

    async def _check_room(self, user_id: UserId, room_id: RoomId) -> None:
        # Somebody who has left may still sort the room among the others, until they forget it.
        membership = await self._memberships.membership(user_id, room_id)
        if membership is None or membership.forgotten:
            raise Forbidden(f"{user_id} is not in {room_id}")

    async def _put(self, user_id: UserId, room_id: RoomId | None, data_type: str, content: JsonObject) -> None:
        encoded = orjson.dumps(content)
        if len(encoded) > _MAXIMUM_CONTENT_BYTES:
            raise TooLarge(f"account data has at most {_MAXIMUM_CONTENT_BYTES} bytes")
        position = await self._database.run_one(put_account_data, user_id, room_id, data_type, encoded)
        if position is None:
            raise NotFound(f"there is no user {user_id}")
        self._publish(user_id, position)

    async def _change_tag(self, user_id: UserId, room_id: RoomId, tag: str, content: JsonObject | None) -> None:
        position = await self._database.run(_write_tag, user_id, room_id, tag, content)
        if position is not None:
            self._publish(user_id, position)

    def _publish(self, user_id: UserId, position: int) -> None:
        self._publisher.publish(Commit(position, rooms=frozenset(), users=frozenset({user_id})))


def check_type(data_type: str) -> None:
    """Raise InvalidParam if account data cannot be of that type."""
    if not data_type or not fits(data_type) or "\0" in data_type:
        raise InvalidParam("a type of account data has 1 to 255 bytes")


async def _write_tag(
    tx: Transaction, user_id: UserId, room_id: RoomId, tag: str, content: JsonObject | None
) -> int | None:
    """Change one tag among the others; return None if there is nothing to change."""
    await lock_account_data(tx, user_id, room_id, TAGS)
    tags = _tags(await account_data_content(tx, user_id, room_id, TAGS))
    if content is None:
        if tags.pop(tag, None) is None:
            return None
    else:
        tags[tag] = content
    if len(tags) > _MAXIMUM_TAGS:
        raise TooLarge(f"a room has at most {_MAXIMUM_TAGS} tags")
    return await put_account_data(tx, user_id, room_id, TAGS, orjson.dumps({"tags": tags}))


async def _write_changed(
    tx: Transaction,
    user_id: UserId,
    room_id: RoomId | None,
    data_type: str,
    act: Callable[[JsonObject], JsonObject | None],
) -> int | None:
    await lock_account_data(tx, user_id, room_id, data_type)
    content = await account_data_content(tx, user_id, room_id, data_type)
    changed = act({} if content is None else orjson.loads(content))
    if changed is None:
        return None
    return await put_account_data(tx, user_id, room_id, data_type, orjson.dumps(changed))


def _tags(content: bytes | None) -> JsonObject:
    # A client may have written the type itself, in whatever form.
    tags = {} if content is None else orjson.loads(content).get("tags")
    return tags if isinstance(tags, dict) else {}
