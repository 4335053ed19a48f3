"""A delta as `/initialSync` encodes it, which came before `/sync`.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3initialsync
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import orjson

from tricord.homeserver.stream.tokens import encode_token
from tricord.homeserver.sync.delta import Delta, Json, RoomNews
from tricord.protocol.identifiers import RoomId


def encode_initial_sync(delta: Delta, published: Container[RoomId]) -> bytes:
    """Return the body of the answer; the delta is of the beginning, and its state is that after the timelines."""
    rooms = [
        *(
            _room(delta, published, room_id, b"join", one.news, one.account_data)
            for room_id, one in delta.joined.items()
        ),
        *(
            _room(delta, published, room_id, b"leave", one.news, one.account_data)
            for room_id, one in delta.left.items()
        ),
        *(b'{"room_id":%b,"membership":"invite"}' % orjson.dumps(room_id) for room_id in delta.invited),
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
    start = encode_token(delta.upto if timeline is None else timeline.prev_batch)
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
