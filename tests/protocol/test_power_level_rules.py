from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.scenes import ALICE, ALL_VERSIONS, BOB, CAROL, Room, versions
from tricord.protocol.errors import EventRejected
from tricord.protocol.events import Event
from tricord.protocol.numbered_rules import RuleBroken
from tricord.protocol.power_levels import INFINITE, PowerLevels, creators_of, parse_level
from tricord.protocol.room_versions import V5, V6, V9, V10, V11, V12, RoomVersion

each_version = pytest.mark.parametrize("version", ALL_VERSIONS, ids=repr)


def room_of(version: RoomVersion, **content: Any) -> Room:
    """Return a room where Alice has made Bob a moderator and Carol has no power."""
    room = Room(version)
    room.join_rule("public")
    room.join(BOB)
    room.join(CAROL)
    room.levels(**{"users": users(version, {BOB: 50}), "state_default": 0, **content})
    return room


def users(version: RoomVersion, others: dict[Any, Any]) -> dict[Any, Any]:
    return others if version.creators_have_infinite_power else {ALICE: 100, **others}


def broken_rule(room: Room, sender: Any = BOB, **content: Any) -> str:
    """Return which of the rules for power levels refuses a change, counted from the one after the format's."""
    event = room.event(sender, "m.room.power_levels", "", content)
    with pytest.raises(RuleBroken) as refusal:
        room.authorize(event)
    top, number, *below = map(int, refusal.value.rule.split("."))
    version = room.version
    assert top == 10 if version.aliases_are_authorized or version.room_id_is_create_event_id else 9
    offset = 2 * version.integer_power_levels + version.creators_have_infinite_power
    return ".".join(map(str, [number - offset, *below]))


@each_version
def test_users_and_their_levels_are_what_they_must_be(version: RoomVersion) -> None:
    room = room_of(version)
    malformed: list[Any] = [[], 5, None, {"bob": 1}, {BOB: None}, {BOB: "x"}, {BOB: []}, {BOB: True}, {BOB: "1.5"}]
    for value in malformed:
        with pytest.raises(RuleBroken) as refusal:
            room.levels(users=value)
        assert refusal.value.rule.endswith(".3" if version.integer_power_levels else ".1")


def test_levels_are_integers_from_version_10_on() -> None:
    for version in versions("integer_power_levels"):
        top = 10 if version.room_id_is_create_event_id else 9
        for content, number in (
            ({"ban": "50"}, "1"),
            ({"invite": None}, "1"),
            ({"events": []}, "2"),
            ({"events": {"x": "1"}}, "2"),
            ({"notifications": {"room": "1"}}, "2"),
            ({"notifications": None}, "2"),
            ({"users": {BOB: "1"}}, "3"),
        ):
            with pytest.raises(RuleBroken) as refusal:
                room_of(version).levels(**content)
            assert refusal.value.rule == f"{top}.{number}"


def test_levels_may_be_strings_before() -> None:
    for version in (V5, V6, V9):
        room = room_of(version, users={ALICE: " +0100 ", BOB: "50"}, ban=" 70 ")
        power = PowerLevels(room.state["m.room.create", ""], room.state["m.room.power_levels", ""])
        assert (power.of_user(ALICE), power.of_user(BOB), power.ban) == (100, 50, 70)
        room.levels(BOB, users={ALICE: 100, BOB: 50}, ban=70, state_default="0")
        with pytest.raises(RuleBroken):
            room.levels(ALICE, users={ALICE: 100, BOB: 50}, ban="x")


def test_levels_may_be_floats_in_the_oldest_rooms() -> None:
    room = room_of(V5, users={ALICE: 100, BOB: 50.57}, ban=5.114698e1)
    power = PowerLevels(room.state["m.room.create", ""], room.state["m.room.power_levels", ""])
    assert (power.of_user(BOB), power.ban) == (50, 51)


@each_version
def test_nobody_changes_a_property_beyond_their_own_level(version: RoomVersion) -> None:
    base = {"users": users(version, {BOB: 50}), "events": {"m.room.power_levels": 0}}
    for name in ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"):
        room = room_of(version, **{**base, name: 60})
        assert broken_rule(room, **{**base, name: 50}) == "3.1"
        assert broken_rule(room, **base) == "3.1"
        room = room_of(version, **{**base, name: 10})
        assert broken_rule(room, **{**base, name: 51}) == "3.2"
        room.levels(BOB, **{**base, name: 50})


@each_version
def test_nobody_changes_what_an_event_needs_beyond_their_own_level(version: RoomVersion) -> None:
    base = {"users": users(version, {BOB: 50}), "state_default": 0}
    for table in ("events", "notifications"):
        room = room_of(version, **{table: {"x": 60, "y": 50}})
        if table == "notifications" and not version.notification_levels_are_authorized:
            room.levels(BOB, **base, notifications={"x": 1000})
            continue
        assert broken_rule(room, **base, **{table: {"x": 50, "y": 50}}) == "4.1"
        assert broken_rule(room, **base, **{table: {"y": 50}}) == "4.1"
        assert broken_rule(room, **base, **{table: {"x": 60, "y": 51}}) == "5.1"
        assert broken_rule(room, **base, **{table: {"x": 60, "y": 50, "z": 51}}) == "5.1"
        room.levels(BOB, **base, **{table: {"x": 60, "y": 49, "z": 50}})


@each_version
def test_nobody_changes_users_as_high_as_themselves(version: RoomVersion) -> None:
    room = room_of(version, users=users(version, {BOB: 50, CAROL: 50}))

    def change(**levels: int) -> dict[str, Any]:
        named = {BOB: levels.get("bob"), CAROL: levels.get("carol")}
        return {
            "users": users(version, {user: level for user, level in named.items() if level is not None}),
            "state_default": 0,
        }

    assert broken_rule(room, **change(bob=50, carol=49)) == "6.1"
    assert broken_rule(room, **change(bob=50)) == "6.1"
    assert broken_rule(room, **change(bob=51, carol=50)) == "7.1"
    room.levels(BOB, **change(bob=49, carol=50))
    assert broken_rule(room, **change(bob=50, carol=50)) == "7.1"
    room.levels(CAROL, **change(carol=50))


@each_version
def test_without_levels_the_creator_has_a_hundred_or_all(version: RoomVersion) -> None:
    power = PowerLevels(Room(version).state["m.room.create", ""], None)
    assert power.of_user(ALICE) == (INFINITE if version.creators_have_infinite_power else 100)
    assert power.of_user(BOB) == 0
    assert (power.invite, power.kick, power.ban, power.redact) == (0, 50, 50, 50)
    assert (power.needed_for_state("x"), power.needed_for_message("x"), power.needed_to_notify("room")) == (50, 0, 50)


def test_the_creator_is_found_where_the_version_names_it() -> None:
    content = {"creator": BOB, "additional_creators": [CAROL]}
    assert creators_of(Room(V10, {"additional_creators": [CAROL]}).state["m.room.create", ""]) == {ALICE}
    assert creators_of(Room(V11, content).state["m.room.create", ""]) == {ALICE}
    assert creators_of(Room(V12, content).state["m.room.create", ""]) == {ALICE, CAROL}


def test_a_creator_is_in_no_list_of_levels() -> None:
    room = Room(V12, {"additional_creators": [CAROL]})
    for creator in (ALICE, CAROL):
        with pytest.raises(RuleBroken, match=r"rule 10\.4"):
            room.levels(users={creator: 100})


NO_LEVELS: list[Any] = ["", "+", "5 0", "1_0", "٣", "0x1", "1e3", "9" * 5000, True, None, [], {}]


@pytest.mark.parametrize(
    ("value", "old", "new"),
    [
        (50, 50, 50),
        ("50", 50, None),
        (" -0050\t", -50, None),
        (50.9, 50, None),
        (-50.9, -50, None),
        (float("inf"), None, None),
        (float("nan"), None, None),
        *((value, None, None) for value in NO_LEVELS),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_level_is_read_as_its_version_reads_it(value: Any, old: int | None, new: int | None) -> None:
    assert parse_level(value, V9) == old
    assert parse_level(value, V10) == new


LEVELS = st.integers(-1, 101) | st.sampled_from(["100", None, 2**53 - 1])
CONTENTS = st.fixed_dictionaries(
    {},
    optional={
        "users": st.dictionaries(st.sampled_from([ALICE, BOB, CAROL]), LEVELS, max_size=3),
        "events": st.dictionaries(st.sampled_from(["m.room.power_levels", "m.room.member"]), LEVELS, max_size=2),
        **dict.fromkeys(("users_default", "state_default", "ban", "kick", "invite"), LEVELS),
    },
)
SENDERS, CREATORS = st.sampled_from([ALICE, BOB, CAROL]), st.sampled_from([ALICE, BOB])
STEPS = st.tuples(SENDERS, st.sampled_from(["levels", "ban", "leave"]), CONTENTS, CREATORS)


@given(st.lists(STEPS, max_size=8))
def test_nothing_takes_the_power_of_a_creator(steps: list[tuple[Any, str, dict[str, Any], Any]]) -> None:
    room = Room(V12, {"additional_creators": [BOB]})
    room.join_rule("public")
    room.join(BOB)
    room.join(CAROL)
    for sender, kind, content, target in steps:
        event: Event = (
            room.event(sender, "m.room.power_levels", "", content)
            if kind == "levels"
            else room.event(sender, "m.room.member", target, {"membership": kind})
        )
        try:
            room.authorize(event)
        except EventRejected:
            continue
        assert kind == "levels" or (sender == target and kind == "leave")
        assert event.state_key is not None
        room.state[event.type, event.state_key] = event
        power = PowerLevels(room.state["m.room.create", ""], room.state.get(("m.room.power_levels", "")))
        assert power.of_user(ALICE) == power.of_user(BOB) == INFINITE
        assert power.may_invite(ALICE)


@given(st.lists(st.tuples(SENDERS, CONTENTS), max_size=5), st.sampled_from(ALL_VERSIONS))
def test_nobody_rises_by_their_own_doing(steps: list[tuple[Any, dict[str, Any]]], version: RoomVersion) -> None:
    room = room_of(version)
    for sender, content in steps:
        before = PowerLevels(room.state["m.room.create", ""], room.state["m.room.power_levels", ""])
        try:
            room.levels(sender, **content)
        except EventRejected:
            continue
        after = PowerLevels(room.state["m.room.create", ""], room.state["m.room.power_levels", ""])
        assert after.of_user(sender) <= before.of_user(sender)
