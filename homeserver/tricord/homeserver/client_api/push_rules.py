"""Routes of push rules."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.push_rules import (
    DeletePushRule,
    EnablePushRule,
    GetGlobalPushRules,
    GetPushRule,
    GetPushRuleActions,
    GetPushRules,
    IsPushRuleEnabled,
    PutPushRule,
    SetPushRuleActions,
)
from tricord.homeserver.push.rules import PushRules
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.strict_json import JsonObject


class PushRulesApi:
    """Which events are worth a notification."""

    def __init__(self, rules: PushRules) -> None:
        self._rules = rules

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(GetPushRules, self.all_rules),
            Route(GetGlobalPushRules, self.global_rules),
            Route(GetPushRule, self.rule),
            Route(PutPushRule, self.put),
            Route(DeletePushRule, self.delete),
            Route(IsPushRuleEnabled, self.is_enabled),
            Route(EnablePushRule, self.enable),
            Route(GetPushRuleActions, self.actions),
            Route(SetPushRuleActions, self.set_actions),
        ]

    async def all_rules(self, call: Call[Any, Any]) -> JsonObject:
        """Return all rules."""
        return {"global": await self.global_rules(call)}

    async def global_rules(self, call: Call[Any, Any]) -> JsonObject:
        """Return all rules, without their scope."""
        return dict((await self._rules.of(call.requester.user_id)).ruleset)

    async def rule(self, call: Call[Any, Any]) -> JsonObject:
        """Return one rule."""
        return await self._rules.one(call.requester.user_id, call.path["kind"], call.path["rule_id"])

    async def put(self, call: Call[JsonObject, PutPushRule.Query]) -> JsonObject:
        """Add or change a rule."""
        await self._rules.put(
            call.requester.user_id,
            call.path["kind"],
            call.path["rule_id"],
            call.body,
            before=call.query.before,
            after=call.query.after,
        )
        return {}

    async def delete(self, call: Call[Any, Any]) -> JsonObject:
        """Remove a rule."""
        await self._rules.remove(call.requester.user_id, call.path["kind"], call.path["rule_id"])
        return {}

    async def is_enabled(self, call: Call[Any, Any]) -> IsPushRuleEnabled.Response:
        """Say whether a rule is enabled."""
        return IsPushRuleEnabled.Response(enabled=(await self.rule(call))["enabled"])

    async def enable(self, call: Call[EnablePushRule.Body, Any]) -> JsonObject:
        """Enable or disable a rule."""
        await self._rules.enable(
            call.requester.user_id, call.path["kind"], call.path["rule_id"], enabled=call.body.enabled
        )
        return {}

    async def actions(self, call: Call[Any, Any]) -> GetPushRuleActions.Response:
        """Return what a rule does."""
        return GetPushRuleActions.Response(actions=(await self.rule(call))["actions"])

    async def set_actions(self, call: Call[SetPushRuleActions.Body, Any]) -> JsonObject:
        """Change what a rule does."""
        await self._rules.set_actions(
            call.requester.user_id, call.path["kind"], call.path["rule_id"], call.body.actions
        )
        return {}
