"""What is written to rooms, as rows of the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tricord.homeserver.rooms.chain import transaction_digest
from tricord.homeserver.rooms.room_write import Link, RoomWrite
from tricord.homeserver.storage.event_batch import EventBatch
from tricord.homeserver.storage.event_rows import (
    EventRow,
    MembershipRow,
    MissingRow,
    NodeRow,
    RedactionRow,
    RelationRow,
    RoomMove,
    StateRow,
    TransactionRow,
    WaitingRow,
)
from tricord.homeserver.storage.room_servers import RemoteMemberRow
from tricord.protocol.events import Event
from tricord.protocol.identifiers import ServerName, fits, is_valid_user_id, server_name_of


def batch_of(writes: Collection[RoomWrite], own_name: ServerName, now_ms: int) -> EventBatch:
    """Return what writes to some rooms, each of them a different one; `own_name` is this server's."""
    batch = EventBatch()
    for write in writes:
        room = write.room
        extremities = _array([extremity.nid for extremity in write.extremities])
        batch.rooms.append(RoomMove(room.nid, room.head, write.state_root, extremities))
        batch.state += [
            StateRow(room.nid, *key, None if became is None else became.nid) for key, became in write.state.items()
        ]
        batch.nodes += [NodeRow(room.nid, node_id, node) for node_id, node in write.nodes.items()]
        batch.memberships += _membership_rows(write)
        batch.remote_members += _remote_member_rows(write, own_name)
        batch.redactions += [
            RedactionRow(room.nid, stored.nid, stored.event.json, stored.redacted_because or "")
            for stored in write.redacted
        ]
        batch.missing += [MissingRow(room.nid, *missing) for missing in write.missing]
        batch.waiting += [WaitingRow(room.nid, *waiting) for waiting in write.waiting_redactions]
        batch.arrive = batch.arrive or any(link.draft is None for link in write.links)
        for link in write.links:
            batch.events.append(_event_row(room.nid, link))
            batch.relations += _relation_rows(room.nid, link)
            digest = None if link.draft is None else transaction_digest(link.draft)
            if digest is not None:
                batch.transactions.append(TransactionRow(room.nid, digest, link.nid, now_ms))
    return batch


def relation_of(event: Event) -> tuple[str, str] | None:
    """Return the event id and the relation type of what an event relates to, if it can be stored."""
    relates_to = event.content.get("m.relates_to")
    if not isinstance(relates_to, dict):
        return None
    parent, rel_type = relates_to.get("event_id"), relates_to.get("rel_type")
    if isinstance(parent, str) and isinstance(rel_type, str) and _is_storable(parent) and _is_storable(rel_type):
        return parent, rel_type
    return None


def _is_storable(name: str) -> bool:
    return fits(name) and "\0" not in name


def _event_row(room_nid: int, link: Link) -> EventRow:
    event, transaction = link.event, None if link.draft is None else link.draft.transaction
    return EventRow(
        room_nid,
        link.nid,
        event.event_id,
        event.depth,
        event.type,
        event.state_key,
        event.sender,
        event.origin_server_ts,
        link.state_after,
        link.replaces,
        link.redacted_because,
        link.soft_failed,
        link.rejected,
        None if transaction is None else transaction.device_id,
        None if transaction is None else transaction.transaction_id,
        _array(link.prev_nids),
        _array(link.auth_nids),
        event.json,
        link.forward,
        link.resolved_state,
    )


def _membership_rows(write: RoomWrite) -> list[MembershipRow]:
    changes = _changes(write)
    rows = []
    for user_id, membership, became in write.members():
        began, may_be_older = changes.get(user_id, (None, True))
        nid = None if became is None else became.nid
        sender = user_id if became is None else became.event.sender
        rows.append(MembershipRow(write.room.nid, user_id, membership, nid, sender, began or nid, may_be_older))
    return rows


def _remote_member_rows(write: RoomWrite, own_name: ServerName) -> list[RemoteMemberRow]:
    rows = []
    for user_id, membership, became in write.members():
        server = server_name_of(user_id)
        # There are member events of what cannot be users.
        if server != own_name and is_valid_user_id(user_id):
            nid = None if became is None else became.nid
            by_us = isinstance(became, Link) and became.forward and became.event.sender != user_id
            rows.append(RemoteMemberRow(write.room.nid, user_id, server, membership, nid, by_us))
    return rows


def _changes(write: RoomWrite) -> dict[str, tuple[int, bool]]:
    """Return which new event began what each user is to the room; or whether an older one may have."""
    changes: dict[str, tuple[str, int, bool]] = {}
    for link in write.links:
        if link.event.type == "m.room.member" and link.event.state_key is not None and link.is_placed:
            user_id, membership = link.event.state_key, link.event.content["membership"]
            before = changes.get(user_id)
            if before is None or before[0] != membership:
                changes[user_id] = (membership, link.nid, before is None)
    return {user_id: (nid, may_be_older) for user_id, (_, nid, may_be_older) in changes.items()}


def _relation_rows(room_nid: int, link: Link) -> list[RelationRow]:
    relation = relation_of(link.event)
    return (
        []
        if relation is None or not link.is_placed
        else [RelationRow(room_nid, *relation, link.nid, link.event.type, link.event.sender)]
    )


def _array(numbers: Sequence[int]) -> str:
    """Write numbers as PostgreSQL's array literal."""
    return "{" + ",".join(map(str, numbers)) + "}"
