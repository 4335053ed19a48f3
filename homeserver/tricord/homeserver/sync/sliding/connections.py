"""The connections of sliding sync: what each was told, in memory, and in the database so that restarts lose nothing.

A token names what the connection was told, and the position up to which. What is remembered changes only when rooms
come, fall behind, or are looked at in another way; as long as it does not, an answer writes nothing.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict
from dataclasses import replace
from typing import NamedTuple

from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.sliding_sync import put_told, told_by_id
from tricord.homeserver.stream.tokens import decode_token, encode_token
from tricord.homeserver.sync.sliding.told import Told
from tricord.protocol.errors import InvalidParam, MatrixError

# Rooms of all connections: some hundred bytes each.
_MOST_REMEMBERED = 500_000
_MOST_OF_A_CONNECTION = 4
_TOLD_ID = re.compile(r"[^~]+~([0-9a-f]{1,16})")


class UnknownPosition(MatrixError):
    """The connection is not known any more: the client starts from scratch."""

    errcode = "M_UNKNOWN_POS"


class Name(NamedTuple):
    """What a connection is known by."""

    session_id: int
    conn_id: str


class Connections:
    """Keeps what connections were told."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: OrderedDict[Name, dict[int, Told]] = OrderedDict()
        self._size = 0

    async def at(self, name: Name, pos: str) -> tuple[Told, int]:
        """Return what a connection was told when it was given a token, and the position. Raises UnknownPosition."""
        found = _TOLD_ID.fullmatch(pos)
        try:
            position = decode_token(pos)
        except InvalidParam as error:
            raise UnknownPosition("`pos` was never given out") from error
        if found is None:
            raise UnknownPosition("`pos` is not a position of sliding sync")
        told_id = int(found[1], 16)
        known = self._known.get(name)
        if known is not None and (told := known.get(told_id)) is not None:
            self._known.move_to_end(name)
            return told, position
        encoded = None
        if told_id < 1 << 63:
            encoded = await self._database.read(told_by_id, name.session_id, name.conn_id, told_id)
        if encoded is None:
            raise UnknownPosition("this connection is not known any more")
        told = Told.decode(told_id, encoded)
        self._remember(name, told)
        return told, position

    async def keep(self, name: Name, before: Told, after: Told) -> Told:
        """Keep what a connection is about to be told, before it is; return it with the number it got."""
        if before.told_id and replace(after, told_id=before.told_id) == before:
            return before
        told = replace(after, told_id=secrets.randbits(62) | 1)
        keep = [before.told_id] if before.told_id else []
        await self._database.read(put_told, name.session_id, name.conn_id, told.told_id, told.encode(), keep=keep)
        if not keep:
            self._forget(name)
        self._remember(name, told)
        return told

    def _remember(self, name: Name, told: Told) -> None:
        known = self._known.setdefault(name, {})
        self._known.move_to_end(name)
        known[told.told_id] = told
        self._size += len(told.rooms) + 1
        while len(known) > _MOST_OF_A_CONNECTION:
            self._size -= len(known.pop(next(iter(known))).rooms) + 1
        while self._size > _MOST_REMEMBERED and len(self._known) > 1:
            self._forget(next(iter(self._known)))

    def _forget(self, name: Name) -> None:
        self._size -= sum(len(told.rooms) + 1 for told in self._known.pop(name, {}).values())


def pos_token(told: Told, position: int) -> str:
    """Return the token of what a connection was told up to a position."""
    return f"{encode_token(position)}~{told.told_id:x}"
