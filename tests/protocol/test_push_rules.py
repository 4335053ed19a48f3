from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.protocol.identifiers import UserId
from tricord.protocol.push_rules import Outcome, PushedEvent, compile_rules, default_rules

ALICE = UserId("@alice:a.test")
BOB = "@bob:b.test"
SOUND = {"set_tweak": "sound", "value": "default"}


def event(content: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "type": "m.room.message",
        "sender": BOB,
        "room_id": "!room:a.test",
        "content": {"msgtype": "m.text", "body": "hello"} if content is None else content,
        **more,
    }


def pushed(value: dict[str, Any], members: int = 3, level: float = 0, **levels: Any) -> PushedEvent:
    return PushedEvent(value, member_count=members, sender_level=level, notification_levels=levels)


def outcome(value: dict[str, Any], **more: Any) -> Outcome:
    """Return what an event means to Alice by the rules that everybody has."""
    return compile_rules(default_rules(ALICE)).evaluate(pushed(value, **more), "Alice")


def holds(condition: Any, value: dict[str, Any], display_name: str | None = None, **more: Any) -> bool:
    rule = {"rule_id": "x", "enabled": True, "conditions": [condition], "actions": ["notify"]}
    return compile_rules({"override": [rule]}).evaluate(pushed(value, **more), display_name).notify


# The predefined rules


@pytest.mark.parametrize(
    ("value", "more", "rule_id", "notify", "sound", "highlight"),
    [
        (event({"msgtype": "m.notice", "body": "x"}), {}, ".m.rule.suppress_notices", False, None, False),
        (
            event({"membership": "invite"}, type="m.room.member", state_key=ALICE),
            {},
            ".m.rule.invite_for_me",
            True,
            "default",
            False,
        ),
        (
            event({"membership": "invite"}, type="m.room.member", state_key=BOB),
            {},
            ".m.rule.member_event",
            False,
            None,
            False,
        ),
        (event({"m.mentions": {"user_ids": [BOB, ALICE]}}), {}, ".m.rule.is_user_mention", True, "default", True),
        (event({"m.mentions": {"room": True}}), {"level": 50}, ".m.rule.is_room_mention", True, None, True),
        (event({"m.mentions": {"room": True}}), {"level": 49}, ".m.rule.message", True, None, False),
        (event({"m.mentions": {"room": 1}}), {"level": 50}, ".m.rule.message", True, None, False),
        (event({}, type="m.room.tombstone", state_key=""), {}, ".m.rule.tombstone", True, None, True),
        (event({}, type="m.room.tombstone"), {}, None, False, None, False),
        (event({}, type="m.reaction"), {}, ".m.rule.reaction", False, None, False),
        (event({}, type="m.room.server_acl", state_key=""), {}, ".m.rule.room.server_acl", False, None, False),
        (event({"m.relates_to": {"rel_type": "m.replace"}}), {}, ".m.rule.suppress_edits", False, None, False),
        (event({}, type="m.call.invite"), {}, ".m.rule.call", True, "ring", False),
        (
            event({}, type="m.room.encrypted"),
            {"members": 2},
            ".m.rule.encrypted_room_one_to_one",
            True,
            "default",
            False,
        ),
        (event(), {"members": 2}, ".m.rule.room_one_to_one", True, "default", False),
        (event(), {}, ".m.rule.message", True, None, False),
        (event({}, type="m.room.encrypted"), {}, ".m.rule.encrypted", True, None, False),
        (event({}, type="org.test.other"), {}, None, False, None, False),
    ],
    ids=str,
)
def test_the_predefined_rules_do_what_the_specification_says(
    value: dict[str, Any], more: Any, rule_id: str | None, notify: bool, sound: str | None, highlight: bool
) -> None:
    found = outcome(value, **more)
    assert (found.rule_id, found.notify, found.sound, found.highlight) == (rule_id, notify, sound, highlight)


def test_the_master_rule_silences_all_once_it_is_on() -> None:
    rules = default_rules(ALICE)
    rules["override"][0] = {**rules["override"][0], "enabled": True}
    assert compile_rules(rules).evaluate(pushed(event())).rule_id == ".m.rule.master"


def test_kinds_of_rules_come_in_their_order() -> None:
    def rule(rule_id: str, **more: Any) -> dict[str, Any]:
        return {"rule_id": rule_id, "enabled": True, "actions": ["notify"], **more}

    rules = {
        "override": [rule("override", conditions=[])],
        "content": [rule("content", pattern="hello")],
        "room": [rule("!room:a.test")],
        "sender": [rule(BOB)],
        "underride": [rule("underride", conditions=[])],
    }
    for kind, rule_id in [(kind, some[0]["rule_id"]) for kind, some in rules.items()]:
        assert compile_rules(rules).evaluate(pushed(event())).rule_id == rule_id
        rules[kind][0]["enabled"] = False
    assert compile_rules(rules).evaluate(pushed(event())).rule_id is None


# Conditions


@pytest.mark.parametrize(
    ("key", "pattern", "value", "matches"),
    [
        ("content.topic", "lunc?*", "Lunch plans", True),
        ("content.topic", "lunc?*", "LUNCH", True),
        ("content.topic", "lunc?*", " lunch", False),
        ("content.topic", "lunc?*", "lunc", False),
        ("content.topic", "*", None, False),
        ("content.topic", "*", 5, False),
        ("content.absent", "*", "x", False),
        ("content.topic", "Lunch", "lUNCH", True),
        ("content.body", "ex*ple", "An example event.", True),
        ("content.body", "ex*ple", "exple", True),
        ("content.body", "ex*ple", "An exciting triple-whammy", True),
        ("content.body", "ex*ple", "complex ples", False),
    ],
)
def test_a_pattern_is_matched_with_a_string(key: str, pattern: str, value: Any, matches: bool) -> None:
    content = {"topic": value, "body": value}
    assert holds({"kind": "event_match", "key": key, "pattern": pattern}, event(content)) == matches


values = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "1", "true"])


@given(values, values, st.lists(values, max_size=3))
def test_values_are_equal_only_to_their_own_kind(wanted: Any, value: Any, several: list[Any]) -> None:
    def same(other: Any) -> bool:
        return type(other) is type(wanted) and other == wanted

    condition = {"key": r"content.a\.b", "value": wanted}
    assert holds({"kind": "event_property_is", **condition}, event({"a.b": value})) == same(value)
    assert holds({"kind": "event_property_contains", **condition}, event({"a.b": several})) == any(map(same, several))
    assert not holds({"kind": "event_property_is", **condition}, event({}))
    assert not holds({"kind": "event_property_is", **condition}, event({"a.b": [wanted]}))
    assert not holds({"kind": "event_property_contains", **condition}, event({"a.b": {"0": wanted}}))


@pytest.mark.parametrize(
    ("comparison", "counts"),
    [
        ("2", {2}),
        ("==2", {2}),
        ("<2", {0, 1}),
        (">2", {3, 4}),
        ("<=2", {0, 1, 2}),
        (">=2", {2, 3, 4}),
        ("", set()),
        ("=2", set()),
        ("two", set()),
        ("2.0", set()),
        (2, set()),
    ],
)
def test_members_are_counted(comparison: Any, counts: set[int]) -> None:
    condition = {"kind": "room_member_count", "is": comparison}
    assert {members for members in range(5) if holds(condition, event(), members=members)} == counts


def test_notifying_everybody_takes_the_level_of_the_room() -> None:
    condition = {"kind": "sender_notification_permission", "key": "room"}
    assert not holds(condition, event(), level=49)
    assert holds(condition, event(), level=50)
    assert holds(condition, event(), level=10, room=10)
    assert not holds(condition, event(), level=10, room=11)
    assert holds(condition, event(), level=float("inf"), room=2**53 - 1)


def test_a_display_name_is_looked_for_in_the_body() -> None:
    condition = {"kind": "contains_display_name"}
    assert holds(condition, event({"body": "is alice here?"}), "Alice")
    assert not holds(condition, event({"body": "malice"}), "Alice")
    assert not holds(condition, event({"body": "a * b"}), None)
    assert holds(condition, event({"body": "so *, then"}), "*")
    assert not holds(condition, event({"body": "no star"}), "*")


@pytest.mark.parametrize("condition", [{"kind": "org.test.unknown"}, {"kind": "event_match"}, {}, None, 5], ids=repr)
def test_what_is_not_understood_never_matches(condition: Any) -> None:
    assert not holds(condition, event())


def test_integers_of_any_size_are_compared() -> None:
    for value in (2**63, 2**64, -(2**70)):
        condition = {"kind": "event_property_is", "key": "content.x", "value": value}
        assert holds(condition, event({"x": value}))
        assert not holds(condition, event({"x": value + 1}))


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["kind", "key", "pattern", "value", "is"]), json), json)
def test_any_condition_gives_an_answer_for_any_event(condition: Any, content: Any) -> None:
    holds(condition, event(content), "name")


def test_hostile_rules_do_not_hold_up_the_room() -> None:
    patterns = ["*a*" * 20 + "b", "?a" * 60, "a" * 200]
    rules = [
        {"rule_id": f"{number}", "enabled": True, "actions": ["notify"], "pattern": pattern + str(number)}
        for number in range(1000)
        for pattern in patterns
    ]
    compiled = compile_rules({"content": rules})
    started = time.process_time()
    compiled.evaluate(pushed(event({"body": "a" * 60_000})))
    assert time.process_time() - started < 1
