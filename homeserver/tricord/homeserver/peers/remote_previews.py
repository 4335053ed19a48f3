"""What other servers tell of rooms that this one is not in; remembered for a while.

https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
import trio
from pydantic import ValidationError

from tricord.clients.api.spaces import RoomSummary
from tricord.federation.calls.queries import Hierarchy
from tricord.federation.errors import PeerError
from tricord.federation.peers import Peers
from tricord.homeserver.rooms.hierarchy import RemotePreview
from tricord.homeserver.rooms.previews import SPACE, Preview
from tricord.homeserver.rooms.space_children import children_of
from tricord.protocol.identifiers import RoomId, ServerName
from tricord.protocol.strict_json import JsonObject

_REMEMBERED_SECONDS = 300
_MISSING_SECONDS = 60
_MOST_BYTES = 32 << 20
_AT_A_TIME = 8
_MOST_SERVERS = 3
_SECONDS_OF_A_SERVER = 8
_SECONDS = 15

_SIZE_OF_NOTHING = 300

# Who was asked, for which room, and whether only for what it suggests.
_Key = tuple[ServerName, RoomId, bool]

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Remembered:
    told: RemotePreview | None
    until: float
    size: int


class RemotePreviews:
    """Asks other servers what rooms are."""

    def __init__(self, peers: Peers, server_name: ServerName) -> None:
        self._peers = peers
        self._server_name = server_name
        self._remembered: OrderedDict[_Key, _Remembered] = OrderedDict()
        self._size = 0

    async def previews(
        self, wanted: Mapping[RoomId, Sequence[ServerName]], *, suggested_only: bool
    ) -> Mapping[RoomId, RemotePreview]:
        """Return what is to be had of each of the rooms from one of the servers given with it, within a while."""
        found: dict[RoomId, RemotePreview] = {}
        turns = trio.CapacityLimiter(_AT_A_TIME)

        async def ask_for(room_id: RoomId, servers: Sequence[ServerName]) -> None:
            async with turns:
                if (told := await self._preview(room_id, servers, suggested_only=suggested_only)) is not None:
                    found[room_id] = told

        with trio.move_on_after(_SECONDS):
            async with trio.open_nursery() as nursery:
                for room_id, servers in wanted.items():
                    nursery.start_soon(ask_for, room_id, servers)
        return found

    async def _preview(
        self, room_id: RoomId, servers: Sequence[ServerName], *, suggested_only: bool
    ) -> RemotePreview | None:
        others = [server for server in servers if server != self._server_name]
        for server in others[:_MOST_SERVERS]:
            # By server: whoever names one that lies has its lies for themselves.
            key = (server, room_id, suggested_only)
            remembered = self._remembered.get(key)
            if remembered is None or remembered.until <= trio.current_time():
                remembered = await self._asked(server, room_id, suggested_only=suggested_only)
                self._remember(key, remembered)
            if remembered.told is not None:
                return remembered.told
        return None

    async def _asked(self, server: ServerName, room_id: RoomId, *, suggested_only: bool) -> _Remembered:
        told: Hierarchy | None = None
        try:
            with trio.move_on_after(_SECONDS_OF_A_SERVER):
                told = await self._peers.hierarchy(server, room_id, suggested_only=suggested_only)
        except PeerError as error:
            _logger.info("a server did not tell of a room", server=server, room_id=room_id, reason=str(error))
        preview = None if told is None else _as_preview(room_id, told, suggested_only=suggested_only)
        if told is None or preview is None:
            return _Remembered(None, trio.current_time() + _MISSING_SECONDS, _SIZE_OF_NOTHING)
        size = len(orjson.dumps([told.room, told.children]))
        return _Remembered(preview, trio.current_time() + _REMEMBERED_SECONDS, size)

    def _remember(self, key: _Key, entry: _Remembered) -> None:
        if (old := self._remembered.pop(key, None)) is not None:
            self._size -= old.size
        self._remembered[key] = entry
        self._size += entry.size
        while self._size > _MOST_BYTES:
            _, oldest = self._remembered.popitem(last=False)
            self._size -= oldest.size


def _as_preview(room_id: RoomId, told: Hierarchy, *, suggested_only: bool) -> RemotePreview | None:
    """Return what the answer says of the room that was asked for, and of those that this room says are in it."""
    summary = _summary(told.room)
    if summary is None or summary.room_id != room_id:
        return None
    stripped = told.room.get("children_state")
    children = children_of(stripped if isinstance(stripped, list) else (), suggested_only=suggested_only)
    named = frozenset(child.room_id for child in children)
    of_children = {
        child.room_id: Preview(child)
        for one in told.children
        # Of a space one wants to know what is in it, too, which is not told here.
        if (child := _summary(one)) is not None and child.room_id in named and child.room_type != SPACE
    }
    return RemotePreview(Preview(summary, children), of_children, named.intersection(told.inaccessible_children))


def _summary(told: JsonObject) -> RoomSummary | None:
    known: dict[str, Any] = {key: value for key, value in told.items() if value is not None}
    try:
        return RoomSummary.model_validate(known)
    except ValidationError:
        return None
