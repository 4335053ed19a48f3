"""SQL of what goes to other servers: `outgoing_events`, receipts of local users, and `outgoing_edus`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.receipts import Receipt
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId, server_name_of


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """An event to send."""

    position: int
    room_id: RoomId
    event_id: EventId
    sender: UserId
    json: bytes


async def outgoing_between(
    tx: Transaction, after: int, upto: int, limit: int
) -> list[tuple[OutgoingEvent, Sequence[ServerName]]]:
    """Return the first outgoing events after one position, up to another, each with the servers that get it."""
    rows = await tx.fetch(
        """
        SELECT o.position, r.room_id, e.event_id, e.sender, e.json, ARRAY(
            SELECT server_name FROM room_servers s
            WHERE s.room_nid = o.room_nid AND s.since < o.position AND (s.until IS NULL OR s.until >= o.position)
        )
        FROM outgoing_events o JOIN events e USING (event_nid) JOIN rooms r ON r.room_nid = o.room_nid
        WHERE o.position > $1 AND o.position <= $2 ORDER BY o.position LIMIT $3
        """,
        after,
        upto,
        limit,
    )
    found: list[tuple[OutgoingEvent, Sequence[ServerName]]] = []
    for row in rows:
        event = OutgoingEvent(row[0], row[1], row[2], row[3], row[4])
        author = server_name_of(event.sender)
        found.append((event, [server for server in row[5] if server != author]))
    return found


async def outgoing_for(tx: Transaction, server: ServerName, after: int, upto: int, limit: int) -> list[OutgoingEvent]:
    """Return the first events that a server gets after one position, up to another."""
    rows = await tx.fetch(
        """
        SELECT o.position, r.room_id, e.event_id, e.sender, e.json
        FROM room_servers s JOIN outgoing_events o USING (room_nid)
            JOIN events e USING (event_nid) JOIN rooms r ON r.room_nid = o.room_nid
        WHERE s.server_name = $1 AND o.position > greatest(s.since, $2) AND o.position <= least(s.until, $3)
            AND substr(e.sender, strpos(e.sender, ':') + 1) <> $1
        ORDER BY o.position LIMIT $4
        """,
        server,
        after,
        upto,
        limit,
    )
    return [OutgoingEvent(*row) for row in rows]


async def is_on_its_way(tx: Transaction, server: ServerName, room_id: RoomId) -> bool:
    """Return whether a server is still to get an event of a room; one that has not answered of late gets nothing."""
    found: bool = await tx.fetchval(
        """
        SELECT EXISTS (
            SELECT FROM rooms r JOIN room_servers s USING (room_nid) JOIN destinations d USING (server_name)
                JOIN outgoing_events o USING (room_nid) JOIN events e ON e.event_nid = o.event_nid
            WHERE r.room_id = $2 AND s.server_name = $1 AND d.failing_since_ts IS NULL
                AND o.position > greatest(s.since, d.event_position) AND (s.until IS NULL OR o.position <= s.until)
                AND substr(e.sender, strpos(e.sender, ':') + 1) <> $1
        )
        """,
        server,
        room_id,
    )
    return found


async def newest_outgoing_for(
    tx: Transaction, server: ServerName, after: int, upto: int, limit: int
) -> list[OutgoingEvent]:
    """Return of what a server gets after one position, up to another, the newest event of each room."""
    rows = await tx.fetch(
        """
        SELECT newest.position, r.room_id, e.event_id, e.sender, e.json
        FROM (
            SELECT DISTINCT ON (o.room_nid) o.room_nid, o.position, o.event_nid
            FROM room_servers s JOIN outgoing_events o USING (room_nid) JOIN events e USING (event_nid)
            WHERE s.server_name = $1 AND o.position > s.since AND o.position <= least(s.until, $3)
                AND substr(e.sender, strpos(e.sender, ':') + 1) <> $1
            ORDER BY o.room_nid, o.position DESC
        ) newest JOIN events e USING (event_nid) JOIN rooms r ON r.room_nid = newest.room_nid
        WHERE newest.position > $2 ORDER BY newest.position LIMIT $4
        """,
        server,
        after,
        upto,
        limit,
    )
    return [OutgoingEvent(*row) for row in rows]


async def prune_outgoing(tx: Transaction, away_before_ts: int) -> int:
    """Delete events that nobody waits for any more; return how many.

    Servers that have been away since before some time are not waited for, but with the newest event of a room.
    """
    tag = await tx.execute(
        """
        WITH rooms_waited_for AS (
            SELECT s.room_nid, min(d.event_position) FILTER (
                WHERE d.failing_since_ts IS NULL OR d.failing_since_ts >= $1
            ) AS here, min(d.event_position) AS anybody
            FROM room_servers s JOIN destinations d USING (server_name)
            WHERE s.until IS NULL OR s.until > d.event_position
            GROUP BY s.room_nid
        )
        DELETE FROM outgoing_events o
        USING (SELECT room_nid, max(position) AS newest FROM outgoing_events GROUP BY room_nid) n
            LEFT JOIN rooms_waited_for w USING (room_nid)
        WHERE o.room_nid = n.room_nid
            AND (w.here IS NULL OR o.position <= w.here)
            AND (w.anybody IS NULL OR o.position <= w.anybody OR o.position < n.newest)
        """,
        away_before_ts,
    )
    await tx.execute(
        """
        DELETE FROM room_servers s USING destinations d
        WHERE d.server_name = s.server_name AND s.until <= d.event_position
            AND EXISTS (SELECT FROM room_servers other WHERE other.room_nid = s.room_nid AND other.until IS NULL)
        """
    )
    return int(tag.rpartition(" ")[2])


async def outgoing_receipts_for(
    tx: Transaction, server: ServerName, own_name: ServerName, after: int, upto: int, limit: int
) -> list[Receipt]:
    """Return the first receipts that a server gets after one position, up to another: about `limit` of them.

    Those of one position are returned together.
    """
    rows = await tx.fetch(
        """
        SELECT r.room_id, r.user_id, r.receipt_type, r.thread_id, r.event_id, r.event_position, r.received_ts,
            r.position
        FROM room_servers s JOIN rooms USING (room_nid) JOIN receipts r USING (room_id)
        WHERE s.server_name = $1 AND s.until IS NULL AND r.position > greatest(s.since, $3) AND r.position <= $4
            AND r.receipt_type = 'm.read' AND substr(r.user_id, strpos(r.user_id, ':') + 1) = $2
        ORDER BY r.position FETCH FIRST $5 ROWS WITH TIES
        """,
        server,
        own_name,
        after,
        upto,
        limit,
    )
    return [Receipt(*row) for row in rows]


async def put_outgoing_edus(tx: Transaction, edus: Sequence[tuple[ServerName, bytes]]) -> None:
    """Have EDUs sent to servers, in this order; who commits them wakes the sender."""
    await tx.execute(
        """
        INSERT INTO outgoing_edus (server_name, edu)
        SELECT server_name, edu FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS t (server_name, edu, number)
        ORDER BY number
        """,
        [server for server, _ in edus],
        [edu for _, edu in edus],
    )


async def outgoing_edus_for(tx: Transaction, server: ServerName, limit: int) -> list[tuple[int, bytes]]:
    """Return the first EDUs that wait for a server, with their numbers."""
    rows = await tx.fetch(
        "SELECT number, edu FROM outgoing_edus WHERE server_name = $1 ORDER BY number LIMIT $2", server, limit
    )
    return [(row[0], row[1]) for row in rows]


async def delete_outgoing_edus(tx: Transaction, server: ServerName, numbers: Sequence[int]) -> None:
    """Forget EDUs that a server has got."""
    await tx.execute("DELETE FROM outgoing_edus WHERE server_name = $1 AND number = ANY($2)", server, list(numbers))
