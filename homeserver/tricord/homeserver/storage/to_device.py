"""The tables of messages between devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import DeviceId, UserId

DeviceName = tuple[UserId, DeviceId]


class OutgoingMessage(NamedTuple):
    """A message of a request, as JSON; for all devices of a user, if the device is `*`."""

    request: int
    user_id: UserId
    device_id: DeviceId
    message: bytes


class Delivered(NamedTuple):
    """What of some requests was new."""

    digests: frozenset[bytes]
    users: frozenset[UserId]
    """For whose devices messages wait now."""
    last: int | None
    """The last position taken, one for each of the requests, new or not; None if no message waits."""


async def deliver(
    tx: Transaction, digests: Sequence[bytes], messages: Sequence[OutgoingMessage], now_ms: int
) -> Delivered:
    """Let the messages of requests wait for their devices, but for those requests that were acted on before.

    `digests` are those of the requests, each another, by the number that the messages have.

    One statement, which is a transaction by itself unless more is to be done in it. No device goes before it ends:
    those that there are are locked first. The position is taken after that, which is what counting is for.
    """
    rows = await tx.fetch(
        """
        WITH fresh AS (
            INSERT INTO to_device_requests (digest, created_ts)
            SELECT digest, $2 FROM unnest($1::bytea[]) AS t (digest) ORDER BY digest
            ON CONFLICT DO NOTHING RETURNING digest
        ), sent AS MATERIALIZED (
            SELECT request, user_id, device_id, message
            FROM unnest($3::bytea[], $4::bigint[], $5::text[], $6::text[], $7::bytea[])
                AS m (digest, request, user_id, device_id, message)
            WHERE digest IN (SELECT digest FROM fresh)
        ), named AS MATERIALIZED (
            SELECT request, user_id, device_id, message FROM sent JOIN devices d USING (user_id, device_id)
            ORDER BY user_id, device_id FOR KEY SHARE OF d
        ), others AS MATERIALIZED (
            SELECT request, user_id, d.device_id, message FROM sent s JOIN devices d USING (user_id)
            WHERE s.device_id = '*' ORDER BY user_id, d.device_id FOR KEY SHARE OF d
        ), matching AS MATERIALIZED (
            -- What is for one device goes before what is for all.
            SELECT DISTINCT ON (request, user_id, device_id) request, user_id, device_id, message
            FROM (SELECT *, false AS is_for_all FROM named UNION ALL SELECT *, true FROM others) found
            ORDER BY request, user_id, device_id, is_for_all
        ), taken AS (
            UPDATE stream SET position = position + cardinality($1::bytea[]) WHERE (SELECT count(*) FROM matching) > 0
            RETURNING position - cardinality($1::bytea[]) + 1 AS first, position AS last
        ), waiting AS (
            INSERT INTO to_device_messages (user_id, device_id, position, message)
            SELECT user_id, device_id, first + request, message FROM matching CROSS JOIN taken
        )
        SELECT ARRAY(SELECT digest FROM fresh), ARRAY(SELECT DISTINCT user_id FROM matching), (SELECT last FROM taken)
        """,
        digests,
        now_ms,
        [digests[message.request] for message in messages],
        [message.request for message in messages],
        [message.user_id for message in messages],
        [message.device_id for message in messages],
        [message.message for message in messages],
    )
    fresh, users, last = rows[0]
    return Delivered(frozenset(fresh), frozenset(users), last)


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
    await tx.allow_bitmaps()
    await tx.execute("DELETE FROM to_device_requests WHERE created_ts < $1", requests_before_ts)
