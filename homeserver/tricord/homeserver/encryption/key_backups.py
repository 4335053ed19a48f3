"""Backups of keys: written to the newest version only, and never replaced by worse keys.

https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tricord.homeserver.storage import key_backups as storage
from tricord.homeserver.storage.accounts import locked_account
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.key_backups import BackedUpKey, Backup
from tricord.protocol.errors import InvalidParam, NotFound, TooLarge, WrongRoomKeysVersion
from tricord.protocol.identifiers import UserId, fits
from tricord.protocol.strict_json import JsonObject

_MOST_KEYS = 20_000
_MOST_BYTES_OF_AUTH_DATA = 32 << 10
_MOST_BYTES_OF_KEY = 16 << 10
_LARGEST = 2**53 - 1

KeysByRoom = Mapping[str, Mapping[str, Any]]
"""Keys by room and session."""


class KeyBackups:
    """Keeps backups of local users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: UserId, algorithm: str, auth_data: JsonObject) -> str:
        """Begin a new backup; return its version."""
        if not fits(algorithm) or "\0" in algorithm:
            raise InvalidParam("the name of the algorithm is too long")
        encoded = _encoded_auth_data(auth_data)

        async def insert(tx: Transaction) -> int:
            await locked_account(tx, user_id)
            return await storage.insert_backup(tx, user_id, algorithm, encoded)

        return str(await self._database.run(insert))

    async def info(self, user_id: UserId, version: str | None) -> JsonObject:
        """Return what is to be known of a backup, the newest if no version is named."""
        found = await self._database.read(_backup, user_id, None if version is None else _number(version))
        return {
            "algorithm": found.algorithm,
            "auth_data": orjson.Fragment(found.auth_data),
            "version": str(found.version),
            **_state(found),
        }

    async def update(
        self, user_id: UserId, version: str, algorithm: str, auth_data: JsonObject, named_version: str | None
    ) -> None:
        """Change the `auth_data` of a backup, and nothing else."""
        if named_version is not None and named_version != version:
            raise InvalidParam("the version in the body is not the one in the path")
        encoded = _encoded_auth_data(auth_data)

        async def set_auth_data(tx: Transaction) -> None:
            found = await _backup(tx, user_id, _number(version), lock=True)
            if found.algorithm != algorithm:
                raise InvalidParam("the algorithm of a backup does not change")
            await storage.set_auth_data(tx, user_id, found.version, encoded)

        await self._database.run(set_auth_data)

    async def delete(self, user_id: UserId, version: str) -> None:
        """Delete a backup with its keys; once more is as well."""
        if not await self._database.run(storage.delete_backup, user_id, _number(version)):
            raise NotFound("there is no such backup")

    async def put(self, user_id: UserId, version: str, keys: KeysByRoom) -> JsonObject:
        """Keep those of the keys that are better than what is there; return the state of the backup."""
        checked = [
            _checked(room_id, session_id, key)
            for room_id, sessions in keys.items()
            for session_id, key in sessions.items()
        ]
        if len(checked) > _MOST_KEYS:
            raise TooLarge(f"one stores at most {_MOST_KEYS} keys at once")

        async def put(tx: Transaction) -> Backup:
            newest = await _backup(tx, user_id, None, lock=True)
            if str(newest.version) != version:
                raise WrongRoomKeysVersion("this is not the newest backup", current_version=str(newest.version))
            return await storage.put_better_keys(tx, user_id, newest.version, checked)

        return _state(await self._database.run(put))

    async def keys(
        self, user_id: UserId, version: str, room_id: str | None = None, session_id: str | None = None
    ) -> dict[str, dict[str, JsonObject]]:
        """Return keys by room and session: all, those of a room, or the one of a session."""

        async def read(tx: Transaction) -> list[BackedUpKey]:
            found = await _backup(tx, user_id, _number(version))
            return await storage.backed_up_keys(tx, user_id, found.version, _name(room_id), _name(session_id))

        by_room: dict[str, dict[str, JsonObject]] = {}
        for key in await self._database.read(read):
            by_room.setdefault(key.room_id, {})[key.session_id] = {
                "first_message_index": key.first_message_index,
                "forwarded_count": key.forwarded_count,
                "is_verified": key.is_verified,
                "session_data": orjson.Fragment(key.session_data),
            }
        return by_room

    async def delete_keys(
        self, user_id: UserId, version: str, room_id: str | None = None, session_id: str | None = None
    ) -> JsonObject:
        """Delete the same; return the state of the backup."""

        async def delete(tx: Transaction) -> Backup:
            found = await _backup(tx, user_id, _number(version), lock=True)
            return await storage.delete_backed_up_keys(tx, user_id, found.version, _name(room_id), _name(session_id))

        return _state(await self._database.run(delete))


async def _backup(tx: Transaction, user_id: UserId, version: int | None, *, lock: bool = False) -> Backup:
    found = await storage.backup(tx, user_id, version, lock=lock)
    if found is None:
        raise NotFound("there is no such backup")
    return found


def _number(version: str) -> int:
    if not (version.isascii() and version.isdigit() and len(version) < 16):
        raise NotFound("there is no such backup")
    return int(version)


def _name(name: str | None) -> str | None:
    # PostgreSQL refuses NUL even to look for it.
    if name is not None and "\0" in name:
        raise NotFound("there is no such key")
    return name


def _state(found: Backup) -> JsonObject:
    return {"count": found.count, "etag": str(found.etag)}


def _encoded_auth_data(auth_data: JsonObject) -> bytes:
    encoded = orjson.dumps(auth_data)
    if len(encoded) > _MOST_BYTES_OF_AUTH_DATA:
        raise TooLarge(f"`auth_data` has at most {_MOST_BYTES_OF_AUTH_DATA} bytes")
    return encoded


def _checked(room_id: str, session_id: str, key: Any) -> BackedUpKey:
    if not fits(room_id) or not fits(session_id) or "\0" in room_id + session_id:
        raise InvalidParam("the id of a room or a session is too long")
    if not isinstance(key, dict) or not isinstance(key.get("session_data"), dict):
        raise InvalidParam("the key of a session has its data")
    first, forwarded, is_verified = (key.get(n) for n in ("first_message_index", "forwarded_count", "is_verified"))
    if not _is_count(first) or not _is_count(forwarded) or not isinstance(is_verified, bool):
        raise InvalidParam("a key has its first index, how often it was forwarded, and whether it was verified")
    data = orjson.dumps(key["session_data"])
    if len(data) > _MOST_BYTES_OF_KEY:
        raise TooLarge(f"the key of a session has at most {_MOST_BYTES_OF_KEY} bytes")
    return BackedUpKey(room_id, session_id, is_verified, int(first or 0), int(forwarded or 0), data)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST
