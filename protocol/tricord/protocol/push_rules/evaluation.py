"""A user's push rules, compiled: which one an event meets first, and what that rule does.

Most rules ask for one type of event, so that is compared first and by itself. Rules are compiled once for all the users
who have the same: of the predefined ones only two name their user.

https://spec.matrix.org/v1.19/client-server-api/#push-rules
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import orjson

from tricord.protocol.push_rules.conditions import (
    Condition,
    compile_condition,
    contains_display_name,
    event_match,
)
from tricord.protocol.push_rules.pushed_event import PushedEvent

Rule = Mapping[str, Any]
Ruleset = Mapping[str, Sequence[Rule]]
"""Rules by kind, the most important first, as clients see them."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rule that an event has met does; `rule_id` is None where it met none."""

    kind: str | None
    rule_id: str | None
    actions: Sequence[Any]
    notify: bool
    tweaks: Mapping[str, Any]
    highlight: bool

    @property
    def sound(self) -> str | None:
        """The sound to play, or None for silence."""
        sound = self.tweaks.get("sound")
        return sound if isinstance(sound, str) else None


NOTHING = Outcome(None, None, (), notify=False, tweaks=MappingProxyType({}), highlight=False)


@dataclass(frozen=True, slots=True)
class _CompiledRule:
    """A rule for events of one type (None: of any), under conditions that must all hold."""

    type: str | None
    conditions: tuple[Condition, ...]
    outcome: Outcome


class CompiledRules:
    """All enabled rules of one user."""

    __slots__ = ("_first", "_last", "_of_rooms", "_of_senders", "look_for_display_name")

    def __init__(self, ruleset: Ruleset) -> None:
        self._first = (*_compiled(ruleset, "override"), *_compiled(ruleset, "content"))
        self._of_rooms = {rule.outcome.rule_id: rule.outcome for rule in _compiled(ruleset, "room")}
        self._of_senders = {rule.outcome.rule_id: rule.outcome for rule in _compiled(ruleset, "sender")}
        self._last = _compiled(ruleset, "underride")
        self.look_for_display_name = any(contains_display_name in rule.conditions for rule in self._first + self._last)
        """Whether what they say depends on the user's display name: no predefined ones do."""

    def evaluate(self, event: PushedEvent, display_name: str | None = None) -> Outcome:
        """Return what an event means to the user, who is not its sender.

        `display_name` is the user's in the room, for the rules of old that look for it.
        """
        event.start_scanning()
        return (
            _first_match(self._first, event, display_name)
            or self._of_rooms.get(event.room_id)
            or self._of_senders.get(event.sender)
            or _first_match(self._last, event, display_name)
            or NOTHING
        )


def compile_rules(ruleset: Ruleset) -> CompiledRules:
    """Return a user's rules in a form that is fast to evaluate."""
    return CompiledRules(ruleset)


def _first_match(rules: Sequence[_CompiledRule], event: PushedEvent, display_name: str | None) -> Outcome | None:
    event_type = event.type
    for rule in rules:
        if rule.type is None or rule.type == event_type:
            for condition in rule.conditions:
                if not condition(event, display_name):
                    break
            else:
                return rule.outcome
    return None


def _compiled(ruleset: Ruleset, kind: str) -> tuple[_CompiledRule, ...]:
    return tuple(_compiled_rule(kind, rule) for rule in ruleset.get(kind, ()) if rule.get("enabled", True))


def _compiled_rule(kind: str, rule: Rule) -> _CompiledRule:
    try:
        return _compiled_once(kind, orjson.dumps(rule))
    except orjson.JSONEncodeError:  # an integer of more than 64 bits, which nothing forbids
        return _compile(kind, rule)


@lru_cache(maxsize=8192)
def _compiled_once(kind: str, encoded: bytes) -> _CompiledRule:
    return _compile(kind, orjson.loads(encoded))


def _compile(kind: str, rule: Rule) -> _CompiledRule:
    event_type: str | None = None
    conditions: list[Condition] = []
    if kind == "content":
        conditions.append(event_match("content.body", rule["pattern"]))
    for condition in rule.get("conditions", ()):
        match condition:
            case {"kind": "event_match", "key": "type", "pattern": str(pattern)} if event_type is None and not (
                "*" in pattern or "?" in pattern
            ):
                event_type = pattern.lower()
            case _:
                conditions.append(compile_condition(condition))
    return _CompiledRule(event_type, tuple(conditions), _outcome(kind, rule["rule_id"], rule["actions"]))


def _outcome(kind: str, rule_id: str, actions: Sequence[Any]) -> Outcome:
    tweaks = {
        action["set_tweak"]: action.get("value", True if action["set_tweak"] == "highlight" else None)
        for action in actions
        if isinstance(action, dict) and isinstance(action.get("set_tweak"), str)
    }
    notify = "notify" in actions
    return Outcome(
        kind,
        rule_id,
        actions,
        notify=notify,
        tweaks=MappingProxyType(tweaks),
        highlight=notify and tweaks.get("highlight") is True,
    )
