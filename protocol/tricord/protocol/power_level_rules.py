"""The authorization rules for `m.room.power_levels`: nobody gives or takes more power than they have.

https://spec.matrix.org/v1.19/rooms/v12/#authorisation-rules
"""

from __future__ import annotations

from collections.abc import Iterator

from tricord.protocol.identifiers import is_valid_user_id
from tricord.protocol.numbered_rules import POWER_LEVELS, Case, NumberedRules, Rule, RuleBroken, allow, included
from tricord.protocol.power_levels import DEFAULTS, parse_level
from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.strict_json import JsonObject

Change = tuple[str, int | None, int | None]
"""What has another level than before: its name, the level before, the level now; None where it had or has none."""


def power_level_rules(version: RoomVersion) -> Rule:
    """Return the rules of a version for `m.room.power_levels`."""
    rules = NumberedRules(
        *included(_properties_are_integers, when=version.integer_power_levels),
        *included(_events_and_notifications_are_integers, when=version.integer_power_levels),
        _users_have_levels,
        *included(_users_are_not_creators, when=version.creators_have_infinite_power),
        _is_first,
        _properties_change_within_own_level,
        _events_had_at_most_own_level,
        _events_get_at_most_own_level,
        _users_had_less_than_own_level,
        _users_get_at_most_own_level,
        allow,
    )
    return lambda case: case.event.type == "m.room.power_levels" and rules(case)


def _properties_are_integers(case: Case) -> bool:
    for name in DEFAULTS:
        if name in case.event.content and type(case.event.content[name]) is not int:
            raise RuleBroken(f"`{name}` is not an integer")
    return False


def _events_and_notifications_are_integers(case: Case) -> bool:
    for name in ("events", "notifications"):
        levels = case.event.content.get(name, {})
        if not isinstance(levels, dict) or not all(type(level) is int for level in levels.values()):
            raise RuleBroken(f"`{name}` is not an object of integers")
    return False


def _users_have_levels(case: Case) -> bool:
    users = case.event.content.get("users", {})
    if not isinstance(users, dict):
        raise RuleBroken("`users` is not an object")
    for user_id, level in users.items():
        if not is_valid_user_id(user_id):
            raise RuleBroken(f"`users` names {user_id!r}, which is not a user id")
        if parse_level(level, case.event.version) is None:
            raise RuleBroken(f"the level of {user_id} is not an integer")
    return False


def _users_are_not_creators(case: Case) -> bool:
    for creator in sorted(case.power.creators):
        if creator in case.event.content.get("users", {}):
            raise RuleBroken(f"{creator} created the room and cannot have a level")
    return False


def _is_first(case: Case) -> bool:
    return POWER_LEVELS not in case.state


def _properties_change_within_own_level(case: Case) -> bool:
    before, now = case.state[POWER_LEVELS].content, case.event.content
    for name in DEFAULTS:
        if name in now and parse_level(now[name], case.event.version) is None:
            # The oldest versions do not say it, but a level that nobody can read can be compared to none.
            raise RuleBroken(f"`{name}` is not a level")
    for name, old, new in _changes(_properties(before), _properties(now), case.event.version):
        if old is not None and old > case.sender_level:
            raise RuleBroken(f"`{name}` is {old} and {case.event.sender} has {case.sender_level}", 1)
        if new is not None and new > case.sender_level:
            raise RuleBroken(f"`{name}` would be {new} and {case.event.sender} has {case.sender_level}", 2)
    return False


def _events_had_at_most_own_level(case: Case) -> bool:
    for name, old, _ in _event_changes(case):
        if old is not None and old > case.sender_level:
            raise RuleBroken(f"{name} needs {old} and {case.event.sender} has {case.sender_level}", 1)
    return False


def _events_get_at_most_own_level(case: Case) -> bool:
    for name, _, new in _event_changes(case):
        if new is not None and new > case.sender_level:
            raise RuleBroken(f"{name} would need {new} and {case.event.sender} has {case.sender_level}", 1)
    return False


def _users_had_less_than_own_level(case: Case) -> bool:
    for user_id, old, _ in _table_changes(case, "users"):
        if old is not None and user_id != case.event.sender and old >= case.sender_level:
            raise RuleBroken(f"{user_id} has {old} and {case.event.sender} has {case.sender_level}", 1)
    return False


def _users_get_at_most_own_level(case: Case) -> bool:
    for user_id, _, new in _table_changes(case, "users"):
        if new is not None and new > case.sender_level:
            raise RuleBroken(f"{user_id} would get {new} and {case.event.sender} has {case.sender_level}", 1)
    return False


def _properties(content: JsonObject) -> JsonObject:
    return {name: content[name] for name in DEFAULTS if name in content}


def _event_changes(case: Case) -> Iterator[Change]:
    yield from _table_changes(case, "events")
    if case.event.version.notification_levels_are_authorized:
        yield from _table_changes(case, "notifications")


def _table_changes(case: Case, table: str) -> Iterator[Change]:
    before, now = case.state[POWER_LEVELS].content.get(table), case.event.content.get(table)
    return _changes(
        before if isinstance(before, dict) else {}, now if isinstance(now, dict) else {}, case.event.version
    )


def _changes(before: JsonObject, now: JsonObject, version: RoomVersion) -> Iterator[Change]:
    """Yield what is not at the same level in both; `50` and `"50"` are the same where both are levels."""
    for name in {**before, **now}:
        old, new = parse_level(before.get(name), version), parse_level(now.get(name), version)
        if old != new:
            yield name, old, new
