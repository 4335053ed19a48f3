"""The tables of messages between devices."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import DeviceId, UserId

DeviceName = tuple[UserId, DeviceId]


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message that waits for a device, as JSON."""

    user_id: UserId
    device_id: DeviceId
    position: int
    message: bytes


async def note_requests(tx: Transaction, digests: Collection[bytes], now_ms: int) -> set[bytes]:
    """Note that requests are acted on; return those that have not been before."""
    rows = await tx.fetch(
        """
        INSERT INTO to_device_requests (digest, created_ts) SELECT digest, $2 FROM unnest($1::bytea[]) AS t (digest)
        ON CONFLICT DO NOTHING RETURNING digest
        """,
        sorted(digests),
        now_ms,
    )
    return {row[0] for row in rows}


async def locked_devices(
    tx: Transaction, devices: Collection[DeviceName], all_devices_of: Collection[UserId]
) -> list[DeviceName]:
    """Return those of the devices that there are, and all of some users; none goes before the transaction ends."""
    rows = await tx.fetch(
        """
        WITH wanted AS (
            SELECT user_id, device_id FROM unnest($1::text[], $2::text[]) AS t (user_id, device_id)
            UNION SELECT user_id, device_id FROM devices WHERE user_id = ANY($3)
        )
        SELECT user_id, device_id FROM devices d JOIN wanted USING (user_id, device_id)
        ORDER BY user_id, device_id FOR KEY SHARE OF d
        """,
        [user_id for user_id, _ in devices],
        [device_id for _, device_id in devices],
        list(all_devices_of),
    )
    return [(row[0], row[1]) for row in rows]


async def insert_messages(tx: Transaction, messages: Sequence[WaitingMessage]) -> None:
    """Let messages wait for their devices, which the transaction has locked."""
    await tx.execute(
        """
        INSERT INTO to_device_messages (user_id, device_id, position, message)
        SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[])
        """,
        [message.user_id for message in messages],
        [message.device_id for message in messages],
        [message.position for message in messages],
        [message.message for message in messages],
    )


async def messages_for(
    tx: Transaction, user_id: UserId, device_id: DeviceId, after: int, upto: int, limit: int
) -> list[tuple[int, bytes]]:
    """Return the first messages for a device after one position, up to another."""
    rows = await tx.fetch(
        """
        SELECT position, message FROM to_device_messages
        WHERE user_id = $1 AND device_id = $2 AND position > $3 AND position <= $4 ORDER BY position LIMIT $5
        """,
        user_id,
        device_id,
        after,
        upto,
        limit,
    )
    return [(row[0], row[1]) for row in rows]


async def delete_messages(tx: Transaction, user_id: UserId, device_id: DeviceId, upto: int) -> None:
    """Delete what a device has."""
    await tx.execute(
        "DELETE FROM to_device_messages WHERE user_id = $1 AND device_id = $2 AND position <= $3",
        user_id,
        device_id,
        upto,
    )


async def prune_to_device(tx: Transaction, most_waiting: int, requests_before_ts: int) -> None:
    """Delete the oldest of what nobody comes for, and forget old requests."""
    await tx.execute(
        """
        WITH full_queues AS MATERIALIZED (
            SELECT user_id, device_id, (
                SELECT position FROM to_device_messages k WHERE k.user_id = q.user_id AND k.device_id = q.device_id
                ORDER BY position DESC OFFSET $1 LIMIT 1
            ) AS upto
            FROM (
                SELECT user_id, device_id FROM to_device_messages GROUP BY user_id, device_id HAVING count(*) > $1
            ) q
        )
        DELETE FROM to_device_messages m USING full_queues f
        WHERE m.user_id = f.user_id AND m.device_id = f.device_id AND m.position <= f.upto
        """,
        most_waiting,
    )
    await tx.execute("DELETE FROM to_device_requests WHERE created_ts < $1", requests_before_ts)
