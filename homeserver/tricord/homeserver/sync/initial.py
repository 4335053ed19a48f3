"""All rooms at once, as `/initialSync` tells them, which came before `/sync`: a delta of the beginning, told its way.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3initialsync
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Container, Mapping, Sequence

import orjson

from tricord.homeserver.rooms.client_events import ClientEvents
from tricord.homeserver.rooms.memberships import Membership, Memberships
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.stream.tokens import encode_place, encode_token
from tricord.homeserver.sync.delta import Delta, Json, RoomNews
from tricord.homeserver.sync.engine import SyncEngine
from tricord.homeserver.sync.filters import SyncFilters
from tricord.homeserver.sync.viewer import Viewer
from tricord.protocol.identifiers import RoomId

PublishedRooms = Callable[[], Awaitable[Container[RoomId]]]


class InitialSyncs:
    """Shows all rooms at once."""

    def __init__(
        self,
        engine: SyncEngine,
        filters: SyncFilters,
        memberships: Memberships,
        timeline: Timeline,
        client_events: ClientEvents,
        published: PublishedRooms,
    ) -> None:
        self._engine = engine
        self._filters = filters
        self._memberships = memberships
        self._timeline = timeline
        self._client_events = client_events
        self._published = published

    async def body(self, requester: Requester, limit: int, *, archived: bool) -> bytes:
        """Return the body of the answer; `archived`: with the rooms that the user has left."""
        room = {"timeline": {"limit": limit}, "include_leave": archived}
        wanted = await self._filters.of(requester.user_id, {"room": room})
        viewer = Viewer(requester.user_id, requester.device_id, requester.session_id, wanted, use_state_after=True)
        delta = await self._engine.next_delta(viewer, None, at_once=True)
        outside = await self._memberships.memberships(requester.user_id, [*delta.left, *delta.invited])
        return encode_initial_sync(
            delta,
            await self._published(),
            banned_from={room_id for room_id, now in outside.items() if now.membership == "ban"},
            invitations=await self._invitations(requester, outside.values()),
        )

    async def _invitations(self, requester: Requester, outside: Collection[Membership]) -> dict[RoomId, object]:
        """Return the events by which somebody is invited to rooms."""
        events = await self._timeline.events([now.event_id for now in outside if now.membership == "invite"])
        told = await self._client_events.state(requester, list(events.values()))
        return {stored.event.room_id: event for stored, event in zip(events.values(), told, strict=True)}


def encode_initial_sync(
    delta: Delta,
    published: Container[RoomId],
    *,
    banned_from: Container[RoomId],
    invitations: Mapping[RoomId, object],
) -> bytes:
    """Return the body of the answer; the delta is of the beginning, and its state is that after the timelines."""
    rooms = [
        *(
            _room(delta, published, room_id, b"join", one.news, one.account_data)
            for room_id, one in delta.joined.items()
        ),
        *(
            _room(delta, published, room_id, b"ban" if room_id in banned_from else b"leave", one.news, one.account_data)
            for room_id, one in delta.left.items()
        ),
        # Whoever has accepted or declined meanwhile is told so by what follows.
        *(
            orjson.dumps({"room_id": room_id, "membership": "invite", "invite": invitations[room_id]})
            for room_id in delta.invited
            if room_id in invitations
        ),
    ]
    return b'{"end":"%b","rooms":[%b],"presence":[%b],"account_data":[%b]}' % (
        encode_token(delta.upto).encode(),
        b",".join(rooms),
        b",".join(delta.presence),
        b",".join(delta.account_data),
    )


def _room(
    delta: Delta,
    published: Container[RoomId],
    room_id: RoomId,
    membership: bytes,
    news: RoomNews,
    account_data: Sequence[Json],
) -> bytes:
    timeline = news.timeline
    start = encode_token(delta.upto) if timeline is None else encode_place(timeline.prev_batch)
    return (
        b'{"room_id":%b,"membership":"%b","visibility":"%b","messages":{"start":"%b","end":"%b","chunk":[%b]},'
        b'"state":[%b],"account_data":[%b]}'
    ) % (
        orjson.dumps(room_id),
        membership,
        b"public" if room_id in published else b"private",
        start.encode(),
        encode_token(delta.upto).encode(),
        b",".join(_with_room_id(room_id, () if timeline is None else timeline.events)),
        b",".join(_with_room_id(room_id, news.state or ())),
        b",".join(account_data),
    )


def _with_room_id(room_id: RoomId, events: Sequence[Json]) -> list[bytes]:
    """Return events that say which room they are of, as those of `/sync` need not."""
    opening = b'{"room_id":%b,' % orjson.dumps(room_id)
    return [opening + event[1:] for event in events]
