"""What is no event, in the form in which it goes to other servers: receipts, typing, presence, news of devices.

https://spec.matrix.org/v1.19/server-server-api/#edus
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from tricord.homeserver.accounts.presence import presence_content
from tricord.homeserver.storage.presence import Presence
from tricord.homeserver.storage.receipts import UNTHREADED, Receipt
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.strict_json import JsonObject


def typing_edu(room_id: RoomId, user_id: UserId, *, typing: bool) -> JsonObject:
    """Say that a user is typing, or no longer."""
    return {"edu_type": "m.typing", "content": {"room_id": room_id, "user_id": user_id, "typing": typing}}


def durable_edu(stored: bytes, *, tells_device_names: bool) -> JsonObject:
    """Say what was written down to be sent: of devices and their keys, and messages between devices."""
    edu: JsonObject = orjson.loads(stored)
    if edu["edu_type"] == "m.device_list_update" and not tells_device_names:
        edu["content"].pop("device_display_name", None)
    return edu


def presence_edu(presences: Iterable[Presence], now_ms: int) -> JsonObject:
    """Say who is there."""
    push = [{"user_id": one.user_id, **presence_content(one, now_ms)} for one in presences]
    return {"edu_type": "m.presence", "content": {"push": push}}


def receipt_edus(receipts: Iterable[Receipt]) -> Iterator[JsonObject]:
    """Say who has read how far. One EDU has one receipt of a user in a room; those of further threads need more."""
    layers: list[JsonObject] = []
    seen: dict[tuple[RoomId, UserId], int] = {}
    for receipt in receipts:
        key = (receipt.room_id, receipt.user_id)
        layer = seen[key] = seen.get(key, -1) + 1
        if layer == len(layers):
            layers.append({})
        data: JsonObject = {"ts": receipt.received_ts}
        if receipt.thread_id != UNTHREADED:
            data["thread_id"] = receipt.thread_id
        users = layers[layer].setdefault(receipt.room_id, {}).setdefault("m.read", {})
        users[receipt.user_id] = {"event_ids": [receipt.event_id], "data": data}
    for content in layers:
        yield {"edu_type": "m.receipt", "content": content}
