"""What people see, and the patience to wait until it is what it will be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

import trio

from tricord.clients import Client, Refused
from tricord.protocol.identifiers import EventId, RoomId

T = TypeVar("T")

_SERVER_FAILED = 500
# Far more than it takes: with two servers beside all else that runs, the machine may be slow.
PATIENCE_SECONDS = 90


async def becomes(seen: Callable[[], Awaitable[object]], expected: object) -> None:
    """Look until something is as it should be."""
    found: object = "not seen at all"
    with trio.move_on_after(PATIENCE_SECONDS):
        while (found := await seen()) != expected:  # noqa: ASYNC110  # it happens in other processes
            await trio.sleep(0.05)
    assert found == expected, f"{found!r} is not {expected!r}"


async def settled(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the answer is the other server's: one that was slow to answer is left alone for a while."""
    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            try:
                return await ask()
            except Refused as refusal:
                if refusal.status < _SERVER_FAILED:
                    raise
                await trio.sleep(0.2)


async def stripped_state(viewer: Client, room_id: RoomId, section: Literal["invite", "knock"]) -> list[dict[str, Any]]:
    """Return what somebody is told of a room that they are invited to or knock on, as soon as they are."""
    found: list[dict[str, Any]] = []

    async def is_told() -> bool:
        room = (await viewer.sync()).get("rooms", {}).get(section, {}).get(room_id)
        found[:] = [] if room is None else room[f"{section}_state"]["events"]
        return room is not None

    await becomes(is_told, True)
    return found


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
