"""Routes of backups of keys."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.key_backups import (
    BackupVersion,
    CreateBackup,
    DeleteBackedUpKeys,
    DeleteBackup,
    DeleteRoomBackedUpKeys,
    DeleteSessionBackedUpKey,
    GetBackedUpKeys,
    GetBackup,
    GetNewestBackup,
    GetRoomBackedUpKeys,
    GetSessionBackedUpKey,
    PutBackedUpKeys,
    PutRoomBackedUpKeys,
    PutSessionBackedUpKey,
    RoomKeys,
    UpdateBackup,
)
from tricord.homeserver.encryption.key_backups import KeyBackups, KeysByRoom
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import NotFound
from tricord.protocol.strict_json import JsonObject

Versioned = Call[Any, BackupVersion]


class KeyBackupsApi:
    """One's own backups."""

    def __init__(self, backups: KeyBackups) -> None:
        self._backups = backups

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(CreateBackup, self.create),
            Route(GetNewestBackup, self.newest),
            Route(GetBackup, self.info),
            Route(UpdateBackup, self.update),
            Route(DeleteBackup, self.delete),
            Route(PutBackedUpKeys, self.put_all),
            Route(PutRoomBackedUpKeys, self.put_of_room),
            Route(PutSessionBackedUpKey, self.put_of_session),
            Route(GetBackedUpKeys, self.all),
            Route(GetRoomBackedUpKeys, self.of_room),
            Route(GetSessionBackedUpKey, self.of_session),
            Route(DeleteBackedUpKeys, self.delete_keys),
            Route(DeleteRoomBackedUpKeys, self.delete_keys),
            Route(DeleteSessionBackedUpKey, self.delete_keys),
        ]

    async def create(self, call: Call[CreateBackup.Body, Any]) -> JsonObject:
        """Begin a new backup."""
        version = await self._backups.create(call.requester.user_id, call.body.algorithm, call.body.auth_data)
        return {"version": version}

    async def newest(self, call: Call[Any, Any]) -> JsonObject:
        """Answer what is to be known of the newest backup."""
        return await self._backups.info(call.requester.user_id, None)

    async def info(self, call: Call[Any, Any]) -> JsonObject:
        """Answer what is to be known of a backup."""
        return await self._backups.info(call.requester.user_id, call.path["version"])

    async def update(self, call: Call[UpdateBackup.Body, Any]) -> JsonObject:
        """Change how a backup can be trusted."""
        body = call.body
        await self._backups.update(
            call.requester.user_id, call.path["version"], body.algorithm, body.auth_data, body.version
        )
        return {}

    async def delete(self, call: Call[Any, Any]) -> JsonObject:
        """Delete a backup."""
        await self._backups.delete(call.requester.user_id, call.path["version"])
        return {}

    async def put_all(self, call: Call[PutBackedUpKeys.Body, BackupVersion]) -> JsonObject:
        """Keep keys of several rooms."""
        return await self._put(call, {room_id: room.sessions for room_id, room in call.body.rooms.items()})

    async def put_of_room(self, call: Call[RoomKeys, BackupVersion]) -> JsonObject:
        """Keep keys of a room."""
        return await self._put(call, {call.path["room_id"]: call.body.sessions})

    async def put_of_session(self, call: Versioned) -> JsonObject:
        """Keep the key of a session."""
        return await self._put(call, {call.path["room_id"]: {call.path["session_id"]: call.body}})

    async def all(self, call: Versioned) -> JsonObject:
        """Answer all keys."""
        found = await self._backups.keys(call.requester.user_id, call.query.version)
        return {"rooms": {room_id: {"sessions": sessions} for room_id, sessions in found.items()}}

    async def of_room(self, call: Versioned) -> JsonObject:
        """Answer the keys of a room."""
        room_id = call.path["room_id"]
        found = await self._backups.keys(call.requester.user_id, call.query.version, room_id)
        return {"sessions": found.get(room_id, {})}

    async def of_session(self, call: Versioned) -> JsonObject:
        """Answer the key of a session."""
        room_id, session_id = call.path["room_id"], call.path["session_id"]
        found = await self._backups.keys(call.requester.user_id, call.query.version, room_id, session_id)
        if not found:
            raise NotFound("there is no key of this session")
        return found[room_id][session_id]

    async def delete_keys(self, call: Versioned) -> JsonObject:
        """Delete all keys, those of a room, or the one of a session."""
        return await self._backups.delete_keys(
            call.requester.user_id, call.query.version, call.path.get("room_id"), call.path.get("session_id")
        )

    async def _put(self, call: Versioned, keys: KeysByRoom) -> JsonObject:
        return await self._backups.put(call.requester.user_id, call.query.version, keys)
