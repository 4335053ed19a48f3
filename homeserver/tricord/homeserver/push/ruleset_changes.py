"""What a user has changed of their push rules: rules of their own, and switches on the predefined ones.

Only the changes are stored, so that a predefined rule which a later version of Matrix adds or changes reaches everyone.
All here is plain data, as JSON has it:

    {"own": {"override": [rule, …], "content": […], …},      most important first
     "predefined": {".m.rule.call": {"enabled": false, "actions": […]}}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tricord.protocol.errors import BadJson, InvalidParam, NotFound, Unknown

KINDS = ("override", "content", "room", "sender", "underride")
MASTER = ".m.rule.master"

Rule = dict[str, Any]
Ruleset = dict[str, list[Rule]]
Changes = dict[str, Any]

_MOST_RULES = 1_000
_MOST_CONDITIONS = 32
_LONGEST_ID = 1024
_LONGEST_PATTERN = 1024
_MOST_STARS = 128


def merged(predefined: Mapping[str, list[Rule]], changes: Changes) -> Ruleset:
    """Return all rules of a user, in the order in which they are tried.

    Own rules come before the predefined ones of their kind; only the master rule, which silences everything, is first.
    https://spec.matrix.org/v1.19/client-server-api/#predefined-rules
    """
    switches = changes.get("predefined", {})
    own = changes.get("own", {})
    ruleset: Ruleset = {}
    for kind in KINDS:
        rules = [{**rule, **switches.get(rule["rule_id"], {})} for rule in predefined.get(kind, ())]
        first = [rule for rule in rules if rule["rule_id"] == MASTER]
        rest = [rule for rule in rules if rule["rule_id"] != MASTER]
        ruleset[kind] = [*first, *own.get(kind, ()), *rest]
    return ruleset


def find(ruleset: Ruleset, kind: str, rule_id: str) -> Rule:
    """Return one rule."""
    for rule in ruleset.get(check_kind(kind), ()):
        if rule["rule_id"] == rule_id:
            return rule
    raise NotFound("There is no such push rule")


def check_kind(kind: str) -> str:
    """Refuse what is no kind of rule."""
    if kind not in KINDS:
        raise InvalidParam(f"there is no kind of push rules called {kind[:50]!r}")
    return kind


def checked_rule(kind: str, rule_id: str, body: Mapping[str, Any]) -> Rule:
    """Return a rule as a client wants it, or refuse it."""
    check_kind(kind)
    if not rule_id or rule_id.startswith(".") or "/" in rule_id or "\\" in rule_id:
        raise InvalidParam("a rule_id is not empty, does not start with a dot, and has no slashes")
    if len(rule_id) > _LONGEST_ID:
        raise InvalidParam(f"a rule_id has at most {_LONGEST_ID} characters")
    rule: Rule = {
        "rule_id": rule_id,
        "default": False,
        "enabled": True,
        "actions": checked_actions(body.get("actions")),
    }
    if kind in ("override", "underride"):
        rule["conditions"] = _checked_conditions(body.get("conditions", []))
    elif kind == "content":
        rule["pattern"] = _checked_pattern(body.get("pattern"))
    return rule


def checked_actions(actions: Any) -> list[Any]:
    """Return actions without those of older versions, or refuse them."""
    if not isinstance(actions, list) or len(actions) > _MOST_CONDITIONS:
        raise BadJson("`actions` is a short list")
    for action in actions:
        if isinstance(action, dict):
            if not isinstance(action.get("set_tweak"), str):
                raise InvalidParam("an action that is an object has `set_tweak`")
        elif action not in ("notify", "dont_notify", "coalesce"):
            raise InvalidParam(f"there is no action called {str(action)[:50]!r}")
    return [action for action in actions if action not in ("dont_notify", "coalesce")]


def _checked_conditions(conditions: Any) -> list[Any]:
    if not isinstance(conditions, list) or len(conditions) > _MOST_CONDITIONS:
        raise BadJson("`conditions` is a short list")
    for condition in conditions:
        if not isinstance(condition, dict) or not isinstance(condition.get("kind"), str):
            raise BadJson("a condition is an object with a `kind`")
        if "pattern" in condition:
            _checked_pattern(condition["pattern"])
        key = condition.get("key", "")
        if not isinstance(key, str) or len(key) > _LONGEST_PATTERN:
            raise BadJson("the `key` of a condition is a short string")
    return conditions


def _checked_pattern(pattern: Any) -> str:
    if not isinstance(pattern, str):
        raise BadJson("`pattern` is a string")
    # Matching costs at most length times stars, for every event in every room of the user.
    if len(pattern.encode()) > _LONGEST_PATTERN or pattern.count("*") > _MOST_STARS:
        raise InvalidParam(f"a pattern has at most {_LONGEST_PATTERN} bytes and {_MOST_STARS} stars")
    return pattern


def put(changes: Changes, kind: str, rule: Rule, *, before: str | None, after: str | None) -> None:
    """Add a rule, or change and move it.

    Without `before` and `after` a new rule becomes the most important of the user's own, and a changed one stays.
    """
    rules: list[Rule] = changes.setdefault("own", {}).setdefault(kind, [])
    here = _index(rules, rule["rule_id"])
    if here is not None:
        rule = {**rule, "enabled": rules[here]["enabled"]}
    elif sum(1 for _ in _own_rules(changes)) >= _MOST_RULES:
        raise InvalidParam(f"there may be at most {_MOST_RULES} push rules")
    if before is None and after is None and here is not None:
        rules[here] = rule
        return
    others = [other for other in rules if other["rule_id"] != rule["rule_id"]]
    if before is not None:
        place = _place_of(others, before)
    elif after is not None:
        place = _place_of(others, after) + 1
    else:
        place = 0
    rules[:] = [*others[:place], rule, *others[place:]]


def remove(changes: Changes, kind: str, rule_id: str) -> None:
    """Remove a rule of the user's own."""
    check_kind(kind)
    if rule_id.startswith("."):
        raise InvalidParam("a predefined rule can be disabled, not removed")
    rules = changes.get("own", {}).get(kind, [])
    here = _index(rules, rule_id)
    if here is None:
        raise NotFound("There is no such push rule")
    del rules[here]


def switch(changes: Changes, ruleset: Ruleset, kind: str, rule_id: str, **values: Any) -> None:
    """Change `enabled` or `actions` of a rule, a predefined one's too."""
    if find(ruleset, kind, rule_id)["default"]:
        changes.setdefault("predefined", {}).setdefault(rule_id, {}).update(values)
    else:
        find(changes["own"], kind, rule_id).update(values)


def add_for_replacement(changes: Changes, ruleset: Ruleset, old: str, new: str) -> None:
    """Add what the user has set for a room for the one that replaces it."""
    for kind, rule in rules_for_replacement(ruleset, old, new):
        put(changes, kind, rule, before=None, after=None)


def rules_for_replacement(ruleset: Ruleset, old: str, new: str) -> list[tuple[str, Rule]]:
    """Return the rules that name a room, made to name the one that replaces it; least important first.

    Clients mute a room by a rule of the kind `override`, whose condition names it.
    """
    found: list[tuple[str, Rule]] = []
    for kind in ("room", "override", "underride"):
        rules = [rule for rule in ruleset.get(kind, ()) if not rule["default"]]
        ids = {rule["rule_id"] for rule in rules}
        for rule in reversed(rules):
            replaced = dict(rule)
            if kind == "room":
                if rule["rule_id"] != old:
                    continue
                replaced["rule_id"] = new
            else:
                named = {"kind": "event_match", "key": "room_id", "pattern": old}
                if named not in rule["conditions"]:
                    continue
                replaced["conditions"] = [
                    {**one, "pattern": new} if one == named else one for one in rule["conditions"]
                ]
                has_name = old in rule["rule_id"]
                replaced["rule_id"] = rule["rule_id"].replace(old, new) if has_name else f"{rule['rule_id']} {new}"
            if replaced["rule_id"] not in ids:
                found.append((kind, replaced))
    return found


def _own_rules(changes: Changes) -> Iterator[Rule]:
    for rules in changes.get("own", {}).values():
        yield from rules


def _index(rules: list[Rule], rule_id: str) -> int | None:
    return next((index for index, rule in enumerate(rules) if rule["rule_id"] == rule_id), None)


def _place_of(rules: list[Rule], rule_id: str) -> int:
    place = _index(rules, rule_id)
    if place is None:
        raise Unknown(f"before/after rule not found: {rule_id[:50]}")
    return place
