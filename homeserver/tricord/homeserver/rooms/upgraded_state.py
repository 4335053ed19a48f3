"""What a room that replaces another one takes over from its state. Pure rules; `upgrade.py` applies them.

https://spec.matrix.org/v1.19/client-server-api/#room-upgrades
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tricord.homeserver.rooms.presets import ABOVE_ADMINISTRATORS, ADMINISTRATOR, MODERATOR
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.protocol.errors import BadJson
from tricord.protocol.identifiers import RoomAlias, UserId, is_valid_user_id
from tricord.protocol.power_levels import DEFAULTS, creators_of, parse_level
from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.strict_json import JsonObject, check_event_integers

# In the order in which the new room gets them.
_CARRIED = (
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.retention",
    "m.room.join_rules",
)
_OF_SPACES = ("m.space.child", "m.space.parent")
# What makes a room what it is from its first event on.
_CREATE_KEYS = ("type", "m.federate")
_TABLES = ("events", "users", "notifications")

State = Mapping[StateKey, StoredEvent]


def carried_create_content(create: StoredEvent) -> JsonObject:
    """Return what the new create event has of the old one; creators are not carried over."""
    return {key: create.event.content[key] for key in _CREATE_KEYS if key in create.event.content}


def carried_state(state: State, version: RoomVersion) -> Iterator[tuple[str, str, JsonObject]]:
    """Yield type, state key and content of what the new room gets besides its power levels and addresses.

    Bans are the only memberships: whoever upgrades the room can speak them anew. What new rooms cannot hold is left
    out.
    """
    carried = [stored for event_type in _CARRIED if (stored := state.get((event_type, ""))) is not None]
    carried += [stored for (event_type, _), stored in state.items() if event_type in _OF_SPACES]
    for stored in carried:
        event_type, state_key = stored.event.type, stored.event.state_key or ""
        content = stored.event.content
        if event_type == "m.room.join_rules":
            content = _join_rules(content, version)
        # A child or parent that was taken away has no content any more.
        if _can_be_held(content) and (content or event_type not in _OF_SPACES):
            yield event_type, state_key, content
    for (event_type, user_id), stored in state.items():
        if event_type == "m.room.member" and stored.event.content.get("membership") == "ban":
            reason = stored.event.content.get("reason")
            yield event_type, user_id, {"membership": "ban", **({"reason": reason} if isinstance(reason, str) else {})}


def carried_addresses(content: JsonObject, moved: Collection[RoomAlias]) -> JsonObject:
    """Return the `m.room.canonical_alias` of the new room: of the addresses shown, those that lead to it now."""
    addresses: JsonObject = {}
    if content.get("alias") in moved:
        addresses["alias"] = content["alias"]
    others = content.get("alt_aliases")
    if isinstance(others, list) and (kept := [alias for alias in others if alias in moved]):
        addresses["alt_aliases"] = kept
    return addresses


def carried_power_levels(
    state: State, version: RoomVersion, upgrader: UserId, creators: Collection[UserId]
) -> JsonObject:
    """Return the levels of the new room, as its version writes them.

    Who stands above all levels in one of the rooms and not in the other is given what comes closest.
    """
    create = state["m.room.create", ""].event
    stored = state.get(("m.room.power_levels", ""))
    content = _parsed_levels({} if stored is None else stored.event.content, create.version)
    users: dict[str, int] = content.setdefault("users", {})
    events: dict[str, int] = content.setdefault("events", {})
    tombstone = events.get("m.room.tombstone", content.get("state_default", DEFAULTS["state_default"]))
    were_above = create.version.creators_have_infinite_power
    if version.creators_have_infinite_power:
        named = {upgrader, *creators}
        for creator in named:
            users.pop(creator, None)
        if were_above:
            users.update(dict.fromkeys((one for one in creators_of(create) if one not in named), ADMINISTRATOR))
        else:
            # Administrators could replace the old room; in the new one that is for creators, as in rooms made so.
            events["m.room.tombstone"] = max(tombstone, ABOVE_ADMINISTRATORS)
    elif were_above:
        users.update(dict.fromkeys(creators_of(create), ADMINISTRATOR))
        events["m.room.tombstone"] = min(tombstone, ADMINISTRATOR)
    elif stored is None:
        users.update(dict.fromkeys({upgrader, *creators_of(create)}, ADMINISTRATOR))
    return content


def silencing_power_levels(content: JsonObject, version: RoomVersion) -> JsonObject:
    """Return the levels of the old room with sending and inviting above what its members have.

    "For example, setting `events_default` and `invite` to the greater of `50` and `users_default + 1`."
    """
    members = parse_level(content.get("users_default"), version) or DEFAULTS["users_default"]
    silent = max(MODERATOR, members + 1)
    levels = dict(content)
    for name in ("events_default", "invite"):
        level = parse_level(content.get(name), version)
        levels[name] = max(silent, DEFAULTS[name] if level is None else level)
    return levels


def _parsed_levels(content: JsonObject, version: RoomVersion) -> dict[str, Any]:
    """Return the levels as integers, whatever the old version made of other values; users are who can be users."""
    parsed: dict[str, Any] = {}
    for name, value in content.items():
        if name in _TABLES:
            entries = value.items() if isinstance(value, dict) else ()
            parsed[name] = {
                key: level
                for key, one in entries
                if (level := parse_level(one, version)) is not None and (name != "users" or is_valid_user_id(key))
            }
        elif (level := parse_level(value, version)) is not None:
            parsed[name] = level
    return parsed


def _join_rules(content: JsonObject, version: RoomVersion) -> JsonObject:
    """Return the join rule, or the strictest one where the new version does not know it."""
    known = {
        "restricted": version.restricted_joins,
        "knock_restricted": version.knock_restricted_joins,
        "knock": version.knocking,
    }
    return content if known.get(str(content.get("join_rule")), True) else {"join_rule": "invite"}


def _can_be_held(content: JsonObject) -> bool:
    try:
        check_event_integers(content)
    except BadJson:
        return False
    return True
