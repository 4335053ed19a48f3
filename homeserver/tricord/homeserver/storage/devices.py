"""The table of devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.cross_signing import delete_signatures_on
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.device_lists import put_device_list_changes
from tricord.protocol.identifiers import DeviceId, UserId

_SELECT = "SELECT device_id, display_name, last_seen_ts, last_seen_ip FROM devices"


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a local user, as its owner sees it."""

    device_id: DeviceId
    display_name: str | None
    last_seen_ts: int | None
    last_seen_ip: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """What ended with devices."""

    session_ids: list[int]
    keys_changed: int | None
    """The position at which others learn that there are fewer keys; None if there are as many as before."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """That a device made a request."""

    user_id: UserId
    device_id: DeviceId
    ts: int
    ip: str
    user_agent: str


async def insert_device(
    tx: Transaction, user_id: UserId, device_id: DeviceId, display_name: str | None, created_ts: int
) -> None:
    """Add a device; one that is known keeps its name."""
    await tx.execute(
        """
        INSERT INTO devices (user_id, device_id, display_name, created_ts) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING
        """,
        user_id,
        device_id,
        display_name,
        created_ts,
    )


async def devices_of(tx: Transaction, user_id: UserId) -> list[Device]:
    """Return the devices of a user, the oldest first."""
    rows = await tx.fetch(
        _SELECT + " WHERE user_id = $1 ORDER BY created_ts, device_id",
        user_id,
    )
    return [Device(*row) for row in rows]


async def device_by_id(tx: Transaction, user_id: UserId, device_id: DeviceId) -> Device | None:
    """Return one device of a user."""
    row = await tx.fetchrow(
        _SELECT + " WHERE user_id = $1 AND device_id = $2",
        user_id,
        device_id,
    )
    return None if row is None else Device(*row)


async def rename_device(
    tx: Transaction, user_id: UserId, device_id: DeviceId, display_name: str
) -> tuple[bool, int | None]:
    """Name a device; return whether there is such a device, and the position if others learn of it: it has keys."""
    renamed = await tx.fetchval(
        "UPDATE devices SET display_name = $3 WHERE user_id = $1 AND device_id = $2 RETURNING true",
        user_id,
        device_id,
        display_name,
    )
    has_keys = await tx.fetchval(
        "SELECT EXISTS (SELECT FROM device_keys WHERE user_id = $1 AND device_id = $2)", user_id, device_id
    )
    if not (renamed and has_keys):
        return bool(renamed), None
    return True, await put_device_list_changes(tx, user_id, devices=[device_id])


async def delete_devices(
    tx: Transaction, user_id: UserId, device_ids: Sequence[DeviceId] | None, *, keep: DeviceId | None = None
) -> Ended:
    """Delete these devices (None: all) but `keep`, with their sessions and keys; the last act of a transaction.

    It has locked the user's account: a sign-in on one of the devices would want what this has, and have what it wants.
    """
    # Before their rows go; and first of all, so that no keys come meanwhile.
    with_keys = await tx.fetch(
        """
        SELECT device_id FROM device_keys JOIN (
            SELECT user_id, device_id FROM devices WHERE user_id = $1 AND ($2::text[] IS NULL OR device_id = ANY($2))
            AND device_id IS DISTINCT FROM $3 ORDER BY device_id FOR UPDATE
        ) d USING (user_id, device_id)
        """,
        user_id,
        device_ids,
        keep,
    )
    if with_keys:
        await delete_signatures_on(tx, user_id, [row[0] for row in with_keys])
    rows = await tx.fetch(
        """
        DELETE FROM sessions WHERE user_id = $1 AND ($2::text[] IS NULL OR device_id = ANY($2))
        AND device_id IS DISTINCT FROM $3 RETURNING session_id
        """,
        user_id,
        device_ids,
        keep,
    )
    await tx.execute(
        """
        DELETE FROM devices WHERE user_id = $1 AND ($2::text[] IS NULL OR device_id = ANY($2))
        AND device_id IS DISTINCT FROM $3
        """,
        user_id,
        device_ids,
        keep,
    )
    gone = [row[0] for row in with_keys]
    position = await put_device_list_changes(tx, user_id, devices=gone) if gone else None
    return Ended([row[0] for row in rows], position)


async def drop_device(tx: Transaction, user_id: UserId, device_id: DeviceId) -> None:
    """Delete a device that nobody is signed in on, with its keys; others are told by who calls."""
    await tx.execute("DELETE FROM devices WHERE user_id = $1 AND device_id = $2", user_id, device_id)
    await delete_signatures_on(tx, user_id, [device_id])


async def device_with_id_exists(tx: Transaction, user_id: UserId, device_id: DeviceId) -> bool:
    """Return whether a user has a device of this id."""
    return bool(
        await tx.fetchval(
            "SELECT EXISTS (SELECT FROM devices WHERE user_id = $1 AND device_id = $2)", user_id, device_id
        )
    )


async def is_kept_from_devices(tx: Transaction, user_id: UserId, device_id: DeviceId) -> bool:
    """Return whether a cross-signing key or the dehydrated device has an id, so that nobody may sign in as it."""
    return bool(
        await tx.fetchval(
            """
            SELECT EXISTS (SELECT FROM cross_signing_keys WHERE user_id = $1 AND public_key = $2)
                OR EXISTS (SELECT FROM dehydrated_devices WHERE user_id = $1 AND device_id = $2)
            """,
            user_id,
            device_id,
        )
    )


async def record_sightings(tx: Transaction, sightings: Sequence[Sighting]) -> None:
    """Note when and where from devices were last seen."""
    await tx.execute(
        """
        WITH seen AS (
            SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[])
                AS t (user_id, device_id, ts, ip, user_agent)
        ), locked AS (
            -- In one order everywhere, so that two who have seen the same do not wait for each other in a circle.
            SELECT user_id, device_id FROM devices d JOIN seen USING (user_id, device_id)
            ORDER BY user_id, device_id FOR NO KEY UPDATE OF d
        )
        UPDATE devices d SET last_seen_ts = seen.ts, last_seen_ip = seen.ip, last_seen_user_agent = seen.user_agent
        FROM seen JOIN locked USING (user_id, device_id)
        WHERE d.user_id = seen.user_id AND d.device_id = seen.device_id
        AND (d.last_seen_ts IS NULL OR d.last_seen_ts < seen.ts)
        """,
        [seen.user_id for seen in sightings],
        [seen.device_id for seen in sightings],
        [seen.ts for seen in sightings],
        [seen.ip for seen in sightings],
        [seen.user_agent for seen in sightings],
    )
