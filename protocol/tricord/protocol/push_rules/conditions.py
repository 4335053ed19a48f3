"""Conditions of push rules, compiled to functions of the event and of the user's display name in the room.

What cannot be understood never matches: "Unrecognised conditions MUST NOT match any events".
https://spec.matrix.org/v1.19/client-server-api/#push-rules
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from tricord.protocol.globs import Glob, WordGlob, contains_words
from tricord.protocol.push_rules.pushed_event import PushedEvent

Condition = Callable[[PushedEvent, str | None], bool]

_BODY = "content.body"
_DEFAULT_NOTIFICATION_LEVEL = 50

_COUNT = re.compile(r"(==|<=|>=|<|>|)([0-9]{1,15})")
_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "": operator.eq,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def compile_condition(condition: Any) -> Condition:
    """Return the function that a condition is."""
    match condition:
        case {"kind": "event_match", "key": str(key), "pattern": str(pattern)}:
            return event_match(key, pattern)
        case {"kind": "event_property_is", "key": str(key), "value": str() | bool() | int() | None as value}:
            return _event_property_is(key, value)
        case {"kind": "event_property_contains", "key": str(key), "value": str() | bool() | int() | None as value}:
            return _event_property_contains(key, value)
        case {"kind": "contains_display_name"}:
            return contains_display_name
        case {"kind": "room_member_count", "is": str(comparison)}:
            return _room_member_count(comparison)
        case {"kind": "sender_notification_permission", "key": str(key)}:
            return _sender_notification_permission(key)
        case _:
            return _never


def event_match(key: str, pattern: str) -> Condition:
    """Match a pattern with a string: with all of it, or with any words of the body."""
    pattern = pattern.lower()
    if key == _BODY:
        return _body_match(pattern)
    if "*" not in pattern and "?" not in pattern:
        return lambda event, _: event.lowered(key) == pattern
    glob = Glob(pattern)

    def matches(event: PushedEvent, _: str | None) -> bool:
        text = event.lowered(key)
        return text is not None and event.may_scan(text, glob.cost) and glob.matches(text)

    return matches


def _body_match(pattern: str) -> Condition:
    glob = WordGlob(pattern)

    def matches(event: PushedEvent, _: str | None) -> bool:
        text = event.lowered(_BODY)
        return text is not None and event.may_scan(text, glob.cost) and glob.matches_lowered(text)

    return matches


def _event_property_is(key: str, wanted: str | int | None) -> Condition:
    kind = type(wanted)  # JSON's true is not its 1, though Python says that they are equal

    def matches(event: PushedEvent, _: str | None) -> bool:
        value = event.value(key)
        return type(value) is kind and value == wanted

    return matches


def _event_property_contains(key: str, wanted: str | int | None) -> Condition:
    kind = type(wanted)

    def matches(event: PushedEvent, _: str | None) -> bool:
        values = event.value(key)
        return (
            isinstance(values, list)
            and wanted in values
            and any(type(value) is kind and value == wanted for value in values)
        )

    return matches


def contains_display_name(event: PushedEvent, display_name: str | None) -> bool:
    """Match the user's display name in the body: for no new rules, and in those that are there it goes on to hold."""
    body = event.lowered(_BODY)
    if not body or not display_name:
        return False
    return event.may_scan(body) and contains_words(body, display_name)


def _room_member_count(comparison: str) -> Condition:
    found = _COUNT.fullmatch(comparison)
    if found is None:
        return _never
    compare, wanted = _COMPARISONS[found[1]], int(found[2])
    return lambda event, _: compare(event.member_count, wanted)


def _sender_notification_permission(key: str) -> Condition:
    def matches(event: PushedEvent, _: str | None) -> bool:
        level = event.notification_levels.get(key)
        return event.sender_level >= (level if isinstance(level, int) else _DEFAULT_NOTIFICATION_LEVEL)

    return matches


def _never(_event: PushedEvent, _display_name: str | None) -> bool:
    return False
