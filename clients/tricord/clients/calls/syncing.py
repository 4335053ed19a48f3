"""Asking what is new, one answer at a time; `follow.py` does it all the time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tricord.clients.api.sliding_sync import SlidingSync
from tricord.clients.calls.base import Calls, given


class SyncCalls(Calls):
    """Requests that may wait for something to happen."""

    async def sliding_sync(
        self,
        *,
        pos: str | None = None,
        timeout_ms: int = 0,
        conn_id: str = "",
        lists: Mapping[str, Any] | None = None,
        room_subscriptions: Mapping[str, Any] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> SlidingSync.Response:
        """Return what is new in the windows of lists, and in rooms that are subscribed to.

        https://github.com/matrix-org/matrix-spec-proposals/pull/4186
        """
        query = given({"pos": pos, "timeout": timeout_ms or None})
        body = given(
            {
                "conn_id": conn_id or None,
                "lists": lists,
                "room_subscriptions": room_subscriptions,
                "extensions": extensions,
            }
        )
        return await self.http.typed(
            SlidingSync, SlidingSync.Response, query=query, body=body, answer_within_seconds=timeout_ms / 1000 + 30
        )
