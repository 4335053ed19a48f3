"""What a client has been told on a connection, as a value: for each room, up to where and how much of it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from tricord.homeserver.sync.sliding.wishes import RequiredState, StateWish
from tricord.protocol.identifiers import RoomId

ACCOUNT_DATA = 1
RECEIPTS = 2
TYPING = 4


class RoomTold(NamedTuple):
    """What a client has been told of one room."""

    # None: all up to the position of the connection, whatever that becomes, as long as nothing is left out.
    upto: int | None
    membership: str
    # The client has this many of the room's last events, if there are as many.
    limit: int = 0
    # The state that it was told, and has been kept up to date about since.
    required: RequiredState = RequiredState()
    is_dm: bool = False
    # Which of the extensions that are about rooms have begun to be told.
    extensions: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What a client has been told of its rooms. Never changed: the answer after may get lost."""

    told_id: int = 0
    rooms: Mapping[RoomId, RoomTold] = field(default_factory=dict)
    # Of what the client looked at, to notice that it looks at something else.
    request: int = 0
    # Whether account data of the account has begun to be told.
    account_data: bool = False

    def encode(self) -> bytes:
        """Return it as bytes; rooms of which the same is known are together."""
        required: dict[RequiredState, int] = {}
        alike: dict[RoomTold, list[RoomId]] = {}
        for room_id, room in self.rooms.items():
            required.setdefault(room.required, len(required))
            alike.setdefault(room, []).append(room_id)
        value = {
            "request": self.request,
            "account_data": self.account_data,
            "required": [[wish.as_json() for wish in one.wishes] for one in required],
            "rooms": [
                [room.upto, room.membership, room.limit, required[room.required], room.is_dm, room.extensions, ids]
                for room, ids in alike.items()
            ],
        }
        return zlib.compress(orjson.dumps(value), 1)

    @classmethod
    def decode(cls, told_id: int, encoded: bytes) -> Told:
        """Return what `encode` was given."""
        value: dict[str, Any] = orjson.loads(zlib.decompress(encoded))
        required = [RequiredState(tuple(StateWish.from_json(wish) for wish in one)) for one in value["required"]]
        rooms: dict[RoomId, RoomTold] = {}
        for upto, membership, limit, number, is_dm, extensions, room_ids in value["rooms"]:
            room = RoomTold(upto, membership, limit, required[number], is_dm, extensions)
            rooms.update(dict.fromkeys(room_ids, room))
        return cls(told_id, rooms, value["request"], value["account_data"])
