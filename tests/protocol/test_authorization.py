from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.scenes import ALICE, ALL_VERSIONS, BOB, CAROL, Room, versions
from tests.protocol.vectors import load
from tricord.protocol.authorization import auth_event_keys, authorize, check_auth_events, may_redact
from tricord.protocol.errors import BadJson, EventRejected
from tricord.protocol.events import Event, VerifiedEvent, parse_event
from tricord.protocol.identifiers import EventId, RoomId
from tricord.protocol.numbered_rules import RuleBroken
from tricord.protocol.room_versions import (
    ROOM_VERSIONS,
    V1,
    V2,
    V3,
    V6,
    V7,
    V11,
    V12,
    RoomVersion,
)

each_version = pytest.mark.parametrize("version", ALL_VERSIONS, ids=repr)
VECTORS = load("event_auth")["cases"]


def broken_rule(room: Room, event: Event) -> str:
    """Return the number of the rule that refuses an event."""
    with pytest.raises(RuleBroken) as refusal:
        room.authorize(event)
    assert str(refusal.value).startswith(f"rule {refusal.value.rule}: ")
    return refusal.value.rule


def joined(version: RoomVersion, *users: Any) -> Room:
    """Return a public room that Alice made and others joined."""
    room = Room(version)
    room.join_rule("public")
    for user in users:
        room.join(user)
    return room


# The vectors of others


def minimal_event(pdu: dict[str, Any], version: RoomVersion) -> Event:
    """Read an event of the vectors, which leave out all that the rules do not look at."""
    nothing: dict[str, Any] = {"hashes": {}, "signatures": {}, "prev_events": [], "auth_events": []}
    filled = {"depth": 1, "origin_server_ts": 1, **nothing, **pdu}
    if "event_id" in pdu and version.event_ids is not V1.event_ids:
        return VerifiedEvent.from_stored(json.dumps(filled).encode(), version, EventId(pdu["event_id"]))
    return parse_event(filled, version)


def vector_state(case: dict[str, Any]) -> dict[tuple[str, str], Event]:
    version = ROOM_VERSIONS[case["room_version"]]
    state = {}
    for value in case["auth_events"].values():
        for pdu in [value] if "type" in value else value.values():
            state_key = pdu.get("state_key", "")
            state[pdu["type"], state_key] = minimal_event({**pdu, "state_key": state_key}, version)
    return state


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_what_others_allow_is_allowed(case: dict[str, Any]) -> None:
    for pdu in case["allowed"]:
        if "event_id" in pdu:
            pdu["event_id"] = "$" + pdu["event_id"][1:]  # one of them bears another sigil, by a slip of the pen
        authorize(minimal_event(pdu, ROOM_VERSIONS[case["room_version"]]), vector_state(case))


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_what_others_refuse_is_refused(case: dict[str, Any]) -> None:
    for pdu in case["not_allowed"]:
        with pytest.raises((EventRejected, BadJson)):
            authorize(minimal_event(pdu, ROOM_VERSIONS[case["room_version"]]), vector_state(case))


# Rule 1: m.room.create


@each_version
def test_only_the_first_event_creates_the_room(version: RoomVersion) -> None:
    room = Room(version)
    more: dict[str, Any] = {"room_id": None} if version.room_id_is_create_event_id else {}
    create = room.event(ALICE, "m.room.create", "", {"creator": ALICE}, **more)
    assert broken_rule(room, create) == "1.1"


def test_a_room_is_created_in_the_name_of_ones_own_server_until_rooms_name_none() -> None:
    room = Room(V11)
    assert broken_rule(room, room.event(BOB, "m.room.create", "", {}, prev_events=[])) == "1.2"
    room = Room(V12)
    assert broken_rule(room, room.event(ALICE, "m.room.create", "", {}, prev_events=[])) == "1.2"
    room.authorize(room.event(BOB, "m.room.create", "", {}, prev_events=[], room_id=None))


@each_version
@pytest.mark.parametrize("named", ["99", "", None, 12, ["12"]], ids=repr)
def test_a_room_of_an_unknown_version_is_refused(version: RoomVersion, named: Any) -> None:
    with pytest.raises(RuleBroken, match=r"rule 1\.3"):
        Room(version, {"room_version": named})


def test_the_creator_is_named_until_version_11() -> None:
    for version in ALL_VERSIONS:
        room = Room(version)
        more: dict[str, Any] = {"room_id": None} if version.room_id_is_create_event_id else {}
        create = room.event(ALICE, "m.room.create", "", {}, prev_events=[], **more)
        if version.create_content_names_creator:
            assert broken_rule(room, create) == "1.4"
        else:
            room.authorize(create)


@pytest.mark.parametrize("creators", [None, "@bob:b.test", {}, ["bob"], [5], [ALICE, "@"]], ids=repr)
def test_additional_creators_are_user_ids(creators: Any) -> None:
    with pytest.raises(RuleBroken, match=r"rule 1\.4"):
        Room(V12, {"additional_creators": creators})
    Room(V11, {"additional_creators": creators})


@each_version
def test_there_is_no_second_kind_of_create_event(version: RoomVersion) -> None:
    room = Room(version)
    for state_key in (None, "x"):
        assert broken_rule(room, room.event(ALICE, "m.room.create", state_key, {}, prev_events=[])) == "1"


# Rules about where the event belongs


def test_a_room_is_the_one_its_create_event_made() -> None:
    room, other = Room(V12), Room(V12, {"another": "one"})
    event = room.event(ALICE, "x", None, {}, room_id=other.room_id)
    with pytest.raises(RuleBroken, match="rule 2:"):
        authorize(event, room.state)
    with pytest.raises(RuleBroken, match="rule 2:"):
        authorize(room.event(ALICE, "x", None, {}), {})


@each_version
def test_auth_events_are_those_that_count_and_nothing_else(version: RoomVersion) -> None:
    room = joined(version, BOB)
    number = 3 if version.room_id_is_create_event_id else 2
    event = room.event(BOB, "m.room.message", None, {})
    good = [room.state[key] for key in auth_event_keys(event.type, BOB, None, {}, version) if key in room.state]
    check_auth_events(event, good)

    def refusal(auth_events: list[Event], rejected: tuple[EventId, ...] = ()) -> str:
        with pytest.raises(RuleBroken) as broken:
            check_auth_events(event, auth_events, rejected)
        return broken.value.rule

    elsewhere = room.event(BOB, "m.room.member", BOB, {"membership": "join"}, room_id=RoomId("!elsewhere:a.test"))
    message = room.say(BOB)
    assert refusal([*good, good[-1]]) == f"{number}.1"
    assert refusal([*good, room.state["m.room.join_rules", ""]]) == f"{number}.2"
    assert refusal([*good, message]) == f"{number}.2"
    assert refusal(good, (good[-1].event_id,)) == f"{number}.3"
    assert refusal([*good[:-1], elsewhere]) == f"{number}.5"
    if version.room_id_is_create_event_id:
        assert refusal([*good, room.state["m.room.create", ""]]) == "3.2"
    else:
        assert refusal(good[1:]) == "2.4"


@each_version
def test_a_room_that_does_not_federate_is_for_one_server(version: RoomVersion) -> None:
    room = Room(version, {"m.federate": False})
    room.join_rule("public")
    number = "4" if version.room_id_is_create_event_id else "3"
    assert broken_rule(room, room.event(BOB, "m.room.member", BOB, {"membership": "join"})) == number


def test_aliases_are_set_by_their_server_in_the_oldest_rooms() -> None:
    for version in versions("aliases_are_authorized"):
        room = Room(version)
        room.authorize(room.event(BOB, "m.room.aliases", "b.test", {}))
        assert broken_rule(room, room.event(BOB, "m.room.aliases", None, {})) == "4.1"
        assert broken_rule(room, room.event(BOB, "m.room.aliases", "a.test", {})) == "4.2"
    assert broken_rule(Room(V6), Room(V6).event(BOB, "m.room.aliases", "b.test", {})) == "5"


# Memberships


def member_rule(version: RoomVersion, membership: str) -> str:
    """Return the number of the list of rules for a membership."""
    top = 5 if version.aliases_are_authorized or version.room_id_is_create_event_id else 4
    below = ["join", "invite", "leave", "ban", "knock"].index(membership) + (3 if version.restricted_joins else 2)
    return f"{top}.{below}"


@each_version
def test_a_membership_has_a_user_and_a_known_value(version: RoomVersion) -> None:
    room = Room(version)
    top = member_rule(version, "join")[0]
    last = 8 if version.restricted_joins else 7 if version.knocking else 6
    assert broken_rule(room, room.event(ALICE, "m.room.member", None, {"membership": "join"})) == f"{top}.1"
    assert broken_rule(room, room.event(ALICE, "m.room.member", ALICE, {})) == f"{top}.1"
    assert broken_rule(room, room.event(ALICE, "m.room.member", ALICE, {"membership": 5})) == f"{top}.1"
    assert broken_rule(room, room.event(ALICE, "m.room.member", ALICE, {"membership": "x"})) == f"{top}.{last}"


@each_version
def test_joining_follows_the_join_rule(version: RoomVersion) -> None:
    room, rule = Room(version), member_rule(version, "join")
    last = 7 if version.restricted_joins else 6
    join = room.event(BOB, "m.room.member", BOB, {"membership": "join"})
    assert broken_rule(room, join) == f"{rule}.{last}"
    for name in ("invite", "private", "knock", "x"):
        room.join_rule(name)
        assert broken_rule(room, join_now(room)) == f"{rule}.{last}"
    room.join_rule("public")
    room.authorize(join_now(room))
    assert broken_rule(room, room.event(BOB, "m.room.member", CAROL, {"membership": "join"})) == f"{rule}.2"
    room.member(ALICE, BOB, "ban")
    assert broken_rule(room, join_now(room)) == f"{rule}.3"


def join_now(room: Room, **content: Any) -> Event:
    return room.event(BOB, "m.room.member", BOB, {"membership": "join", **content})


@each_version
def test_the_invited_join(version: RoomVersion) -> None:
    room = Room(version)
    room.member(ALICE, BOB, "invite")
    room.join(BOB)
    room.join(BOB)


@each_version
def test_nobody_makes_the_creator_join_again(version: RoomVersion) -> None:
    room = Room(version)
    create = room.state["m.room.create", ""].event_id
    event = room.event(BOB, "m.room.member", ALICE, {"membership": "join"}, prev_events=[create])
    assert broken_rule(room, event) == f"{member_rule(version, 'join')}.2"


@each_version
def test_a_restricted_room_needs_somebody_who_may_invite(version: RoomVersion) -> None:
    room, rule = joined(version, CAROL), member_rule(version, "join")
    room.levels(users={} if version.creators_have_infinite_power else {ALICE: 100}, invite=50)
    room.join_rule("restricted")
    if not version.restricted_joins:
        assert broken_rule(room, join_now(room)) == f"{rule}.6"
        return
    assert broken_rule(room, join_now(room)) == f"{rule}.5.2"
    assert broken_rule(room, join_now(room, join_authorised_via_users_server=CAROL)) == f"{rule}.5.2"
    assert broken_rule(room, join_now(room, join_authorised_via_users_server="@x:x.test")) == f"{rule}.5.2"
    assert broken_rule(room, join_now(room, join_authorised_via_users_server=5)) == f"{rule[0]}.2.1"
    room.join(BOB, join_authorised_via_users_server=ALICE)
    room.join(BOB)


@each_version
def test_knock_restricted_is_both_from_version_10_on(version: RoomVersion) -> None:
    room = Room(version)
    room.join_rule("knock_restricted")
    knock = room.event(BOB, "m.room.member", BOB, {"membership": "knock"})
    join = join_now(room, join_authorised_via_users_server=ALICE)
    for event in (knock, join):
        if version.knock_restricted_joins:
            room.authorize(event)
        else:
            broken_rule(room, event)


@each_version
def test_knocking_is_for_those_outside(version: RoomVersion) -> None:
    room, rule = joined(version, CAROL), member_rule(version, "knock")

    def knock(target: Any = BOB) -> Event:
        return room.event(BOB, "m.room.member", target, {"membership": "knock"})

    if not version.knocking:
        assert broken_rule(room, knock()) == rule
        return
    assert broken_rule(room, knock()) == f"{rule}.1"
    room.join_rule("knock")
    assert broken_rule(room, knock(CAROL)) == f"{rule}.2"
    room.authorize(knock())
    room.member(BOB, BOB, "knock")
    room.authorize(room.event(BOB, "m.room.member", BOB, {"membership": "leave"}))
    room.member(ALICE, BOB, "invite")
    assert broken_rule(room, knock()) == f"{rule}.4"
    room.join(BOB)
    room.member(ALICE, BOB, "ban")
    assert broken_rule(room, knock()) == f"{rule}.4"


@each_version
def test_inviting_takes_membership_and_power(version: RoomVersion) -> None:
    room, rule = joined(version, CAROL), member_rule(version, "invite")

    def invite(sender: Any, target: Any) -> Event:
        return room.event(sender, "m.room.member", target, {"membership": "invite"})

    assert broken_rule(room, invite(BOB, CAROL)) == f"{rule}.2"
    assert broken_rule(room, invite(ALICE, CAROL)) == f"{rule}.3"
    room.authorize(invite(CAROL, BOB))
    room.levels(users={} if version.creators_have_infinite_power else {ALICE: 100}, invite=1)
    assert broken_rule(room, invite(CAROL, BOB)) == f"{rule}.5"
    room.authorize(invite(ALICE, BOB))


@each_version
def test_leaving_is_free_and_removing_takes_power(version: RoomVersion) -> None:
    room, rule = joined(version, CAROL), member_rule(version, "leave")

    def leave(sender: Any, target: Any) -> Event:
        return room.event(sender, "m.room.member", target, {"membership": "leave"})

    assert broken_rule(room, leave(BOB, BOB)) == f"{rule}.1"
    assert broken_rule(room, leave(BOB, CAROL)) == f"{rule}.2"
    assert broken_rule(room, leave(CAROL, ALICE)) == f"{rule}.5"
    room.authorize(leave(CAROL, CAROL))
    room.authorize(leave(ALICE, CAROL))
    room.member(ALICE, BOB, "ban")
    assert broken_rule(room, leave(CAROL, BOB)) == f"{rule}.3"
    room.authorize(leave(ALICE, BOB))


@each_version
def test_banning_takes_more_power_than_its_target_has(version: RoomVersion) -> None:
    room, rule = joined(version, CAROL), member_rule(version, "ban")

    def ban(sender: Any, target: Any) -> Event:
        return room.event(sender, "m.room.member", target, {"membership": "ban"})

    assert broken_rule(room, ban(BOB, CAROL)) == f"{rule}.1"
    assert broken_rule(room, ban(CAROL, BOB)) == f"{rule}.3"
    own = {} if version.creators_have_infinite_power else {ALICE: 100}
    room.levels(users={**own, BOB: 50, CAROL: 50})
    assert broken_rule(room, ban(CAROL, BOB)) == f"{rule}.3"
    room.authorize(ban(ALICE, BOB))


# Everything else


@each_version
def test_only_members_with_the_power_speak(version: RoomVersion) -> None:
    room = joined(version, CAROL)
    offset = int(member_rule(version, "join")[0])
    assert broken_rule(room, room.event(BOB, "x", None, {})) == f"{offset + 1}"
    assert broken_rule(room, room.event(CAROL, "x", "", {})) == f"{offset + 3}"
    assert broken_rule(room, room.event(ALICE, "x", BOB, {})) == f"{offset + 4}"
    room.authorize(room.event(ALICE, "x", ALICE, {}))
    room.say(CAROL)
    own = {} if version.creators_have_infinite_power else {ALICE: 100}
    room.levels(users=own, events={"m.room.message": 1}, invite=1)
    assert broken_rule(room, room.event(CAROL, "m.room.message", None, {})) == f"{offset + 3}"
    assert broken_rule(room, room.event(CAROL, "m.room.third_party_invite", "t", {})) == f"{offset + 2}.1"
    room.authorize(room.event(ALICE, "m.room.third_party_invite", "t", {}))


def test_redactions_are_authorized_in_the_oldest_rooms_only() -> None:
    theirs, own = EventId("$x:a.test"), EventId("$x:b.test")
    for version in (V1, V2):
        room = joined(version, BOB)
        assert broken_rule(room, room.event(BOB, "m.room.redaction", None, {}, redacts=theirs)) == "11.3"
        assert broken_rule(room, room.event(ALICE, "m.room.redaction", None, {})) == "11"
        room.authorize(room.event(BOB, "m.room.redaction", None, {}, redacts=own))
        room.authorize(room.event(ALICE, "m.room.redaction", None, {}, redacts=own))
    room = joined(V3, BOB)
    room.authorize(room.event(BOB, "m.room.redaction", None, {}, redacts=theirs))


@each_version
def test_a_redaction_takes_effect_with_power_or_on_ones_own_server(version: RoomVersion) -> None:
    room = joined(version, BOB, CAROL)
    target = room.say(BOB)

    def redaction(sender: Any, event_id: EventId = target.event_id) -> Event:
        return room.event(sender, "m.room.redaction", None, {}, redacts=event_id)

    assert may_redact(redaction(BOB), target, room.state)
    assert may_redact(redaction(ALICE), target, room.state)
    assert may_redact(redaction(CAROL), target, room.state) is version.redactions_are_authorized
    create = room.state["m.room.create", ""]
    assert not may_redact(redaction(ALICE, create.event_id), create, room.state)


def test_selected_state_follows_the_type_and_the_version() -> None:
    create, levels, rules = ("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.join_rules", "")
    alice, bob, carol = (("m.room.member", user) for user in (ALICE, BOB, CAROL))
    assert auth_event_keys("m.room.create", ALICE, "", {}, V11) == []
    assert auth_event_keys("x", ALICE, None, {}, V11) == [create, levels, alice]
    assert auth_event_keys("x", ALICE, None, {}, V12) == [levels, alice]

    def member(content: dict[str, Any], version: RoomVersion = V12) -> list[tuple[str, str]]:
        return auth_event_keys("m.room.member", ALICE, BOB, content, version)

    join = {"membership": "join", "join_authorised_via_users_server": CAROL}
    assert member({"membership": "leave"}) == [levels, alice, bob]
    assert member({"membership": "knock"}) == [levels, alice, bob, rules]
    assert member(join) == [levels, alice, bob, rules, carol]
    assert member(join, V7) == [create, levels, alice, bob, rules]
    assert member({**join, "join_authorised_via_users_server": ALICE}) == [levels, alice, bob, rules]
    invite = {"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}}
    assert member(invite) == [levels, alice, bob, rules, ("m.room.third_party_invite", "t")]
    odd: list[Any] = [5, {}, {"signed": 5}, {"signed": {"token": 5}}]
    for value in odd:
        assert member({**invite, "third_party_invite": value}) == [levels, alice, bob, rules]


KEYS = st.sampled_from([BOB, "signed", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.sampled_from(["join", "", ALICE, "public"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)
CONTENTS = st.dictionaries(
    st.sampled_from(
        [
            *("membership", "third_party_invite", "join_authorised_via_users_server", "users", "events", "ban"),
            *("notifications", "join_rule", "creator", "additional_creators", "room_version", "public_keys"),
        ]
    ),
    JSON,
    max_size=4,
)
TYPES = [
    f"m.room.{name}"
    for name in ("create", "member", "power_levels", "join_rules", "third_party_invite", "aliases", "redaction")
]
ACTIONS = st.tuples(
    st.sampled_from([ALICE, BOB]),
    st.sampled_from(TYPES),
    st.sampled_from(["", ALICE, BOB, None]),
    CONTENTS,
)


@given(st.sampled_from(ALL_VERSIONS), st.lists(ACTIONS, max_size=6))
def test_any_events_are_allowed_or_refused_and_nothing_else(version: RoomVersion, actions: list[Any]) -> None:
    room = joined(version, BOB)
    for sender, event_type, state_key, content in actions:
        event = room.event(sender, event_type, state_key, content)
        try:
            authorize(event, room.state)
        except EventRejected:
            if event_type == "m.room.create":
                continue
        if state_key is not None:  # refused or not: whatever is there, the rules must bear it
            room.state[event_type, state_key] = event
