"""Walks from event to event visit what is on their way, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest

from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.event_graph import auth_chain_nids, nids_before

_EVENTS = 5_000
_STATE = 300
# From then on PostgreSQL has a plan that it keeps, made without looking at the arguments.
_TIMES = 8


async def _events(tx: Transaction) -> None:
    """Make a room of a line of events; all of them are vouched for by the first and by that before the last three."""
    await tx.execute(
        """
        INSERT INTO events (
            event_nid, room_nid, event_id, position, depth, type, sender, origin_server_ts, state_after, prev_nids,
            auth_nids, json
        )
        SELECT n, 1, '$' || n, n, n, 'm.room.message', '@alice:first.example', 0, 'root',
            CASE WHEN n > 1 THEN ARRAY[n - 1] ELSE '{}' END, CASE WHEN n > 3 THEN ARRAY[1, n - 3] ELSE '{}' END,
            convert_to(repeat('x', 700), 'UTF8')
        FROM generate_series(1, $1::bigint) n
        """,
        _EVENTS,
    )
    await tx.execute("ANALYZE events")


async def _read_whole(database: Database, walk: Callable[[Transaction], Awaitable[Sequence[int]]]) -> tuple[int, int]:
    """Return how often a walk has read the whole table, and how many events it has found."""
    async with database.transaction() as tx:
        for _ in range(_TIMES):
            found = await walk(tx)
        count = await tx.fetchval("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'events'")
    return count, len(found)


async def test_what_vouches_for_a_state_is_found_without_reading_every_event(database: Database) -> None:
    await database.run(_events)
    state = range(10, 10 + _STATE)
    scans, found = await _read_whole(database, lambda tx: auth_chain_nids(tx, state))
    assert found >= _STATE - 3
    assert scans == 0


@pytest.mark.parametrize("limit", [20, 500])
async def test_history_is_walked_without_reading_every_event(database: Database, limit: int) -> None:
    await database.run(_events)
    scans, found = await _read_whole(database, lambda tx: nids_before(tx, 1, [_EVENTS], [], limit))
    assert found == limit
    assert scans == 0
