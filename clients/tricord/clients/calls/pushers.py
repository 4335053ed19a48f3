"""Where our homeserver notifies us while we are closed, and of what it did."""

from __future__ import annotations

from typing import Any

from tricord.clients.api import pushers as api
from tricord.clients.calls.base import Calls, given


class PusherCalls(Calls):
    """Pushers and notifications."""

    async def pushers(self) -> list[api.Pusher]:
        """Return our pushers.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushers
        """
        return (await self.http.typed(api.GetPushers, api.GetPushers.Response)).pushers

    async def set_pusher(
        self,
        app_id: str,
        pushkey: str,
        data: dict[str, Any],
        *,
        kind: str = "http",
        app_display_name: str,
        device_display_name: str,
        lang: str = "en",
        profile_tag: str | None = None,
        append: bool = False,
    ) -> None:
        """Add or change a pusher; `append`: leave those that others have with this app and key.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3pushersset
        """
        body = given(
            {
                "app_id": app_id,
                "pushkey": pushkey,
                "kind": kind,
                "data": data,
                "app_display_name": app_display_name,
                "device_display_name": device_display_name,
                "lang": lang,
                "profile_tag": profile_tag,
                "append": append,
            }
        )
        await self.http.call(api.SetPusher, body=body)

    async def remove_pusher(self, app_id: str, pushkey: str) -> None:
        """Remove a pusher; it is no error if there is none."""
        await self.http.call(api.SetPusher, body={"app_id": app_id, "pushkey": pushkey, "kind": None})

    async def notifications(
        self, *, after: str | None = None, limit: int | None = None, only_highlights: bool = False
    ) -> api.GetNotifications.Response:
        """Return what we were, or would have been, notified of, newest first; go on with `next_token`.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3notifications
        """
        query = given({"from": after, "limit": limit, "only": "highlight" if only_highlights else None})
        return await self.http.typed(api.GetNotifications, api.GetNotifications.Response, query=query)
