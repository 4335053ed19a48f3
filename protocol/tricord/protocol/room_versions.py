"""The room versions, each written as its difference from the one before.

Ask a version for what it can (`version.knocking`), never for its name: the names have no order, and a version yet to
come may take anything from any of them.

https://spec.matrix.org/v1.19/rooms/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from tricord.protocol.errors import UnsupportedRoomVersion


class EventIds(Enum):
    """Where the id of an event comes from."""

    CHOSEN_BY_SERVER = "the server that made the event, as a field of it"
    HASH = "the reference hash, in standard base64"
    URL_SAFE_HASH = "the reference hash, in URL-safe base64"


class StateResolutionAlgorithm(Enum):
    """How states that differ become one."""

    V1 = "1"
    V2 = "2"
    V2_1 = "2.1"


@dataclass(frozen=True, slots=True)
class RedactionRules:
    """What a redaction leaves of an event: keys of the event, and keys of its content by event type.

    Types that are not listed lose all their content; `None` in place of keys means that all of it stays. A nested
    mapping keeps a part of an object: `{"third_party_invite": {"signed"}}`.
    """

    event_keys: frozenset[str]
    content_keys: Mapping[str, frozenset[str] | None]
    nested_keys: Mapping[str, Mapping[str, frozenset[str]]]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class RoomVersion:
    """The rules that hold in a room, from its first event on. There is one object per version."""

    name: str

    event_ids: EventIds
    """Also settles who must sign: the server that chose an id must have signed the event that bears it."""

    references_carry_hashes: bool
    """`prev_events` and `auth_events` are pairs of an event id and hashes, not plain ids."""

    max_depth: int
    """The highest `depth` of an event; it is limited by how the version writes integers."""

    key_sizes_are_in_bytes: bool
    """The limit of 255 on `type`, `state_key` and the ids counts bytes. The text always said so, but servers counted
    code points until version 11, and refusing their events would split the older rooms."""

    strict_canonical_json: bool
    """Events with floats or integers of 2^53 and beyond are no events."""

    keys_must_be_valid_at_event_time: bool
    """A signature counts only if its key had not run out by the event's `origin_server_ts`."""

    state_resolution: StateResolutionAlgorithm
    """How the states after several `prev_events` become one."""

    redaction: RedactionRules
    """What a redaction leaves; hashes and signatures cover just that."""

    redactions_are_authorized: bool
    """Who may redact is one of the authorization rules, not asked only when the redaction is applied."""

    redacts_in_content: bool
    """A redaction names its target in its content, not at the top level."""

    aliases_are_authorized: bool
    """`m.room.aliases` may be set by anybody of the server that the state key names."""

    notification_levels_are_authorized: bool
    """Changes of `notifications` in `m.room.power_levels` need the power that changes of `events` do."""

    integer_power_levels: bool
    """Power levels are integers and nothing else; before, `" +50 "` counted as 50 and `50.57` too."""

    knocking: bool
    """The join rule `knock` and the membership `knock` exist: one may ask to be invited."""

    restricted_joins: bool
    """The join rule `restricted` exists: members of other rooms come in if the server of one who may invite signs."""

    knock_restricted_joins: bool
    """The join rule `knock_restricted` exists: both of these at once."""

    create_content_names_creator: bool
    """The creator is `content.creator` of the create event, not its sender."""

    room_id_is_create_event_id: bool
    """The room id is the id of the create event with another sigil. So the create event bears no `room_id`, and no
    event names it in `auth_events`."""

    creators_have_infinite_power: bool
    """The create event's sender and `additional_creators` stand above all levels, and none can be given to them."""

    invitations_show_signed_events: bool
    """What a server shows of the room to somebody who is invited has to be what was signed, the create event with it;
    before, it need not be, since servers long sent excerpts."""

    def __repr__(self) -> str:
        return f"<RoomVersion {self.name}>"


_REDACTION_V1 = RedactionRules(
    event_keys=frozenset(
        {
            *("event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth"),
            *("prev_events", "prev_state", "auth_events", "origin", "origin_server_ts", "membership"),
        }
    ),
    content_keys={
        "m.room.member": frozenset({"membership"}),
        "m.room.create": frozenset({"creator"}),
        "m.room.join_rules": frozenset({"join_rule"}),
        "m.room.power_levels": frozenset(
            {"ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"}
        ),
        "m.room.aliases": frozenset({"aliases"}),
        "m.room.history_visibility": frozenset({"history_visibility"}),
    },
    nested_keys={},
)


def _keeping(rules: RedactionRules, **more: set[str] | None) -> RedactionRules:
    """Return rules that keep more of the content of `m.room.TYPE`; None: all of it."""
    content_keys: dict[str, frozenset[str] | None] = dict(rules.content_keys)
    for name, keys in more.items():
        before = content_keys.get(f"m.room.{name}") or frozenset()
        content_keys[f"m.room.{name}"] = None if keys is None else before | keys
    return replace(rules, content_keys=content_keys)


V1 = RoomVersion(
    name="1",
    event_ids=EventIds.CHOSEN_BY_SERVER,
    references_carry_hashes=True,
    max_depth=2**63 - 1,
    key_sizes_are_in_bytes=False,
    strict_canonical_json=False,
    keys_must_be_valid_at_event_time=False,
    state_resolution=StateResolutionAlgorithm.V1,
    redaction=_REDACTION_V1,
    redactions_are_authorized=True,
    redacts_in_content=False,
    aliases_are_authorized=True,
    notification_levels_are_authorized=False,
    integer_power_levels=False,
    knocking=False,
    restricted_joins=False,
    knock_restricted_joins=False,
    create_content_names_creator=True,
    room_id_is_create_event_id=False,
    creators_have_infinite_power=False,
    invitations_show_signed_events=False,
)

V2 = replace(V1, name="2", state_resolution=StateResolutionAlgorithm.V2)

V3 = replace(
    V2,
    name="3",
    event_ids=EventIds.HASH,
    references_carry_hashes=False,
    redactions_are_authorized=False,
)

V4 = replace(V3, name="4", event_ids=EventIds.URL_SAFE_HASH)

V5 = replace(V4, name="5", keys_must_be_valid_at_event_time=True)

V6 = replace(
    V5,
    name="6",
    max_depth=2**53 - 1,
    strict_canonical_json=True,
    aliases_are_authorized=False,
    notification_levels_are_authorized=True,
    redaction=replace(
        V5.redaction,
        content_keys={key: kept for key, kept in V5.redaction.content_keys.items() if key != "m.room.aliases"},
    ),
)

V7 = replace(V6, name="7", knocking=True)

V8 = replace(V7, name="8", restricted_joins=True, redaction=_keeping(V7.redaction, join_rules={"allow"}))

V9 = replace(V8, name="9", redaction=_keeping(V8.redaction, member={"join_authorised_via_users_server"}))

V10 = replace(V9, name="10", integer_power_levels=True, knock_restricted_joins=True)

V11 = replace(
    V10,
    name="11",
    key_sizes_are_in_bytes=True,
    create_content_names_creator=False,
    redacts_in_content=True,
    redaction=replace(
        _keeping(V10.redaction, create=None, power_levels={"invite"}, redaction={"redacts"}),
        event_keys=V10.redaction.event_keys - {"prev_state", "origin", "membership"},
        nested_keys={"m.room.member": {"third_party_invite": frozenset({"signed"})}},
    ),
)

V12 = replace(
    V11,
    name="12",
    state_resolution=StateResolutionAlgorithm.V2_1,
    room_id_is_create_event_id=True,
    creators_have_infinite_power=True,
    invitations_show_signed_events=True,
)

ROOM_VERSIONS = {version.name: version for version in (V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12)}


def is_room_version(value: Any) -> bool:
    """Return whether a foreign value names a version that is known here."""
    return isinstance(value, str) and value in ROOM_VERSIONS


def room_version(name: Any) -> RoomVersion:
    """Return the version with a (foreign) name, or raise UnsupportedRoomVersion."""
    if not is_room_version(name):
        raise UnsupportedRoomVersion(f"room version {name!r} is not supported")
    return ROOM_VERSIONS[name]
