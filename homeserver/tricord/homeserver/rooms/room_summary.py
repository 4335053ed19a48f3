"""What may be said of a room in few words: its name, topic, picture, size and how to get in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tricord.clients.api.directory import PublicRoom
from tricord.clients.api.spaces import RoomSummary
from tricord.homeserver.rooms.restricted_joins import rooms_allowed_from
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.protocol.identifiers import RoomId
from tricord.protocol.strict_json import JsonObject

SUMMARY_KEYS: tuple[StateKey, ...] = tuple(
    (event_type, "")
    for event_type in (
        "m.room.create",
        "m.room.name",
        "m.room.topic",
        "m.room.canonical_alias",
        "m.room.avatar",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
    )
)
FULL_SUMMARY_KEYS: tuple[StateKey, ...] = (*SUMMARY_KEYS, ("m.room.encryption", ""))


def summarize_fully(room_id: RoomId, state: Mapping[StateKey, StoredEvent], joined: int) -> RoomSummary:
    """Return what the state says, with what somebody needs to know who thinks of joining."""
    create, rules, encryption = (
        state.get((event_type, "")) for event_type in ("m.room.create", "m.room.join_rules", "m.room.encryption")
    )
    allowed = [] if rules is None else rooms_allowed_from(rules.event.content)
    algorithm = None if encryption is None else encryption.event.content.get("algorithm")
    return RoomSummary(
        **summarize(room_id, state, joined).model_dump(),
        allowed_room_ids=[RoomId(one) for one in allowed] or None,
        encryption=algorithm if isinstance(algorithm, str) else None,
        room_version=None if create is None else create.event.version.name,
    )


def summarize(room_id: RoomId, state: Mapping[StateKey, StoredEvent], joined: int) -> PublicRoom:
    """Return what the state says; members wrote it, so what is malformed is as if it were absent."""

    def content(event_type: str) -> JsonObject:
        stored = state.get((event_type, ""))
        return {} if stored is None else stored.event.content

    def text(event_type: str, key: str) -> str | None:
        value = content(event_type).get(key)
        return value if isinstance(value, str) and value else None

    return PublicRoom(
        room_id=room_id,
        num_joined_members=joined,
        world_readable=text("m.room.history_visibility", "history_visibility") == "world_readable",
        guest_can_join=text("m.room.guest_access", "guest_access") == "can_join",
        name=text("m.room.name", "name"),
        topic=plain_topic(content("m.room.topic")),
        canonical_alias=text("m.room.canonical_alias", "alias"),
        avatar_url=text("m.room.avatar", "url"),
        join_rule=text("m.room.join_rules", "join_rule"),
        room_type=text("m.room.create", "type"),
    )


def plain_topic(content: JsonObject) -> str | None:
    """Return the topic as plain text, from its rich form or the old one.

    https://spec.matrix.org/v1.19/client-server-api/#mroomtopic
    """
    rich = content.get("m.topic")
    representations: Any = rich.get("m.text") if isinstance(rich, dict) else None
    for one in representations if isinstance(representations, list) else []:
        if isinstance(one, dict) and one.get("mimetype", "text/plain") == "text/plain":
            body = one.get("body")
            if isinstance(body, str) and body:
                return body
    topic = content.get("topic")
    return topic if isinstance(topic, str) and topic else None
