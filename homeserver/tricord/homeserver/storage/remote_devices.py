"""The tables of lists of devices of users of other servers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import DeviceId, ServerName, UserId


class RemoteDevice(NamedTuple):
    """A device of a user of another server, with its keys as JSON."""

    user_id: UserId
    device_id: DeviceId
    display_name: str | None
    keys: bytes


@dataclass(frozen=True, slots=True)
class RemoteList:
    """What is known of the list of a user's devices."""

    user_id: UserId
    stream_id: int | None
    is_stale: bool
    marks: int
    master_key: bytes | None = None
    self_signing_key: bytes | None = None


async def locked_list(tx: Transaction, user_id: UserId) -> RemoteList | None:
    """Return what is known of a list, and let nobody change it until the transaction ends."""
    row = await tx.fetchrow(
        """
        SELECT user_id, stream_id, is_stale, marks, master_key, self_signing_key
        FROM remote_device_lists WHERE user_id = $1 FOR UPDATE
        """,
        user_id,
    )
    return None if row is None else RemoteList(*row)


async def true_lists(tx: Transaction, requester: UserId, user_ids: Collection[UserId]) -> list[RemoteList]:
    """Return those of some users' lists of which every change was told, as a room that the requester is in proves."""
    rows = await tx.fetch(
        """
        SELECT user_id, stream_id, is_stale, marks, master_key, self_signing_key FROM remote_device_lists r
        WHERE user_id = ANY($2) AND NOT is_stale AND stream_id IS NOT NULL AND EXISTS (
            SELECT FROM room_memberships mine JOIN room_memberships o USING (room_nid)
            WHERE mine.user_id = $1 AND mine.membership = 'join' AND mine.since <= r.position
                AND o.user_id = r.user_id AND o.membership = 'join' AND o.since <= r.position
        )
        """,
        requester,
        list(user_ids),
    )
    return [RemoteList(*row) for row in rows]


async def begin_lists(tx: Transaction, requester: UserId, users: Sequence[tuple[UserId, ServerName]]) -> list[UserId]:
    """Have lists fetched, of those of some users whom the requester shares a room with; return whose."""
    rows = await tx.fetch(
        """
        INSERT INTO remote_device_lists AS r (user_id, server_name, position, is_stale)
        SELECT user_id, server_name, 0, true FROM unnest($2::text[], $3::text[]) AS t (user_id, server_name)
        WHERE EXISTS (
            SELECT FROM room_memberships mine JOIN room_memberships o USING (room_nid)
            WHERE mine.user_id = $1 AND mine.membership = 'join' AND o.user_id = t.user_id AND o.membership = 'join'
        ) ORDER BY user_id
        ON CONFLICT (user_id) DO UPDATE SET is_stale = true, marks = r.marks + 1
        RETURNING user_id
        """,
        requester,
        [user_id for user_id, _ in users],
        [server for _, server in users],
    )
    return [row[0] for row in rows]


async def remote_devices_of(tx: Transaction, user_ids: Collection[UserId]) -> list[RemoteDevice]:
    """Return the devices in some users' lists."""
    rows = await tx.fetch(
        "SELECT user_id, device_id, display_name, keys FROM remote_devices WHERE user_id = ANY($1) "
        "ORDER BY user_id, device_id",
        list(user_ids),
    )
    return [RemoteDevice(*row) for row in rows]


async def mark_stale(tx: Transaction, user_id: UserId) -> None:
    """Note that something was missed of a list, which the transaction has locked."""
    await tx.execute("UPDATE remote_device_lists SET is_stale = true, marks = marks + 1 WHERE user_id = $1", user_id)


async def put_remote_device(tx: Transaction, device: RemoteDevice, stream_id: int) -> None:
    """Write one device into a list, which the transaction has locked."""
    await _move_on(tx, device.user_id, stream_id)
    await tx.execute(
        """
        INSERT INTO remote_devices (user_id, device_id, display_name, keys) VALUES ($1, $2, $3, $4)
        ON CONFLICT (user_id, device_id) DO UPDATE SET display_name = excluded.display_name, keys = excluded.keys
        """,
        *device,
    )


async def delete_remote_device(tx: Transaction, user_id: UserId, device_id: DeviceId, stream_id: int) -> None:
    """Take one device out of a list, which the transaction has locked."""
    await _move_on(tx, user_id, stream_id)
    await tx.execute("DELETE FROM remote_devices WHERE user_id = $1 AND device_id = $2", user_id, device_id)


async def _move_on(tx: Transaction, user_id: UserId, stream_id: int) -> None:
    await tx.execute("UPDATE remote_device_lists SET stream_id = $2 WHERE user_id = $1", user_id, stream_id)


async def replace_list(
    tx: Transaction, fetched: RemoteList, devices: Sequence[RemoteDevice], *, position: int, marks: int
) -> None:
    """Write a list as it was fetched; it stays stale if it was marked again since it was asked for."""
    await tx.execute(
        """
        UPDATE remote_device_lists
        SET stream_id = $2, position = $3, master_key = $4, self_signing_key = $5, is_stale = marks <> $6
        WHERE user_id = $1
        """,
        fetched.user_id,
        fetched.stream_id,
        position,
        fetched.master_key,
        fetched.self_signing_key,
        marks,
    )
    await tx.execute("DELETE FROM remote_devices WHERE user_id = $1", fetched.user_id)
    await tx.execute(
        "INSERT INTO remote_devices (user_id, device_id, display_name, keys) "
        "SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[])",
        [device.user_id for device in devices],
        [device.device_id for device in devices],
        [device.display_name for device in devices],
        [device.keys for device in devices],
    )


async def stale_lists(tx: Transaction, server: ServerName, limit: int) -> list[RemoteList]:
    """Return some lists of users of a server that have to be fetched."""
    rows = await tx.fetch(
        "SELECT user_id, stream_id, is_stale, marks FROM remote_device_lists "
        "WHERE server_name = $1 AND is_stale ORDER BY user_id LIMIT $2",
        server,
        limit,
    )
    return [RemoteList(*row) for row in rows]


async def servers_with_stale_lists(tx: Transaction) -> list[ServerName]:
    """Return the servers that have to be asked for lists."""
    rows = await tx.fetch("SELECT DISTINCT server_name FROM remote_device_lists WHERE is_stale")
    return [row[0] for row in rows]


async def delete_list(tx: Transaction, user_id: UserId) -> None:
    """Forget a list."""
    await tx.execute("DELETE FROM remote_device_lists WHERE user_id = $1", user_id)


async def forget_lists_of_strangers(tx: Transaction, own_name: ServerName) -> None:
    """Forget the lists of users with whom nobody here is in a room."""
    await tx.execute(
        """
        DELETE FROM remote_device_lists r WHERE NOT EXISTS (
            SELECT FROM room_memberships o JOIN room_memberships l USING (room_nid)
            WHERE o.user_id = r.user_id AND o.membership = 'join'
                AND l.membership = 'join' AND right(l.user_id, $2) = $1
        )
        """,
        f":{own_name}",
        len(own_name) + 1,
    )
