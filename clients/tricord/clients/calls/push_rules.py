"""The rules by which our homeserver notifies us."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from tricord.clients.api import push_rules as api
from tricord.clients.calls.base import Calls, given

RuleKind = Literal["override", "underride", "sender", "room", "content"]


class PushRuleCalls(Calls):
    """Reading and changing push rules."""

    async def push_rules(self) -> dict[str, Any]:
        """Return the whole ruleset, kind by kind.

        https://spec.matrix.org/v1.19/client-server-api/#push-rules-api
        """
        rules: dict[str, Any] = await self.http.call(api.GetGlobalPushRules)
        return rules

    async def push_rule(self, kind: RuleKind, rule_id: str) -> dict[str, Any]:
        """Return one rule. Raises Refused (M_NOT_FOUND) where there is none."""
        rule: dict[str, Any] = await self.http.call(api.GetPushRule, _rule(kind, rule_id))
        return rule

    async def set_push_rule(
        self,
        kind: RuleKind,
        rule_id: str,
        actions: Sequence[str | dict[str, Any]],
        *,
        conditions: Sequence[dict[str, Any]] | None = None,
        pattern: str | None = None,
        before: str | None = None,
        after: str | None = None,
    ) -> None:
        """Add a rule or replace it; `conditions` for override and underride, `pattern` for content rules.

        `before` and `after` name the rule of ours of the same kind that it is put next to.
        """
        body = given({"actions": list(actions), "conditions": conditions, "pattern": pattern})
        query = {"before": before, "after": after}
        await self.http.call(api.PutPushRule, _rule(kind, rule_id), query=query, body=body)

    async def delete_push_rule(self, kind: RuleKind, rule_id: str) -> None:
        """Remove a rule of our own."""
        await self.http.call(api.DeletePushRule, _rule(kind, rule_id))

    async def enable_push_rule(self, kind: RuleKind, rule_id: str, *, enabled: bool) -> None:
        """Switch a rule on or off."""
        await self.http.call(api.EnablePushRule, _rule(kind, rule_id), body={"enabled": enabled})

    async def push_rule_is_enabled(self, kind: RuleKind, rule_id: str) -> bool:
        """Return whether a rule is switched on."""
        endpoint = api.IsPushRuleEnabled
        return (await self.http.typed(endpoint, endpoint.Response, _rule(kind, rule_id))).enabled

    async def push_rule_actions(self, kind: RuleKind, rule_id: str) -> list[Any]:
        """Return what a rule does."""
        endpoint = api.GetPushRuleActions
        return (await self.http.typed(endpoint, endpoint.Response, _rule(kind, rule_id))).actions

    async def set_push_rule_actions(
        self, kind: RuleKind, rule_id: str, actions: Sequence[str | dict[str, Any]]
    ) -> None:
        """Change what a rule does."""
        await self.http.call(api.SetPushRuleActions, _rule(kind, rule_id), body={"actions": list(actions)})


def _rule(kind: RuleKind, rule_id: str) -> dict[str, str]:
    return {"kind": kind, "rule_id": rule_id}
