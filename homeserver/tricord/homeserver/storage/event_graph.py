"""SQL that walks from event to event: to those before, and to those that vouch."""

from __future__ import annotations

from collections.abc import Collection

from tricord.homeserver.storage.database import Transaction


async def auth_chain_nids(tx: Transaction, nids: Collection[int]) -> list[int]:
    """Return the numbers of all events that vouch for some events, directly or not; without these themselves."""
    # PostgreSQL takes the chain for a hundred times longer than it is, and would rather read the whole table than look
    # up so much. `LATERAL (… OFFSET 0)` leaves it no choice.
    rows = await tx.fetch(
        """
        WITH RECURSIVE chain (event_nid) AS (
            SELECT unnest(e.auth_nids) FROM events e WHERE e.event_nid = ANY($1)
          UNION
            SELECT unnest(e.auth_nids) FROM chain
                CROSS JOIN LATERAL (SELECT auth_nids FROM events WHERE event_nid = chain.event_nid OFFSET 0) AS e
        )
        SELECT event_nid FROM chain
        """,
        list(nids),
    )
    return [row[0] for row in rows]


async def nids_before(
    tx: Transaction, room_nid: int, start: Collection[int], stop: Collection[int], limit: int
) -> list[int]:
    """Return the numbers of events that come before some events, nearest first, going around others.

    What was rejected is left out; so is what is not in its place.
    """
    rows = await tx.fetch(
        """
        WITH RECURSIVE walked (event_nid, steps) AS (
            SELECT nid, 0 FROM unnest($2::bigint[]) AS nid
          UNION
            SELECT before.nid, walked.steps + 1
            FROM walked JOIN events e USING (event_nid), unnest(e.prev_nids) AS before (nid)
            WHERE NOT before.nid = ANY($3) AND walked.steps < $4
        )
        SELECT event_nid FROM (SELECT event_nid, min(steps) AS steps FROM walked GROUP BY event_nid) AS found
            JOIN events e USING (event_nid)
        WHERE e.room_nid = $1 AND NOT e.rejected AND e.state_after <> ''
        ORDER BY steps, depth DESC LIMIT $4
        """,
        room_nid,
        list(start),
        list(stop),
        limit,
    )
    return [row[0] for row in rows]


async def first_depth(tx: Transaction, room_nid: int) -> int:
    """Return the depth of the event with which a room began for this server."""
    depth: int | None = await tx.fetchval(
        """
        SELECT depth FROM events WHERE room_nid = $1 AND position IS NOT NULL AND backfill_rank = 0
        ORDER BY position LIMIT 1
        """,
        room_nid,
    )
    return depth or 0
