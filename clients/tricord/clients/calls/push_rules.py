"""The rules by which our homeserver notifies us."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from tricord.clients.api import push_rules as api
from tricord.clients.calls.base import Calls

RuleKind = Literal["override", "underride", "sender", "room", "content"]


class PushRuleCalls(Calls):
    """Reading and changing push rules."""

    async def push_rules(self) -> dict[str, Any]:
        """Return the whole ruleset, kind by kind."""
        answer: dict[str, Any] = await self.http.call(api.GetPushRules)
        return answer

    async def set_push_rule(
        self,
        kind: RuleKind,
        rule_id: str,
        actions: Sequence[str | dict[str, Any]],
        *,
        conditions: Sequence[dict[str, Any]] | None = None,
        pattern: str | None = None,
    ) -> None:
        """Add a rule or replace it; `conditions` for override and underride, `pattern` for content rules."""
        wanted = {"actions": list(actions), "conditions": conditions, "pattern": pattern}
        body = {key: value for key, value in wanted.items() if value is not None}
        await self.http.call(api.PutPushRule, _rule(kind, rule_id), body=body)

    async def delete_push_rule(self, kind: RuleKind, rule_id: str) -> None:
        """Remove a rule of our own."""
        await self.http.call(api.DeletePushRule, _rule(kind, rule_id))

    async def enable_push_rule(self, kind: RuleKind, rule_id: str, *, enabled: bool) -> None:
        """Switch a rule on or off."""
        await self.http.call(api.EnablePushRule, _rule(kind, rule_id), body={"enabled": enabled})

    async def set_push_rule_actions(
        self, kind: RuleKind, rule_id: str, actions: Sequence[str | dict[str, Any]]
    ) -> None:
        """Change what a rule does."""
        await self.http.call(api.SetPushRuleActions, _rule(kind, rule_id), body={"actions": list(actions)})


def _rule(kind: RuleKind, rule_id: str) -> dict[str, str]:
    return {"kind": kind, "rule_id": rule_id}
