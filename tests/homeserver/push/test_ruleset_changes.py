"""The changes that users make to their push rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.homeserver.push.ruleset_changes import (
    Changes,
    Ruleset,
    checked_actions,
    checked_rule,
    merged,
    put,
    remove,
    switch,
)
from tricord.protocol.errors import BadJson, InvalidParam, MatrixError, NotFound, Unknown

PREDEFINED: Ruleset = {
    "override": [
        {"rule_id": ".m.rule.master", "default": True, "enabled": False, "conditions": [], "actions": []},
        {"rule_id": ".m.rule.tombstone", "default": True, "enabled": True, "conditions": [], "actions": []},
    ]
}


def rule(rule_id: str, kind: str = "override") -> dict[str, Any]:
    return checked_rule(kind, rule_id, {"actions": ["notify"], "pattern": "cake"})


def ids(changes: Changes, kind: str = "override") -> list[str]:
    return [rule["rule_id"] for rule in merged(PREDEFINED, changes)[kind]]


def test_own_rules_come_after_the_master_rule_and_before_the_predefined_ones() -> None:
    changes: Changes = {}
    put(changes, "override", rule("mine"), before=None, after=None)
    assert ids(changes) == [".m.rule.master", "mine", ".m.rule.tombstone"]


def test_a_new_rule_is_the_most_important_of_the_own_ones() -> None:
    changes: Changes = {}
    for rule_id in ("first", "second"):
        put(changes, "content", rule(rule_id, "content"), before=None, after=None)
    assert ids(changes, "content") == ["second", "first"]


def test_a_rule_is_put_before_or_after_another() -> None:
    changes: Changes = {}
    put(changes, "room", rule("middle", "room"), before=None, after=None)
    put(changes, "room", rule("last", "room"), before=None, after="middle")
    put(changes, "room", rule("first", "room"), before="middle", after=None)
    put(changes, "room", rule("last", "room"), before="middle", after=None)
    assert ids(changes, "room") == ["first", "last", "middle"]


def test_no_rule_can_be_put_beside_one_that_is_not_there() -> None:
    with pytest.raises(Unknown):
        put({}, "room", rule("mine", "room"), before=".m.rule.master", after=None)


def test_a_rule_that_is_changed_stays_disabled_where_it_is() -> None:
    changes: Changes = {}
    for rule_id in ("a", "b"):
        put(changes, "override", rule(rule_id), before=None, after=None)
    switch(changes, merged(PREDEFINED, changes), "override", "a", enabled=False)
    put(changes, "override", {**rule("a"), "actions": []}, before=None, after=None)
    assert changes["own"]["override"][1] == {**rule("a"), "actions": [], "enabled": False}


def test_a_predefined_rule_is_switched_but_never_removed() -> None:
    changes: Changes = {}
    switch(changes, merged(PREDEFINED, changes), "override", ".m.rule.tombstone", enabled=False)
    assert merged(PREDEFINED, changes)["override"][1]["enabled"] is False
    with pytest.raises(InvalidParam):
        remove(changes, "override", ".m.rule.tombstone")
    with pytest.raises(NotFound):
        remove(changes, "override", "mine")


def test_actions_of_older_versions_are_left_out() -> None:
    assert checked_actions(["dont_notify", "coalesce", {"set_tweak": "sound"}]) == [{"set_tweak": "sound"}]


@pytest.mark.parametrize("rule_id", ["", ".m.rule.mine", "a/b", "a\\b", "x" * 2000])
def test_reserved_rule_ids_are_refused(rule_id: str) -> None:
    with pytest.raises(InvalidParam):
        checked_rule("override", rule_id, {"actions": []})


@pytest.mark.parametrize("pattern", ["x" * 1025, "*a" * 129])
def test_patterns_that_would_be_slow_to_match_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidParam):
        checked_rule("content", "slow", {"actions": [], "pattern": pattern})
    condition = {"kind": "event_match", "key": "content.body", "pattern": pattern}
    with pytest.raises(InvalidParam):
        checked_rule("override", "slow", {"actions": [], "conditions": [condition]})


scalars = st.none() | st.booleans() | st.integers() | st.sampled_from(["", "notify", "kind", "a*"])
objects = st.dictionaries(st.sampled_from(["kind", "key", "pattern", "set_tweak"]), scalars, max_size=3)
json_values = scalars | objects | st.lists(scalars | objects, max_size=3)


@given(st.fixed_dictionaries({}, optional={"actions": json_values, "conditions": json_values, "pattern": json_values}))
def test_any_json_is_a_rule_or_is_refused(body: dict[str, Any]) -> None:
    for kind in ("override", "content", "nonsense"):
        try:
            checked_rule(kind, "mine", body)
        except MatrixError as refused:
            assert isinstance(refused, BadJson | InvalidParam)  # noqa: PT017
