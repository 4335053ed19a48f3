"""Pushers: where to notify a user whose clients are closed; and what they were notified of.

https://spec.matrix.org/v1.19/client-server-api/#push-notifications
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.endpoint import Endpoint, Model


class Pusher(Model):
    """A pusher as its owner sees it."""

    pushkey: str
    app_id: str
    kind: str
    app_display_name: str
    device_display_name: str
    profile_tag: str | None = None
    lang: str
    data: dict[str, Any]


class GetPushers(Endpoint):
    """List one's own pushers. https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushers."""

    method = "GET"
    path = "/_matrix/client/v3/pushers"
    hot = True

    class Response(Model):
        """All of them."""

        pushers: list[Pusher]


class SetPusher(Endpoint):
    """Add, change or (by `kind` null) remove a pusher.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3pushersset
    """

    method = "POST"
    path = "/_matrix/client/v3/pushers/set"
    hot = True

    class Body(Model):
        """The pusher; only its names are needed to remove it."""

        app_id: str = Field(min_length=1)
        pushkey: str = Field(min_length=1)
        kind: str | None
        append: bool = False
        app_display_name: str | None = None
        device_display_name: str | None = None
        profile_tag: str | None = None
        lang: str | None = None
        data: dict[str, Any] | None = None


class GetNotifications(Endpoint):
    """Page back through what one was, or would have been, notified of.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3notifications
    """

    method = "GET"
    path = "/_matrix/client/v3/notifications"

    class Query(Model):
        """Where to go on, and whether only highlights are wanted."""

        from_: str | None = Field(None, alias="from")
        limit: int = Field(20, ge=1)
        only: str | None = None

    class Response(Model):
        """A page, newest first; without `next_token` there is no more."""

        next_token: str | None = None
        notifications: list[dict[str, Any]]
