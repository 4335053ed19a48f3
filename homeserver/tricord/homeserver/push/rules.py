"""Push rules of users: the predefined ones, merged with what each has changed; compiled once, for many events."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from tricord.homeserver.push.ruleset_changes import (
    Changes,
    Rule,
    Ruleset,
    add_for_replacement,
    checked_actions,
    checked_rule,
    find,
    merged,
    put,
    remove,
    rules_for_replacement,
    switch,
)
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.push_rules import (
    locked_push_rule_changes,
    push_rule_changes,
    put_push_rule_changes,
)
from tricord.homeserver.storage.stream import take_positions
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.push_rules import CompiledRules, compile_rules, default_rules
from tricord.protocol.strict_json import JsonObject

_MOST_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class UserRules:
    """A user's rules as they are now; `position` is where they last changed (0: never)."""

    ruleset: Ruleset
    compiled: CompiledRules
    position: int


class PushRules:
    """The only reader and writer of push rules."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher
        self._remembered: dict[UserId, UserRules] = {}
        # What was read while others' changes were heard of may be too old to keep.
        self._times_forgotten = 0
        publisher.observe_other_processes(
            lambda commit: self._forget(commit.users), lambda _: self._forget(tuple(self._remembered))
        )

    async def of(self, user_id: UserId) -> UserRules:
        """Return a user's rules."""
        return (await self.of_all([user_id]))[user_id]

    async def content(self, user_id: UserId) -> JsonObject:
        """Return a user's rules as the content of `m.push_rules`."""
        return {"global": (await self.of(user_id)).ruleset}

    def remembered(self, user_id: UserId) -> UserRules | None:
        """Return a user's rules if they are in memory."""
        return self._remembered.get(user_id)

    async def of_all(self, user_ids: Collection[UserId]) -> dict[UserId, UserRules]:
        """Return the rules of several users."""
        found = {user_id: rules for user_id in user_ids if (rules := self._remembered.get(user_id)) is not None}
        unknown = [user_id for user_id in set(user_ids) if user_id not in found]
        if unknown:
            forgotten = self._times_forgotten
            stored = await self._database.read(push_rule_changes, unknown)
            for user_id in unknown:
                known = self._remembered.get(user_id)
                document, position = stored.get(user_id, (b"{}", 0))
                if known is not None and known.position >= position:
                    # Somebody else was quicker: what was counted by these rules goes on to hold.
                    found[user_id] = known
                    continue
                found[user_id] = _user_rules(user_id, orjson.loads(document), position)
                if forgotten == self._times_forgotten:
                    self._remember(user_id, found[user_id])
        return found

    async def put(
        self, user_id: UserId, kind: str, rule_id: str, body: Rule, *, before: str | None, after: str | None
    ) -> None:
        """Add a rule, or change it."""
        rule = checked_rule(kind, rule_id, body)
        await self._change(user_id, lambda changes, _: put(changes, kind, rule, before=before, after=after))

    async def remove(self, user_id: UserId, kind: str, rule_id: str) -> None:
        """Remove a rule of the user's own."""
        await self._change(user_id, lambda changes, _: remove(changes, kind, rule_id))

    async def enable(self, user_id: UserId, kind: str, rule_id: str, *, enabled: bool) -> None:
        """Enable or disable a rule."""
        await self._change(user_id, lambda changes, rules: switch(changes, rules, kind, rule_id, enabled=enabled))

    async def set_actions(self, user_id: UserId, kind: str, rule_id: str, actions: list[Any]) -> None:
        """Change what a rule does."""
        wanted = checked_actions(actions)
        await self._change(user_id, lambda changes, rules: switch(changes, rules, kind, rule_id, actions=wanted))

    async def move_in(self, user_id: UserId, old: RoomId, new: RoomId) -> None:
        """Let what the user has set for a room hold for the one that replaces it, too."""
        if rules_for_replacement((await self.of(user_id)).ruleset, old, new):
            await self._change(user_id, lambda changes, rules: add_for_replacement(changes, rules, old, new))

    async def one(self, user_id: UserId, kind: str, rule_id: str) -> Rule:
        """Return one rule."""
        return find((await self.of(user_id)).ruleset, kind, rule_id)

    async def _change(self, user_id: UserId, act: Callable[[Changes, Ruleset], None]) -> None:
        async def write(tx: Transaction) -> UserRules:
            changes: Changes = orjson.loads(await locked_push_rule_changes(tx, user_id) or b"{}")
            act(changes, merged(default_rules(user_id), changes))
            position = await take_positions(tx, 1)
            await put_push_rule_changes(tx, user_id, orjson.dumps(changes), position)
            return _user_rules(user_id, changes, position)

        forgotten = self._times_forgotten
        rules = await self._database.run(write)
        if forgotten == self._times_forgotten:
            self._remember(user_id, rules)
        else:
            # Somebody else may have changed them since, and have been heard of before our own answer.
            self._remembered.pop(user_id, None)
        self._publisher.publish(Commit(position=rules.position, rooms=frozenset(), users=frozenset((user_id,))))

    def _forget(self, user_ids: Iterable[UserId]) -> None:
        self._times_forgotten += 1
        for user_id in user_ids:
            self._remembered.pop(user_id, None)

    def _remember(self, user_id: UserId, rules: UserRules) -> None:
        known = self._remembered.get(user_id)
        if known is not None and known.position >= rules.position:
            return  # commits need not be heard of in their order
        self._remembered[user_id] = rules
        if len(self._remembered) > _MOST_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]


def _user_rules(user_id: UserId, changes: Changes, position: int) -> UserRules:
    ruleset = merged(default_rules(user_id), changes)
    return UserRules(ruleset, compile_rules(ruleset), position)
