"""What local users want to be appended."""

from __future__ import annotations

from dataclasses import dataclass

from tricord.protocol.errors import BadJson
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject


@dataclass(frozen=True, slots=True)
class ClientTransaction:
    """What makes a request the same request: repeated in the same room, it gets the answer of the first."""

    user_id: UserId
    device_id: str
    # With what the path says beside the room and the transaction id.
    endpoint: str
    transaction_id: str


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that a local user wants; the log gives it its place, hashes and signature."""

    room_id: RoomId
    sender: UserId
    type: str
    state_key: str | None
    content: JsonObject
    redacts: EventId | None = None
    transaction: ClientTransaction | None = None
    origin_server_ts: int | None = None


def check_storable(draft: Draft) -> None:
    """Refuse NUL where PostgreSQL has text. In the content it is allowed: that is kept as bytes."""
    transaction_id = "" if draft.transaction is None else draft.transaction.transaction_id
    if "\0" in draft.type or "\0" in (draft.state_key or "") or "\0" in transaction_id:
        raise BadJson("event types, state keys and transaction ids cannot have NUL in them")
