"""What a group of appends writes, as rows; `event_statement.py` has a part for each kind."""

from __future__ import annotations

from typing import NamedTuple


class RoomMove(NamedTuple):
    """A room's next head, computed against `head`."""

    room_nid: int
    head: int
    state_root: bytes
    extremities: str  # an array literal: arrays of arrays cannot be unnested


class EventRow(NamedTuple):
    """A new event, or one that was an outlier; its position is given when it is written, if it is let in."""

    room_nid: int
    event_nid: int
    event_id: str
    depth: int
    type: str
    state_key: str | None
    sender: str
    origin_server_ts: int
    state_after: bytes
    replaces: str | None
    redacted_because: str | None
    soft_failed: bool
    rejected: bool
    sender_device: str | None
    transaction_id: str | None
    prev_nids: str  # an array literal
    auth_nids: str  # an array literal
    json: bytes
    forward: bool
    resolved_state: bytes | None


class StateRow(NamedTuple):
    """What a key of the current state becomes; None: it is no longer set."""

    room_nid: int
    type: str
    state_key: str
    event_nid: int | None


class NodeRow(NamedTuple):
    """A new node of a state."""

    room_nid: int
    node_id: bytes
    node: bytes


class MembershipRow(NamedTuple):
    """What a user becomes to a room.

    The membership began with the event `since_nid` of this batch, or (`may_be_older`) with whatever event began it if
    it was the same before. Events that are not of this batch have come into force with its last.
    """

    room_nid: int
    user_id: str
    membership: str
    event_nid: int | None
    sender: str
    since_nid: int | None
    may_be_older: bool


class RelationRow(NamedTuple):
    """That an event relates to another."""

    room_nid: int
    parent_id: str
    rel_type: str
    child_nid: int
    child_type: str
    sender: str


class RedactionRow(NamedTuple):
    """What an event that was there before this batch becomes by being redacted."""

    room_nid: int
    event_nid: int
    json: bytes
    redacted_because: str


class MissingRow(NamedTuple):
    """An event that is not here, and one that names it as coming before it."""

    room_nid: int
    event_id: str
    named_by: int


class WaitingRow(NamedTuple):
    """An event that is not here, and its redaction."""

    room_nid: int
    event_id: str
    redaction_nid: int


class TransactionRow(NamedTuple):
    """A client's request that is answered with an event."""

    room_nid: int
    digest: bytes
    event_nid: int
    created_ts: int
