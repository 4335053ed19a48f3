"""What people see, and the patience to wait until it is what it will be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from tricord.clients import Client
from tricord.protocol.identifiers import EventId, RoomId

PATIENCE_SECONDS = 15


async def becomes(seen: Callable[[], Awaitable[object]], expected: object) -> None:
    """Look until something is as it should be."""
    found: object = "not seen at all"
    with trio.move_on_after(PATIENCE_SECONDS):
        while (found := await seen()) != expected:  # noqa: ASYNC110  # it happens in other processes
            await trio.sleep(0.05)
    assert found == expected, f"{found!r} is not {expected!r}"


async def membership(viewer: Client, room_id: RoomId, of: Client) -> str | None:
    """Return what somebody is in a room, as another sees it."""
    content = await viewer.state(room_id, "m.room.member", of.user_id)
    return None if content is None else str(content["membership"])


async def state_of(viewer: Client, room_id: RoomId) -> dict[tuple[str, str], EventId]:
    """Return the events that are a room's state, as somebody sees it."""
    return {(event["type"], event["state_key"]): event["event_id"] for event in await viewer.full_state(room_id)}


async def everything_said(viewer: Client, room_id: RoomId) -> list[EventId]:
    """Return the messages of a room from the first to the last, read backwards in pages."""
    found: list[EventId] = []
    start = None
    while True:
        page = await viewer.messages(room_id, start=start, limit=10)
        found += [EventId(event["event_id"]) for event in page.chunk if event["type"] == "m.room.message"]
        start = page.end
        if start is None:
            return found[::-1]


class Passing:
    """What passes in a room without staying: the newest content of one type, as somebody's sync tells it."""

    def __init__(self, viewer: Client, room_id: RoomId, event_type: str) -> None:
        self._viewer = viewer
        self._room_id = room_id
        self._event_type = event_type
        self._since: str | None = None
        self._content: dict[str, Any] = {}

    async def content(self) -> dict[str, Any]:
        """Return it as it is now."""
        answer = await self._viewer.sync(since=self._since)
        self._since = answer["next_batch"]
        room = answer.get("rooms", {}).get("join", {}).get(self._room_id, {})
        for event in room.get("ephemeral", {}).get("events", []):
            if event["type"] == self._event_type:
                self._content = event["content"]
        return self._content
