"""Backups of keys, which the homeserver cannot read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tricord.clients.api import key_backups as api
from tricord.clients.api.key_backups import BackupInfo, BackupState
from tricord.clients.calls.base import Calls
from tricord.protocol.identifiers import RoomId

Keys = Mapping[RoomId, Mapping[str, dict[str, Any]]]
"""Keys by room and session."""


class KeyBackupCalls(Calls):
    """Beginning backups, storing keys there, and reading them."""

    async def create_key_backup(self, algorithm: str, auth_data: dict[str, Any]) -> str:
        """Begin a new backup; return its version.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3room_keysversion
        """
        body = {"algorithm": algorithm, "auth_data": auth_data}
        return (await self.http.typed(api.CreateBackup, api.BackupVersion, body=body)).version

    async def key_backup(self, version: str | None = None) -> BackupInfo:
        """Return what is to be known of a backup, the newest if no version is named.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keysversion
        """
        if version is None:
            return await self.http.typed(api.GetNewestBackup, BackupInfo)
        return await self.http.typed(api.GetBackup, BackupInfo, {"version": version})

    async def update_key_backup(self, version: str, algorithm: str, auth_data: dict[str, Any]) -> None:
        """Change the `auth_data` of a backup.

        https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keysversionversion
        """
        body = {"algorithm": algorithm, "auth_data": auth_data}
        await self.http.call(api.UpdateBackup, {"version": version}, body=body)

    async def delete_key_backup(self, version: str) -> None:
        """Delete a backup with its keys.

        https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keysversionversion
        """
        await self.http.call(api.DeleteBackup, {"version": version})

    async def back_up_keys(self, version: str, keys: Keys) -> BackupState:
        """Store keys in the newest backup; one that is worse than what is there changes nothing.

        https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeys
        """
        query = {"version": version}
        if len(keys) != 1:
            body: dict[str, Any] = {"rooms": {room: {"sessions": dict(of_room)} for room, of_room in keys.items()}}
            return await self.http.typed(api.PutBackedUpKeys, BackupState, query=query, body=body)
        [(room_id, sessions)] = keys.items()
        if len(sessions) != 1:
            body = {"sessions": dict(sessions)}
            path = {"room_id": room_id}
            return await self.http.typed(api.PutRoomBackedUpKeys, BackupState, path, query=query, body=body)
        [(session_id, body)] = sessions.items()
        of_session = {"room_id": room_id, "session_id": session_id}
        return await self.http.typed(api.PutSessionBackedUpKey, BackupState, of_session, query=query, body=body)

    async def backed_up_keys(self, version: str) -> dict[RoomId, dict[str, dict[str, Any]]]:
        """Return all keys in a backup, by room and session.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeys
        """
        endpoint = api.GetBackedUpKeys
        answer = await self.http.typed(endpoint, endpoint.Response, query={"version": version})
        return {RoomId(room_id): room.sessions for room_id, room in answer.rooms.items()}

    async def backed_up_keys_of(self, version: str, room_id: RoomId) -> dict[str, dict[str, Any]]:
        """Return the keys of a room in a backup, by session.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeysroomid
        """
        path, query = {"room_id": room_id}, {"version": version}
        return (await self.http.typed(api.GetRoomBackedUpKeys, api.RoomKeys, path, query=query)).sessions

    async def backed_up_key(self, version: str, room_id: RoomId, session_id: str) -> dict[str, Any]:
        """Return the key of a session in a backup.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeysroomidsessionid
        """
        path = {"room_id": room_id, "session_id": session_id}
        key: dict[str, Any] = await self.http.call(api.GetSessionBackedUpKey, path, query={"version": version})
        return key

    async def delete_backed_up_keys(
        self, version: str, room_id: RoomId | None = None, session_id: str | None = None
    ) -> BackupState:
        """Delete from a backup all keys, those of a room, or the one of a session.

        https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeys
        """
        query = {"version": version}
        if room_id is None:
            return await self.http.typed(api.DeleteBackedUpKeys, BackupState, query=query)
        if session_id is None:
            return await self.http.typed(api.DeleteRoomBackedUpKeys, BackupState, {"room_id": room_id}, query=query)
        path = {"room_id": room_id, "session_id": session_id}
        return await self.http.typed(api.DeleteSessionBackedUpKey, BackupState, path, query=query)
