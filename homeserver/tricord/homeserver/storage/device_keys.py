"""The tables of keys of devices: their own, one-time keys and fallback keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import DeviceId, UserId

Wanted = tuple[UserId, DeviceId, str]
"""A user's device, and an algorithm."""


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """The keys of a device, as JSON, and what its user calls it."""

    user_id: UserId
    device_id: DeviceId
    keys: bytes
    display_name: str | None


@dataclass(frozen=True, slots=True)
class StoredPreKey:
    """A one-time key of a device."""

    user_id: UserId
    device_id: DeviceId
    algorithm: str
    key_id: str
    key: bytes
    digest: bytes


class ClaimedKey(NamedTuple):
    """A key that has been given out; of a fallback key there is enough for all."""

    user_id: UserId
    device_id: DeviceId
    algorithm: str
    key_id: str
    key: bytes
    is_fallback: bool


async def lock_device(tx: Transaction, user_id: UserId, device_id: DeviceId) -> bool:
    """Let nobody else upload keys of a device until the transaction ends; return whether there is such a device."""
    return bool(
        await tx.fetchval(
            "SELECT true FROM devices WHERE user_id = $1 AND device_id = $2 FOR NO KEY UPDATE", user_id, device_id
        )
    )


async def put_device_keys(tx: Transaction, user_id: UserId, device_id: DeviceId, keys: bytes) -> None:
    """Write the keys of a device."""
    await tx.execute(
        """
        INSERT INTO device_keys (user_id, device_id, keys) VALUES ($1, $2, $3)
        ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys
        """,
        user_id,
        device_id,
        keys,
    )


async def device_keys(tx: Transaction, user_id: UserId, device_id: DeviceId) -> bytes | None:
    """Return the keys of a device."""
    keys: bytes | None = await tx.fetchval(
        "SELECT keys FROM device_keys WHERE user_id = $1 AND device_id = $2", user_id, device_id
    )
    return keys


async def device_keys_of(tx: Transaction, user_ids: Collection[UserId]) -> list[DeviceKeys]:
    """Return the keys of all devices of some users."""
    rows = await tx.fetch(
        "SELECT user_id, device_id, keys, display_name FROM device_keys JOIN devices USING (user_id, device_id) "
        "WHERE user_id = ANY($1) ORDER BY user_id, device_id",
        list(user_ids),
    )
    return [DeviceKeys(*row) for row in rows]


async def one_time_keys_named(
    tx: Transaction, user_id: UserId, device_id: DeviceId, names: Collection[tuple[str, str]]
) -> dict[tuple[str, str], bytes]:
    """Return the digests of those keys of a device, by algorithm and id, that were ever uploaded."""
    rows = await tx.fetch(
        """
        SELECT algorithm, key_id, digest FROM one_time_keys
        JOIN unnest($3::text[], $4::text[]) AS t (algorithm, key_id) USING (algorithm, key_id)
        WHERE user_id = $1 AND device_id = $2
        """,
        user_id,
        device_id,
        [algorithm for algorithm, _ in names],
        [key_id for _, key_id in names],
    )
    return {(row[0], row[1]): row[2] for row in rows}


async def insert_one_time_keys(tx: Transaction, keys: Sequence[StoredPreKey]) -> None:
    """Add one-time keys, none of which is there yet."""
    await tx.execute(
        """
        INSERT INTO one_time_keys (user_id, device_id, algorithm, key_id, key, digest)
        SELECT user_id, device_id, algorithm, key_id, key, digest
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[])
            WITH ORDINALITY AS t (user_id, device_id, algorithm, key_id, key, digest, number)
        ORDER BY number
        """,
        [key.user_id for key in keys],
        [key.device_id for key in keys],
        [key.algorithm for key in keys],
        [key.key_id for key in keys],
        [key.key for key in keys],
        [key.digest for key in keys],
    )


async def put_fallback_key(
    tx: Transaction, user_id: UserId, device_id: DeviceId, algorithm: str, key_id: str, key: bytes
) -> bool:
    """Write the fallback key of an algorithm; return False if it is the one that is there."""
    changed = await tx.fetchval(
        """
        INSERT INTO fallback_keys AS f (user_id, device_id, algorithm, key_id, key) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (user_id, device_id, algorithm) DO UPDATE
        SET key_id = excluded.key_id, key = excluded.key, used = false
        WHERE (f.key_id, f.key) IS DISTINCT FROM (excluded.key_id, excluded.key) RETURNING true
        """,
        user_id,
        device_id,
        algorithm,
        key_id,
        key,
    )
    return bool(changed)


async def delete_pre_keys(tx: Transaction, user_id: UserId, device_id: DeviceId) -> None:
    """Delete one-time and fallback keys of a device, whose own keys have changed."""
    for table in ("one_time_keys", "fallback_keys"):
        await tx.execute(
            f"DELETE FROM {table} WHERE user_id = $1 AND device_id = $2",  # noqa: S608 - constants
            user_id,
            device_id,
        )


async def key_counts(tx: Transaction, user_id: UserId, device_id: DeviceId) -> dict[str, int]:
    """Return how many one-time keys of each algorithm a device has left."""
    rows = await tx.fetch(
        "SELECT algorithm, count(*) FROM one_time_keys "
        "WHERE user_id = $1 AND device_id = $2 AND key IS NOT NULL GROUP BY algorithm",
        user_id,
        device_id,
    )
    return {row[0]: row[1] for row in rows}


async def unused_fallback_keys(tx: Transaction, user_id: UserId, device_id: DeviceId) -> list[str]:
    """Return the algorithms for which a device has a fallback key that nobody has been given."""
    rows = await tx.fetch(
        "SELECT algorithm FROM fallback_keys WHERE user_id = $1 AND device_id = $2 AND NOT used ORDER BY algorithm",
        user_id,
        device_id,
    )
    return [row[0] for row in rows]


async def claim_keys(tx: Transaction, wanted: Mapping[Wanted, int]) -> tuple[list[ClaimedKey], int | None]:
    """Take the oldest one-time keys, as many as are wanted or there are; nobody is ever given them again.

    Where there are not enough, the fallback key, if there is one, is returned once. Those of a device come in the order
    in which they were uploaded. Returned is the position, too, at which owners learn of it; None if there are no keys.

    One statement, which is a transaction by itself. The position is taken when all other rows are locked, which is what
    counting them is for. Rows are locked in the order of `wanted`, and in one order for all: whoever waits for another
    waits for one who is further on.
    """
    rows = await tx.fetch(
        """
        WITH wanted AS MATERIALIZED (
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[])
                AS w (user_id, device_id, algorithm, count)
        ), chosen AS (
            SELECT k.* FROM wanted w CROSS JOIN LATERAL (
                SELECT user_id, device_id, algorithm, key_id, key, number FROM one_time_keys o
                WHERE o.user_id = w.user_id AND o.device_id = w.device_id AND o.algorithm = w.algorithm
                    AND o.key IS NOT NULL
                ORDER BY o.number LIMIT w.count FOR UPDATE SKIP LOCKED
            ) k
        ), claimed AS (
            UPDATE one_time_keys o SET key = NULL FROM chosen c
            WHERE (o.user_id, o.device_id, o.algorithm, o.key_id) = (c.user_id, c.device_id, c.algorithm, c.key_id)
            RETURNING c.*
        ), lacking AS (
            SELECT user_id, device_id, algorithm FROM (
                SELECT * FROM wanted UNION ALL SELECT user_id, device_id, algorithm, -1 FROM claimed
            ) balance GROUP BY user_id, device_id, algorithm HAVING sum(count) > 0
        ), fallback AS MATERIALIZED (
            SELECT f.user_id, f.device_id, f.algorithm, f.key_id, f.key, NULL::bigint AS number
            FROM lacking JOIN fallback_keys f USING (user_id, device_id, algorithm)
        ), unused AS (
            SELECT f.user_id, f.device_id, f.algorithm
            FROM fallback_keys f JOIN fallback USING (user_id, device_id, algorithm, key_id)
            WHERE NOT f.used ORDER BY 1, 2, 3 FOR UPDATE OF f
        ), noted_use AS (
            UPDATE fallback_keys f SET used = true FROM unused u
            WHERE (f.user_id, f.device_id, f.algorithm) = (u.user_id, u.device_id, u.algorithm)
            RETURNING f.user_id
        ), given AS MATERIALIZED (
            SELECT * FROM claimed UNION ALL SELECT * FROM fallback
        ), taken AS (
            UPDATE stream SET position = position + 1
            WHERE (SELECT count(*) FROM given) > 0 AND (SELECT count(*) FROM noted_use) >= 0
            RETURNING position
        ), noted_claims AS (
            INSERT INTO key_claims (user_id, device_id, position)
            SELECT DISTINCT user_id, device_id, position FROM given CROSS JOIN taken ORDER BY user_id, device_id
            ON CONFLICT (user_id, device_id) DO UPDATE SET position = excluded.position
        )
        SELECT user_id, device_id, algorithm, key_id, key, number IS NULL, position
        FROM given CROSS JOIN taken ORDER BY number
        """,
        [one[0] for one in wanted],
        [one[1] for one in wanted],
        [one[2] for one in wanted],
        list(wanted.values()),
    )
    return [ClaimedKey(*row[:6]) for row in rows], rows[0][6] if rows else None


async def last_claim(tx: Transaction, user_id: UserId, device_id: DeviceId) -> int:
    """Return the position at which a key of a device was last claimed; 0 if none ever was."""
    position = await tx.fetchval(
        "SELECT position FROM key_claims WHERE user_id = $1 AND device_id = $2", user_id, device_id
    )
    return position or 0
