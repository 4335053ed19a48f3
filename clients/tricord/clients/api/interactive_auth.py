"""Showing again who one is, in stages, before something that matters.

https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.endpoint import Authentication, Endpoint, Model


class UserIdentifier(Model):
    """Who somebody is: by user id or localpart, by e-mail address or by phone number.

    https://spec.matrix.org/v1.19/client-server-api/#identifier-types
    """

    type: str | None = None
    user: str | None = None
    medium: str | None = None
    address: str | None = None
    country: str | None = None
    phone: str | None = None


class AuthData(Model):
    """One step: the stage that is attempted and what it takes; only the session to ask how things stand."""

    type: str | None = None
    session: str | None = None
    identifier: UserIdentifier | None = None
    user: str | None = None
    password: str | None = None
    token: str | None = None


class Flow(Model):
    """Stages that together are enough, in this order."""

    stages: list[str]


class AuthenticationRequired(Model):
    """The body of a 401 that asks for more."""

    flows: list[Flow]
    params: dict[str, Any] = Field(default_factory=dict)
    session: str | None = None
    completed: list[str] = Field(default_factory=list)
    errcode: str | None = None
    error: str | None = None


class _SessionQuery(Model):
    session: str


class GetFallbackPage(Endpoint):
    """Show a page on which a stage can be completed with a browser.

    https://spec.matrix.org/v1.19/client-server-api/#fallback
    """

    method = "GET"
    path = "/_matrix/client/v3/auth/{auth_type}/fallback/web"
    authentication = Authentication.NONE
    body_kind = "none"

    Query = _SessionQuery


class SubmitFallbackPage(Endpoint):
    """Complete a stage with what was entered on the page.

    https://spec.matrix.org/v1.19/client-server-api/#fallback
    """

    method = "POST"
    path = "/_matrix/client/v3/auth/{auth_type}/fallback/web"
    authentication = Authentication.NONE
    body_kind = "stream"
    max_body = 8 << 10

    Query = _SessionQuery
