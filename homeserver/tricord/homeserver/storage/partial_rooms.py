"""SQL of rooms whose members are still being fetched, and of the events that wait for them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.room_servers import RemoteMemberRow, memberships_before, note_members
from tricord.homeserver.storage.stream import current_position, take_positions
from tricord.homeserver.storage.user_directory import follow_again
from tricord.protocol.identifiers import EventId, RoomId, ServerName

CHANNEL = "tricord_partial_rooms"


@dataclass(frozen=True, slots=True)
class PartialRoom:
    """A room that was joined with its members left out."""

    room_nid: int
    room_id: RoomId
    join_event_id: EventId
    servers: Sequence[ServerName]
    told_root: bytes
    started_ts: int
    tries: int
    trouble: str
    is_left: bool
    """Whether this server is out of it again, and never learned who is in it."""
    complete_position: int | None
    has_postponed: bool
    """Whether events wait that came before it was complete."""
    has_early_history: bool
    """Whether history was shown that is still to be judged by the whole state."""

    @property
    def is_unfinished(self) -> bool:
        """Whether its members are still to be fetched, or something is to be judged by what they are."""
        return not self.is_left and (self.complete_position is None or self.has_early_history)


class WholeMember(NamedTuple):
    """What a user is to a room by its whole state."""

    user_id: str
    membership: str
    event_nid: int
    sender: str


@dataclass(frozen=True, slots=True)
class Completion:
    """What a room becomes by its whole state, computed against its head."""

    room_nid: int
    head: int
    state_root: bytes
    nodes: Mapping[bytes, bytes]
    state: Sequence[tuple[str, str, int]]
    """The type, the key and the event's number of what is set in the current state from now on."""
    members: Sequence[WholeMember]
    remote_members: Sequence[RemoteMemberRow]
    roots: Mapping[bytes, bytes]
    """What each state since the join really is."""
    join_position: int


async def partial_rooms(tx: Transaction) -> list[PartialRoom]:
    """Return all rooms that were joined with their members left out."""
    rows = await tx.fetch(
        """
        SELECT p.room_nid, r.room_id, join_event_id, servers, told_root, started_ts, tries, trouble, is_left,
            complete_position,
            EXISTS (SELECT FROM postponed_events e WHERE e.room_nid = p.room_nid),
            EXISTS (SELECT FROM early_history h WHERE h.room_nid = p.room_nid)
        FROM partial_rooms p JOIN rooms r USING (room_nid)
        """
    )
    return [PartialRoom(*row) for row in rows]


async def begin_partial_room(
    tx: Transaction,
    room_nid: int,
    join_event_id: EventId,
    servers: Sequence[ServerName],
    told_root: bytes,
    now_ms: int,
) -> None:
    """Note a room that is about to be joined with its members left out.

    What is sent there goes to the servers that are said to be in it, until its members say which are.
    """
    await tx.execute(
        """
        INSERT INTO partial_rooms (room_nid, join_event_id, servers, told_root, started_ts) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (room_nid) DO UPDATE SET
            join_event_id = excluded.join_event_id, servers = excluded.servers, told_root = excluded.told_root,
            started_ts = excluded.started_ts, tries = 0, trouble = '', is_left = false,
            complete_position = NULL, fetched = 0, expected = 0
        """,
        room_nid,
        join_event_id,
        list(servers),
        told_root,
        now_ms,
    )
    position = await current_position(tx)
    await tx.execute(
        """
        INSERT INTO room_servers (room_nid, server_name, since, joined)
        SELECT $1, t.server_name, $3, 0 FROM unnest($2::text[]) AS t (server_name)
        WHERE NOT EXISTS (
            SELECT FROM room_servers s WHERE s.room_nid = $1 AND s.server_name = t.server_name AND s.until IS NULL
        )
        ON CONFLICT (room_nid, server_name, since) DO UPDATE SET until = NULL
        """,
        room_nid,
        list(servers),
        position,
    )
    await tx.execute(
        """
        INSERT INTO destinations (server_name, event_position, receipt_position)
        SELECT server_name, $2, $2 FROM unnest($1::text[]) AS server_name ON CONFLICT DO NOTHING
        """,
        list(servers),
        position,
    )
    await tell_of_room(tx, room_nid)


async def forget_partial_room(tx: Transaction, room_nid: int) -> None:
    """Forget that a room is partial: we did not get into it."""
    await tx.execute("DELETE FROM partial_rooms WHERE room_nid = $1", room_nid)
    await _end(tx, room_nid)


async def join_wholly(tx: Transaction, room_nid: int, join_event_id: EventId) -> None:
    """Note that a room that was partial has been joined anew, and is whole; its early history can be judged."""
    await tx.execute(
        """
        DELETE FROM partial_rooms
        WHERE room_nid = $1 AND NOT EXISTS (SELECT FROM early_history WHERE room_nid = $1)
        """,
        room_nid,
    )
    await tx.execute(
        """
        UPDATE partial_rooms SET join_event_id = $2, complete_position = $3, servers = '{}', is_left = false
        WHERE room_nid = $1
        """,
        room_nid,
        join_event_id,
        await current_position(tx),
    )
    await _end(tx, room_nid)


async def leave_partial_room(tx: Transaction, room_nid: int) -> None:
    """Note that this server has left a room before it was complete."""
    await tx.execute("UPDATE partial_rooms SET is_left = true WHERE room_nid = $1", room_nid)
    await _end(tx, room_nid)


async def _end(tx: Transaction, room_nid: int) -> None:
    await tx.execute("DELETE FROM postponed_events WHERE room_nid = $1", room_nid)
    await tx.execute("DELETE FROM room_servers WHERE room_nid = $1 AND until IS NULL AND joined = 0", room_nid)
    await tell_of_room(tx, room_nid)


async def note_trouble(tx: Transaction, room_nid: int, trouble: str) -> None:
    """Count a try that failed, and say why."""
    await tx.execute("UPDATE partial_rooms SET tries = tries + 1, trouble = $2 WHERE room_nid = $1", room_nid, trouble)


async def note_fetched(tx: Transaction, room_nid: int, fetched: int, expected: int) -> None:
    """Say how far fetching the members of a room has got."""
    await tx.execute(
        "UPDATE partial_rooms SET fetched = $2, expected = $3 WHERE room_nid = $1", room_nid, fetched, expected
    )


@dataclass(frozen=True, slots=True)
class CompletionProgress:
    """How far a room that is not complete has got, for those who run the server."""

    room_id: RoomId
    through: ServerName
    started_ts: int
    tries: int
    trouble: str
    """Why the last try failed; empty if none has."""
    fetched: int
    expected: int
    """Of how many events, as far as a server has told; 0 if none has yet."""
    postponed: int
    """How many events of other servers wait for it."""


async def completion_progress(tx: Transaction) -> list[CompletionProgress]:
    """Return the rooms that are not complete, those that have been so for longest first."""
    rows = await tx.fetch(
        """
        SELECT r.room_id, coalesce(p.servers[1], ''), p.started_ts, p.tries, p.trouble, p.fetched, p.expected,
            (SELECT count(*) FROM postponed_events e WHERE e.room_nid = p.room_nid)
        FROM partial_rooms p JOIN rooms r USING (room_nid)
        WHERE p.complete_position IS NULL AND NOT p.is_left
        ORDER BY p.started_ts, r.room_id
        """
    )
    return [CompletionProgress(*row) for row in rows]


async def states_since(tx: Transaction, room_nid: int, position: int) -> list[bytes]:
    """Return the roots of all states of a room from a position on."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT root FROM events, unnest(ARRAY[state_after, resolved_state]) AS root
        WHERE room_nid = $1 AND (position >= $2 OR (position IS NULL AND soft_failed)) AND root IS NOT NULL
            AND backfill_rank = 0
        """,
        room_nid,
        position,
    )
    return [row[0] for row in rows if row[0]]


async def complete_room(tx: Transaction, completion: Completion) -> int | None:
    """Give a room its whole state; return the position of that, or None, with nothing written, if the room has moved.

    It takes a position, so it is the end of the transaction.
    """
    nid = completion.room_nid
    before = await memberships_before(tx, completion.remote_members)
    moved = await tx.fetchval(
        "UPDATE rooms SET head = head + 1, state_root = $3 WHERE room_nid = $1 AND head = $2 RETURNING room_nid",
        nid,
        completion.head,
        completion.state_root,
    )
    if moved is None:
        return None
    await tx.execute(
        "INSERT INTO state_nodes (node_id, node) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT DO NOTHING",
        list(completion.nodes),
        list(completion.nodes.values()),
    )
    await _put_state(tx, completion)
    await _put_members(tx, completion)
    await follow_again(tx, completion.join_position)
    await note_members(tx, completion.remote_members, before, {}, {nid: completion.join_position})
    await tx.execute(
        "UPDATE room_servers SET until = $2 WHERE room_nid = $1 AND until IS NULL AND joined <= 0",
        nid,
        await current_position(tx),
    )
    await tx.execute(
        """
        WITH roots AS (SELECT * FROM unnest($3::bytea[], $4::bytea[]) AS t (was, now))
        UPDATE events e SET
            state_after = coalesce((SELECT now FROM roots WHERE was = e.state_after), e.state_after),
            resolved_state = coalesce((SELECT now FROM roots WHERE was = e.resolved_state), e.resolved_state)
        WHERE e.room_nid = $1 AND e.backfill_rank = 0
            AND (e.position >= $2 OR (e.position IS NULL AND e.soft_failed))
        """,
        nid,
        completion.join_position,
        list(completion.roots),
        list(completion.roots.values()),
    )
    position = await take_positions(tx, 1)
    await tx.execute(
        "UPDATE partial_rooms SET complete_position = $2, servers = '{}', trouble = '' WHERE room_nid = $1",
        nid,
        position,
    )
    await tell_of_room(tx, nid)
    return position


async def _put_state(tx: Transaction, completion: Completion) -> None:
    await tx.execute(
        """
        INSERT INTO current_state (room_nid, type, state_key, event_nid)
        SELECT $1, type, state_key, event_nid FROM unnest($2::text[], $3::text[], $4::bigint[])
            AS t (type, state_key, event_nid)
        ON CONFLICT (room_nid, type, state_key) DO UPDATE SET event_nid = excluded.event_nid
        """,
        completion.room_nid,
        [row[0] for row in completion.state],
        [row[1] for row in completion.state],
        [row[2] for row in completion.state],
    )


async def _put_members(tx: Transaction, completion: Completion) -> None:
    """Write what users are; those who were that already keep the position at which they became it."""
    await tx.execute(
        """
        INSERT INTO room_memberships AS m (user_id, room_nid, membership, event_nid, sender, position, since)
        SELECT user_id, $1, membership, event_nid, sender, $2, $2
        FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[]) AS t (user_id, membership, event_nid, sender)
        ON CONFLICT (user_id, room_nid) DO UPDATE SET
            membership = excluded.membership, event_nid = excluded.event_nid, sender = excluded.sender,
            position = CASE WHEN m.membership = excluded.membership THEN m.position ELSE excluded.position END,
            since = CASE WHEN m.membership = excluded.membership THEN m.since ELSE excluded.since END
        """,
        completion.room_nid,
        completion.join_position,
        [member.user_id for member in completion.members],
        [member.membership for member in completion.members],
        [member.event_nid for member in completion.members],
        [member.sender for member in completion.members],
    )


async def postpone_events(tx: Transaction, room_nid: int, origin: ServerName, pdus: Sequence[bytes], most: int) -> bool:
    """Keep events of a room until it is complete; return False if so many wait already that these cannot."""
    waiting: int = await tx.fetchval("SELECT count(*) FROM postponed_events WHERE room_nid = $1", room_nid)
    if waiting + len(pdus) > most:
        return False
    await tx.execute(
        "INSERT INTO postponed_events (room_nid, origin, pdu) SELECT $1, $2, pdu FROM unnest($3::bytea[]) AS pdu",
        room_nid,
        origin,
        list(pdus),
    )
    return True


async def postponed_events(
    tx: Transaction, room_nid: int, limit: int, after: int = 0
) -> list[tuple[int, ServerName, bytes]]:
    """Return the first events that wait, after a number, each with its number and who sent it."""
    rows = await tx.fetch(
        "SELECT number, origin, pdu FROM postponed_events WHERE room_nid = $1 AND number > $3 ORDER BY number LIMIT $2",
        room_nid,
        limit,
        after,
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def forget_postponed(tx: Transaction, numbers: Collection[int]) -> None:
    """Forget events that have been taken in."""
    await tx.execute("DELETE FROM postponed_events WHERE number = ANY($1)", list(numbers))


async def tell_of_room(tx: Transaction, room_nid: int) -> None:
    """Tell every process, once this is committed, that a room became partial, or is it no longer."""
    await tx.execute("SELECT pg_notify($1, $2::text)", CHANNEL, str(room_nid))
