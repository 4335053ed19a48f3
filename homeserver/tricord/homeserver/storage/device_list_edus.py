"""What other servers are told of changed devices, written in the transaction that changes them.

https://spec.matrix.org/v1.19/server-server-api/#device-management
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson

from tricord.homeserver.storage.cross_signing import cross_signing_keys_of, key_signatures_of
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.outgoing import put_outgoing_edus
from tricord.protocol.identifiers import DeviceId, ServerName, UserId


async def servers_sharing_rooms(tx: Transaction, user_id: UserId) -> list[ServerName]:
    """Return the other servers that are in a room together with a local user."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT s.server_name FROM room_memberships m JOIN room_servers s USING (room_nid)
        WHERE m.user_id = $1 AND m.membership = 'join' AND s.until IS NULL
        """,
        user_id,
    )
    return [row[0] for row in rows]


async def introduce(tx: Transaction, upto: int) -> set[ServerName]:
    """Tell servers of the devices of local users with whom they newly share a room, up to a position; return which."""
    after: int = await tx.fetchval("SELECT position FROM introductions FOR UPDATE")
    if after >= upto:
        return set()
    rows = await tx.fetch(
        """
        WITH met AS (
            SELECT m.user_id, s.server_name FROM room_memberships m JOIN room_servers s USING (room_nid)
            WHERE m.membership = 'join' AND s.until IS NULL AND m.since > $1 AND m.since <= $2
            UNION
            SELECT m.user_id, s.server_name FROM room_servers s JOIN room_memberships m USING (room_nid)
            WHERE m.membership = 'join' AND s.until IS NULL AND s.since > $1 AND s.since <= $2
        )
        SELECT user_id, min(device_id), server_name FROM met JOIN device_keys USING (user_id)
        WHERE NOT EXISTS (
            SELECT FROM room_memberships m JOIN room_servers s USING (room_nid)
            WHERE m.user_id = met.user_id AND m.membership = 'join' AND m.since <= $1
                AND s.server_name = met.server_name AND s.until IS NULL AND s.since <= $1
        ) GROUP BY user_id, server_name ORDER BY user_id, server_name
        """,
        after,
        upto,
    )
    edus: list[tuple[ServerName, bytes]] = []
    told: dict[UserId, bytes] = {}
    for user_id, device_id, server in rows:
        if user_id not in told:
            stream_id = await tx.fetchval("SELECT stream_id FROM device_list_changes WHERE user_id = $1", user_id)
            told[user_id] = await _device_list_update(tx, user_id, [device_id], stream_id or 0, 0)
        edus.append((server, told[user_id]))
    if edus:
        await put_outgoing_edus(tx, edus)
    await tx.execute("UPDATE introductions SET position = $1", upto)
    return {server for server, _ in edus}


async def tell_of_devices(
    tx: Transaction, user_id: UserId, devices: Collection[DeviceId], stream_id: int, previous: int
) -> None:
    """Tell other servers that devices of a local user have changed, or are gone."""
    servers = await servers_sharing_rooms(tx, user_id)
    if servers:
        edu = await _device_list_update(tx, user_id, devices, stream_id, previous)
        await put_outgoing_edus(tx, [(server, edu) for server in servers])


async def tell_of_identity(tx: Transaction, user_id: UserId) -> None:
    """Tell other servers that the cross-signing keys of a local user have changed."""
    servers = await servers_sharing_rooms(tx, user_id)
    if servers:
        content: dict[str, Any] = {"user_id": user_id}
        signatures = await key_signatures_of(tx, [user_id], None)
        for key in await cross_signing_keys_of(tx, [user_id]):
            if key.usage != "user_signing":
                keys = orjson.loads(key.key)
                _add_signatures(keys, {one.key_id: one.signature for one in signatures if one.name == key.public_key})
                content[f"{key.usage}_key"] = keys
        edu = orjson.dumps({"edu_type": "m.signing_key_update", "content": content})
        await put_outgoing_edus(tx, [(server, edu) for server in servers])


async def _device_list_update(
    tx: Transaction, user_id: UserId, devices: Collection[DeviceId], stream_id: int, previous: int
) -> bytes:
    device_id = min(devices)
    # Of several at once only that there are: without a previous change, who hears it asks for the whole list.
    prev_id = [previous] if previous and len(devices) == 1 else []
    content: dict[str, Any] = {
        "user_id": user_id,
        "device_id": device_id,
        "stream_id": stream_id,
        "prev_id": prev_id,
    }
    row = await tx.fetchrow(
        "SELECT keys, display_name FROM device_keys JOIN devices USING (user_id, device_id) "
        "WHERE user_id = $1 AND device_id = $2",
        user_id,
        device_id,
    )
    if row is None:
        content["deleted"] = True
    else:
        content["keys"] = keys = orjson.loads(row[0])
        signatures = await key_signatures_of(tx, [user_id], None)
        _add_signatures(keys, {one.key_id: one.signature for one in signatures if one.name == device_id})
        if row[1] is not None:
            content["device_display_name"] = row[1]
    return orjson.dumps({"edu_type": "m.device_list_update", "content": content})


def _add_signatures(keys: dict[str, Any], signatures: dict[str, str]) -> None:
    if signatures:
        keys.setdefault("signatures", {}).setdefault(keys["user_id"], {}).update(signatures)
