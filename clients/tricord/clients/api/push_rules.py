"""Push rules: which events are worth a notification.

https://spec.matrix.org/v1.19/client-server-api/#push-rules-api
"""

from __future__ import annotations

from typing import Any

from tricord.clients.endpoint import Endpoint, Model

_RULE = "/_matrix/client/v3/pushrules/global/{kind}/{rule_id}"


class GetPushRules(Endpoint):
    """Return all rules of the user.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrules
    """

    method = "GET"
    path = "/_matrix/client/v3/pushrules/"
    hot = True
    # Clients ask without the slash too.
    also = ("/_matrix/client/v3/pushrules",)
    body_kind = "none"


class GetGlobalPushRules(Endpoint):
    """Return all rules of the user, without their scope.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobal
    """

    method = "GET"
    path = "/_matrix/client/v3/pushrules/global/"
    also = ("/_matrix/client/v3/pushrules/global",)
    hot = True
    body_kind = "none"


class GetPushRule(Endpoint):
    """Return one rule.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleid
    """

    method = "GET"
    path = _RULE
    hot = True
    body_kind = "none"


class PutPushRule(Endpoint):
    """Add a rule, or change it.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleid
    """

    method = "PUT"
    path = _RULE
    hot = True
    max_body = 64 << 10

    class Query(Model):
        """Where the rule goes among those of its kind."""

        before: str | None = None
        after: str | None = None


class DeletePushRule(Endpoint):
    """Remove a rule that the user has made.

    https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3pushrulesglobalkindruleid
    """

    method = "DELETE"
    path = _RULE
    hot = True


class IsPushRuleEnabled(Endpoint):
    """Say whether a rule is enabled.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleidenabled
    """

    method = "GET"
    path = f"{_RULE}/enabled"
    hot = True
    body_kind = "none"

    class Response(Model):
        """The answer."""

        enabled: bool


class EnablePushRule(Endpoint):
    """Enable or disable a rule.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleidenabled
    """

    method = "PUT"
    path = f"{_RULE}/enabled"
    hot = True

    class Body(Model):
        """Whether the rule counts."""

        enabled: bool


class GetPushRuleActions(Endpoint):
    """Return what a rule does.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleidactions
    """

    method = "GET"
    path = f"{_RULE}/actions"
    hot = True
    body_kind = "none"

    class Response(Model):
        """The actions."""

        actions: list[Any]


class SetPushRuleActions(Endpoint):
    """Change what a rule does, a predefined one's too.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleidactions
    """

    method = "PUT"
    path = f"{_RULE}/actions"
    hot = True
    max_body = 64 << 10

    class Body(Model):
        """The actions."""

        actions: list[Any]
