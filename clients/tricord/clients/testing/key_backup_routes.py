"""Routes of key backups.

https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups
"""

from __future__ import annotations

from collections.abc import Iterator

from tricord.clients.api import key_backups as api
from tricord.clients.testing.accounts import Backup
from tricord.clients.testing.call import Call, Route
from tricord.protocol.errors import InvalidParam, NotFound, WrongRoomKeysVersion
from tricord.protocol.strict_json import JsonObject


class KeyBackupRoutes:
    """Keys that users keep here, encrypted."""

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            (api.CreateBackup, self.create),
            (api.GetNewestBackup, lambda call: _info(_newest(call))),
            (api.GetBackup, lambda call: _info(_backup(call, call.path["version"]))),
            (api.UpdateBackup, self.update),
            (api.DeleteBackup, self.delete),
            (api.PutBackedUpKeys, self.put),
            (api.PutRoomBackedUpKeys, self.put),
            (api.PutSessionBackedUpKey, self.put),
            (api.GetBackedUpKeys, self.get),
            (api.GetRoomBackedUpKeys, self.get),
            (api.GetSessionBackedUpKey, self.get),
            (api.DeleteBackedUpKeys, self.delete_keys),
            (api.DeleteRoomBackedUpKeys, self.delete_keys),
            (api.DeleteSessionBackedUpKey, self.delete_keys),
        ]

    def create(self, call: Call) -> JsonObject:
        """Begin a backup."""
        backups = call.user.backups
        backups.append(Backup(str(len(backups) + 1), call.body.algorithm, call.body.auth_data))
        return {"version": backups[-1].version}

    def update(self, call: Call) -> JsonObject:
        """Change what is to be known of a backup; the algorithm stays."""
        backup = _backup(call, call.path["version"])
        if call.body.algorithm != backup.algorithm:
            raise InvalidParam("the algorithm of a backup does not change")
        backup.auth_data = call.body.auth_data
        return {}

    def delete(self, call: Call) -> JsonObject:
        """Delete a backup with its keys."""
        _backup(call, call.path["version"]).is_deleted = True
        return {}

    def put(self, call: Call) -> JsonObject:
        """Keep keys, unless there are better ones."""
        backup = _newest(call)
        if call.query.version != backup.version:
            raise WrongRoomKeysVersion(f"the newest backup is {backup.version}", current_version=backup.version)
        for room_id, session_id, key in _given(call):
            known = backup.keys.get((room_id, session_id))
            if known is None or _worth(key) > _worth(known):
                backup.keys[(room_id, session_id)] = key
                backup.changes += 1
        return _state(backup)

    def get(self, call: Call) -> JsonObject:
        """Give keys: all, those of a room, or one."""
        backup = _backup(call, call.query.version)
        room_id, session_id = call.path.get("room_id"), call.path.get("session_id")
        rooms: dict[str, JsonObject] = {}
        for (of_room, of_session), key in backup.keys.items():
            if room_id in {None, of_room} and session_id in {None, of_session}:
                rooms.setdefault(of_room, {"sessions": {}})["sessions"][of_session] = key
        if room_id is None:
            return {"rooms": rooms}
        sessions: JsonObject = rooms.get(room_id, {"sessions": {}})
        if session_id is None:
            return sessions
        if session_id not in sessions["sessions"]:
            raise NotFound(f"there is no key of the session {session_id}")
        found: JsonObject = sessions["sessions"][session_id]
        return found

    def delete_keys(self, call: Call) -> JsonObject:
        """Forget keys: all, those of a room, or one."""
        backup = _backup(call, call.query.version)
        room_id, session_id = call.path.get("room_id"), call.path.get("session_id")
        for name in list(backup.keys):
            if room_id in {None, name[0]} and session_id in {None, name[1]}:
                del backup.keys[name]
                backup.changes += 1
        return _state(backup)


def _given(call: Call) -> Iterator[tuple[str, str, JsonObject]]:
    room_id, session_id = call.path.get("room_id"), call.path.get("session_id")
    if session_id is not None:
        yield str(room_id), session_id, call.body
        return
    rooms = call.body.rooms if room_id is None else {room_id: call.body}
    for of_room, keys in rooms.items():
        for of_session, key in keys.sessions.items():
            yield of_room, of_session, key


def _worth(key: JsonObject) -> tuple[bool, int, int]:
    """Return what makes a key better: verified, then reaching further back, then passed on less often."""
    return bool(key.get("is_verified")), -int(key.get("first_message_index", 0)), -int(key.get("forwarded_count", 0))


def _newest(call: Call) -> Backup:
    for backup in reversed(call.user.backups):
        if not backup.is_deleted:
            return backup
    raise NotFound("there is no backup")


def _backup(call: Call, version: str) -> Backup:
    for backup in call.user.backups:
        if backup.version == version and not backup.is_deleted:
            return backup
    raise NotFound(f"there is no backup {version}")


def _state(backup: Backup) -> JsonObject:
    return {"count": len(backup.keys), "etag": str(backup.changes)}


def _info(backup: Backup) -> JsonObject:
    return {
        "version": backup.version,
        "algorithm": backup.algorithm,
        "auth_data": backup.auth_data,
        **_state(backup),
    }
