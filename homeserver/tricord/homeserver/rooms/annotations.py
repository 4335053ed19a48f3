"""Annotations, reactions for one: nobody says the same of an event twice.

https://spec.matrix.org/v1.19/client-server-api/#avoiding-duplicate-annotations

The log asks while it holds the heads of the rooms that it is about to move. So of two equal ones that are sent at the
same time, wherever, one finds the other. Events of other servers are not asked.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import orjson

from tricord.homeserver.rooms.drafts import Draft
from tricord.homeserver.rooms.threads import relation_in
from tricord.homeserver.storage.aggregations import annotations_by
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.events import events_by_id
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_ANNOTATION = "m.annotation"


class Annotation(NamedTuple):
    """What somebody says of an event, and in which way."""

    room_id: RoomId
    sender: UserId
    type: str
    parent_id: EventId
    key: bytes
    """As JSON: a key need not be text."""


def annotation_in(draft: Draft) -> Annotation | None:
    """Return what a draft says of an event, if it is an annotation."""
    related = None if draft.state_key is not None else relation_in(draft.content)
    if related is None or related[0] != _ANNOTATION or "\0" in related[1]:
        return None
    return Annotation(draft.room_id, draft.sender, draft.type, related[1], _key(draft.content))


async def annotations_there(tx: Transaction, wanted: Collection[Annotation]) -> set[Annotation]:
    """Return those of some annotations that have been made, and not redacted."""
    found = await annotations_by(tx, {(one.parent_id, one.sender, one.type) for one in wanted})
    events = await events_by_id(tx, [event_id for _, event_id in found]) if found else {}
    return {
        Annotation(event.room_id, event.sender, event.type, parent_id, _key(event.content))
        for parent_id, event_id in found
        if event_id in events
        for event in [events[event_id].event]
    } & set(wanted)


def _key(content: JsonObject) -> bytes:
    relates_to = content.get("m.relates_to")
    return orjson.dumps(relates_to.get("key") if isinstance(relates_to, dict) else None, option=orjson.OPT_SORT_KEYS)
