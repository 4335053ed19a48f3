"""Chains as rows of the database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from tricord.homeserver.rooms.chain import Chain, Link, transaction_digest
from tricord.homeserver.storage.event_batch import (
    EventBatch,
    EventRow,
    MembershipRow,
    NodeRow,
    RedactionRow,
    RelationRow,
    RoomMove,
    StateRow,
    TransactionRow,
)
from tricord.protocol.events import Event
from tricord.protocol.identifiers import fits


def batch_of(chains: Collection[Chain], now_ms: int) -> EventBatch:
    """Return what writes some chains, each of a different room."""
    batch = EventBatch()
    for chain in chains:
        room = chain.room
        extremities = _array([extremity.nid for extremity in chain.extremities])
        batch.rooms.append(RoomMove(room.nid, room.head, chain.state_root, extremities))
        batch.state += _state_rows(chain)
        batch.nodes += [NodeRow(room.nid, node_id, node) for node_id, node in chain.nodes.items()]
        batch.memberships += _membership_rows(chain)
        batch.redactions += [
            RedactionRow(room.nid, stored.nid, stored.event.json, stored.redacted_because or "")
            for stored in chain.redacted()
        ]
        for link in chain.links:
            batch.events.append(_event_row(room.nid, link))
            batch.relations += _relation_rows(room.nid, link)
            digest = transaction_digest(link.draft)
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
    event, transaction = link.event, link.draft.transaction
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
        None if transaction is None else transaction.device_id,
        None if transaction is None else transaction.transaction_id,
        _array(link.prev_nids),
        _array(link.auth_nids),
        event.json,
    )


def _state_rows(chain: Chain) -> list[StateRow]:
    last = {key: link.nid for link in chain.links if (key := link.key) is not None}
    return [StateRow(chain.room.nid, *key, nid) for key, nid in last.items()]


def _membership_rows(chain: Chain) -> list[MembershipRow]:
    rows: dict[str, MembershipRow] = {}
    for user_id, membership, link in member_links(chain):
        before = rows.get(user_id)
        if before is not None and before.membership == membership:
            since, may_be_older = before.since_nid, before.may_be_older
        else:
            since, may_be_older = link.nid, before is None
        rows[user_id] = MembershipRow(
            chain.room.nid, user_id, membership, link.nid, link.event.sender, since, may_be_older
        )
    return list(rows.values())


def member_links(chain: Chain) -> Iterator[tuple[str, str, Link]]:
    """Yield the user, the membership and the event of each membership that a chain sets."""
    for link in chain.links:
        if link.event.type == "m.room.member" and link.event.state_key is not None:
            yield link.event.state_key, link.event.content["membership"], link


def _relation_rows(room_nid: int, link: Link) -> list[RelationRow]:
    relation = relation_of(link.event)
    return [] if relation is None else [RelationRow(room_nid, *relation, link.nid, link.event.type, link.event.sender)]


def _array(numbers: Sequence[int]) -> str:
    """Write numbers as PostgreSQL's array literal."""
    return "{" + ",".join(map(str, numbers)) + "}"
