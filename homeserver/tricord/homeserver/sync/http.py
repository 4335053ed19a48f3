"""A delta as `/sync` v2 encodes it: JSON spliced from pieces that were encoded once.

https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from tricord.homeserver.push.counts import Count
from tricord.homeserver.stream.tokens import encode_place, encode_token
from tricord.homeserver.sync.delta import Delta, DeviceNews, JoinedRoom, Json, LeftRoom, RoomNews
from tricord.homeserver.sync.room_reads import marks_of
from tricord.protocol.identifiers import RoomId


def encode_sync(delta: Delta) -> bytes:
    """Return the body of the answer."""
    return b'{"next_batch":"%b",%b}' % (
        delta_token(delta),
        b",".join((*encode_sections(delta), *_always(delta.devices))),
    )


def delta_token(delta: Delta) -> bytes:
    """Return the token of whoever has a delta."""
    messages_upto, left_out = delta.devices.messages_upto, marks_of(delta.left_out)
    return encode_token(delta.upto, messages_upto=messages_upto, left_out=left_out).encode()


def encode_sections(delta: Delta) -> list[bytes]:
    """Return the sections that say something, as members of a JSON object."""
    members: list[bytes] = []
    if delta.joined or delta.invited or delta.knocked or delta.left:
        members.append(b'"rooms":{%b}' % b",".join(_rooms(delta)))
    if delta.account_data:
        members.append(_batch(b"account_data", delta.account_data))
    if delta.presence:
        members.append(_batch(b"presence", delta.presence))
    if delta.devices.messages:
        members.append(b'"to_device":{"events":[%b]}' % b",".join(delta.devices.messages))
    if lists := delta.devices.lists:
        members.append(b'"device_lists":%b' % orjson.dumps({"changed": lists.changed, "left": lists.left}))
    if delta.devices.one_time_keys or delta.devices.unused_fallback_keys:
        members.append(b'"device_one_time_keys_count":%b' % orjson.dumps(delta.devices.one_time_keys))
        members.append(b'"device_unused_fallback_key_types":%b' % orjson.dumps(delta.devices.unused_fallback_keys))
    return members


def _always(devices: DeviceNews) -> Iterable[bytes]:
    """Give what `/sync` says even if there is nothing: clients learn from it that the server knows fallback keys."""
    if not (devices.one_time_keys or devices.unused_fallback_keys):
        yield b'"device_one_time_keys_count":{},"device_unused_fallback_key_types":[]'
    if not devices.messages:
        yield b'"to_device":{"events":[]}'
    if not devices.lists:
        yield b'"device_lists":{"changed":[],"left":[]}'


def _rooms(delta: Delta) -> Iterable[bytes]:
    if delta.joined:
        yield _by_room(b"join", ((room_id, joined_room(room)) for room_id, room in delta.joined.items()))
    if delta.invited:
        yield _by_room(b"invite", ((r, b"{%b}" % _batch(b"invite_state", state)) for r, state in delta.invited.items()))
    if delta.knocked:
        yield _by_room(b"knock", ((r, b"{%b}" % _batch(b"knock_state", state)) for r, state in delta.knocked.items()))
    if delta.left:
        yield _by_room(b"leave", ((room_id, _left_room(room)) for room_id, room in delta.left.items()))


def joined_room(room: JoinedRoom) -> bytes:
    """Return one room of the `join` section."""
    members = [room_news(room.news)]
    if room.summary is not None:
        members.append(b'"summary":%b' % orjson.dumps(room.summary))
    if room.account_data:
        members.append(_batch(b"account_data", room.account_data))
    if room.unread is not None:
        members.append(b'"unread_notifications":%b' % _counts(room.unread))
    if room.unread_threads is not None:
        threads = b",".join(
            b"%b:%b" % (orjson.dumps(root), _counts(counts)) for root, counts in room.unread_threads.items()
        )
        members.append(b'"unread_thread_notifications":{%b}' % threads)
    return b"{%b}" % b",".join(member for member in members if member)


def _left_room(room: LeftRoom) -> bytes:
    members = [room_news(room.news)]
    if room.account_data:
        members.append(_batch(b"account_data", room.account_data))
    return b"{%b}" % b",".join(member for member in members if member)


def room_news(news: RoomNews) -> bytes:
    """Return what all are told, as members of a JSON object; encoded at the first call only."""
    if news.encoded is None:
        members: list[bytes] = []
        if news.state is not None:
            members.append(_batch(b"state_after" if news.state_is_after else b"state", news.state))
        if (timeline := news.timeline) is not None:
            members.append(
                b'"timeline":{"events":[%b],"limited":%b,"prev_batch":"%b"}'
                % (
                    b",".join(timeline.events),
                    b"true" if timeline.limited else b"false",
                    encode_place(timeline.prev_batch).encode(),
                )
            )
        if news.ephemeral:
            members.append(_batch(b"ephemeral", news.ephemeral))
        news.encoded = b",".join(members)
    return news.encoded


def _by_room(name: bytes, rooms: Iterable[tuple[RoomId, bytes]]) -> bytes:
    return b'"%b":{%b}' % (name, b",".join(b"%b:%b" % (orjson.dumps(room_id), body) for room_id, body in rooms))


def _batch(name: bytes, events: Iterable[Json]) -> bytes:
    return b'"%b":{"events":[%b]}' % (name, b",".join(events))


def _counts(counts: Count) -> bytes:
    return b'{"notification_count":%d,"highlight_count":%d}' % (counts.notifications, counts.highlights)
