"""Lists of rules whose numbers are those of the specification, because they stand where its text has them.

A version that adds or drops a rule moves the numbers of those after it; so they are counted, not written down.

https://spec.matrix.org/v1.19/rooms/v12/#authorisation-rules
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from tricord.protocol.errors import EventRejected
from tricord.protocol.events import Event
from tricord.protocol.identifiers import UserId
from tricord.protocol.power_levels import PowerLevels

StateKey = tuple[str, str]
"""The type and the state key under which an event stands in the state of a room."""

CREATE: StateKey = ("m.room.create", "")
POWER_LEVELS: StateKey = ("m.room.power_levels", "")
JOIN_RULES: StateKey = ("m.room.join_rules", "")

_MAX_REASON = 500


class RuleBroken(EventRejected):
    """A rule refuses an event; `rule` is its number in the text of the room version."""

    def __init__(self, reason: str, *numbers: int) -> None:
        """Refuse; `numbers` tell where below the rule that raises this the text says so."""
        super().__init__(reason)
        # It may quote the event, and this goes to logs and to other servers.
        self.reason = reason if len(reason) <= _MAX_REASON else reason[:_MAX_REASON] + "…"
        self._numbers = numbers

    @property
    def rule(self) -> str:
        """The number of the rule, like "4.3.2"."""
        return ".".join(map(str, self._numbers))

    def is_below(self, number: int) -> None:
        """Put the number of the list's entry in front."""
        self._numbers = (number, *self._numbers)

    def __str__(self) -> str:
        return f"rule {self.rule}: {self.reason}"


@dataclass(frozen=True)
class Case:
    """An event, and the state that it is judged by."""

    event: Event
    state: Mapping[StateKey, Event]

    @property
    def create(self) -> Event:
        """The create event. That there is one is among the first rules."""
        return self.state[CREATE]

    @cached_property
    def power(self) -> PowerLevels:
        """The power levels before the event."""
        return PowerLevels(self.create, self.state.get(POWER_LEVELS))

    @cached_property
    def sender_level(self) -> int | float:
        """The power level of the sender before the event."""
        return self.power.of_user(self.event.sender)

    @cached_property
    def target(self) -> UserId:
        """Whose membership the event sets. That it has a state key is the first of the rules about membership."""
        return UserId(self.event.state_key or "")

    @cached_property
    def join_rule(self) -> str | None:
        """The room's join rule; without one, invitations are needed. What is not a string lets nobody in."""
        join_rules = self.state.get(JOIN_RULES)
        rule = "invite" if join_rules is None else join_rules.content.get("join_rule", "invite")
        return rule if isinstance(rule, str) else None

    def membership(self, user_id: str) -> str | None:
        """Return the membership of a user before the event, None if they never had one."""
        member = self.state.get(("m.room.member", user_id))
        membership = None if member is None else member.content.get("membership")
        return membership if isinstance(membership, str) else None


Rule = Callable[[Case], bool]
"""Returns True to allow the event, False to leave it to the rules after it; raises RuleBroken to reject it."""


class NumberedRules:
    """Rules asked one after the other until one decides; itself a rule, for lists within lists."""

    def __init__(self, *rules: Rule) -> None:
        self._rules = rules

    def __call__(self, case: Case) -> bool:
        """Return whether any rule allows the event; raise RuleBroken with the number of the one that refuses."""
        for number, rule in enumerate(self._rules, 1):
            try:
                if rule(case):
                    return True
            except RuleBroken as broken:
                broken.is_below(number)
                raise
        return False

    def number_of(self, rule: Rule) -> int:
        """Return where in the list a rule stands."""
        return self._rules.index(rule) + 1


def allow(_case: Case) -> bool:
    """Allow, as the last rule of a list does: "Otherwise, allow"."""
    return True


def included(rule: Rule, *, when: bool) -> tuple[Rule, ...]:
    """Return what goes into a list of rules when a version has the rule, and when it has not."""
    return (rule,) if when else ()
