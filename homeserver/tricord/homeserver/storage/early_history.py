"""SQL of history that is shown before the room's state is wholly known, and judged when it is."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.events import events_by_nid
from tricord.homeserver.storage.history import HistoryBatch, write_history
from tricord.homeserver.storage.partial_rooms import tell_of_room
from tricord.protocol.identifiers import EventId


async def write_early_history(tx: Transaction, room_nid: int, history: HistoryBatch) -> bool:
    """Write events of the past of a room that is not complete; return False, with nothing written, if it is by now."""
    await tx.execute("SELECT 1 FROM rooms WHERE room_nid = $1 FOR UPDATE", room_nid)
    is_partial = await tx.fetchval(
        "SELECT EXISTS (SELECT FROM partial_rooms WHERE room_nid = $1 AND complete_position IS NULL AND NOT is_left)",
        room_nid,
    )
    if not is_partial:
        return False
    await write_history(tx, room_nid, history)
    await tx.execute(
        "INSERT INTO early_history (event_nid, room_nid) SELECT nid, $2 FROM unnest($1::bigint[]) AS nid "
        "ON CONFLICT DO NOTHING",
        [row.event_nid for row in history.rows],
        room_nid,
    )
    await tell_of_room(tx, room_nid)
    return True


async def early_history(tx: Transaction, room_nid: int) -> list[StoredEvent]:
    """Return the events of a room that are to be judged."""
    rows = await tx.fetch("SELECT event_nid FROM early_history WHERE room_nid = $1", room_nid)
    return list((await events_by_nid(tx, [row[0] for row in rows])).values())


async def count_early_history(tx: Transaction, room_nid: int) -> int:
    """Return how many events of a room are to be judged."""
    count: int = await tx.fetchval("SELECT count(*) FROM early_history WHERE room_nid = $1", room_nid)
    return count


async def settle_early_history(
    tx: Transaction,
    room_nid: int,
    judged: Sequence[tuple[int, bytes, EventId | None]],
    refused: Collection[int],
    nodes: Sequence[tuple[bytes, bytes]],
    missing: Sequence[tuple[str, int]],
) -> None:
    """Give the early events of a room their whole states, and take those out that these do not allow.

    `judged` are numbers, the states after them and what they replace; `missing` are events that are not in their places
    and the numbers of those that name them.
    """
    await tx.execute("SELECT 1 FROM rooms WHERE room_nid = $1 FOR UPDATE", room_nid)
    await tx.execute(
        "INSERT INTO state_nodes (node_id, node) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING",
        [node_id for node_id, _ in nodes],
        [node for _, node in nodes],
    )
    await tx.execute(
        """
        UPDATE events AS e SET state_after = t.state_after, replaces = t.replaces
        FROM unnest($1::bigint[], $2::bytea[], $3::text[]) AS t (event_nid, state_after, replaces)
        WHERE e.event_nid = t.event_nid
        """,
        [nid for nid, _, _ in judged],
        [root for _, root, _ in judged],
        [replaces for _, _, replaces in judged],
    )
    await tx.execute(
        "UPDATE events SET position = NULL, backfill_rank = 0, state_after = '' WHERE event_nid = ANY($1)",
        list(refused),
    )
    await tx.execute("DELETE FROM missing_events WHERE named_by = ANY($1)", list(refused))
    await tx.execute(
        "INSERT INTO missing_events (event_id, named_by) SELECT * FROM unnest($1::text[], $2::bigint[]) "
        "ON CONFLICT DO NOTHING",
        [event_id for event_id, _ in missing],
        [nid for _, nid in missing],
    )
    await tx.execute("DELETE FROM early_history WHERE room_nid = $1", room_nid)
    await tell_of_room(tx, room_nid)
