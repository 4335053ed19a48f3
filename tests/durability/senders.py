"""People who send without a pause, and one who reads along, through all that happens to the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio

from tests.servers import PASSWORD
from tricord.clients import Client
from tricord.protocol.identifiers import RoomId

PAUSE_SECONDS = 0.02
# That somebody is there would wake those who wait for what is said.
ROOMS_ONLY = {"filter": '{"presence":{"types":[]}}'}
_BROKEN = (httpx.TransportError, trio.BrokenResourceError)
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)


@dataclass
class House:
    """Sessions of some people, and rooms in which all of them are."""

    url: str
    tokens: list[str]
    rooms: list[RoomId]

    @asynccontextmanager
    async def http(self) -> AsyncIterator[httpx.AsyncClient]:
        """Give connections without any patience of their own."""
        async with httpx.AsyncClient(base_url=self.url, timeout=30, limits=_LIMITS) as http:
            yield http


async def settled(url: str, *, people: int, rooms: int) -> House:
    """Register people and put them into rooms."""
    tokens, room_ids = [], []
    for number in range(people):
        async with Client(url) as client:
            await client.register(f"person{number}", PASSWORD)
            if number == 0:
                room_ids = [await client.create_room(preset="public_chat") for _ in range(rooms)]
            else:
                for room_id in room_ids:
                    await client.join(room_id)
            assert client.http.access_token is not None
            tokens.append(client.http.access_token)
    return House(url, tokens, room_ids)


def bearer(token: str) -> dict[str, str]:
    """Return the header that proves who asks."""
    return {"Authorization": f"Bearer {token}"}


async def send(http: httpx.AsyncClient, token: str, room_id: RoomId, text: str, *, transaction_id: str) -> str | None:
    """Try to send once; return the event id, or None if the server says that it cannot now.

    Raises httpx.TransportError when there is no answer, so that nobody knows whether it was sent.
    """
    path = f"/_matrix/client/v3/rooms/{room_id}/send/m.room.message/{transaction_id}"
    answer = await http.put(path, json={"msgtype": "m.text", "body": text}, headers=bearer(token))
    if answer.status_code == 200:
        event_id: str = answer.json()["event_id"]
        return event_id
    assert answer.status_code in (502, 503, 504), f"{answer.status_code} {answer.text}"
    assert answer.json()["errcode"], answer.text
    return None


@dataclass
class Sender:
    """Sends one text after the other, each until the server says what became of it."""

    name: str
    token: str
    room_id: RoomId
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Texts, which are transaction ids as well, and their event ids."""
    stopping: bool = False

    async def run(self, http: httpx.AsyncClient) -> None:
        """Send until `stopping`, and the last one whatever it takes."""
        while not self.stopping:
            text = f"{self.name}-{len(self.acknowledged)}"
            while text not in self.acknowledged:
                try:
                    event_id = await send(http, self.token, self.room_id, text, transaction_id=text)
                except _BROKEN:
                    event_id = None
                if event_id is None:
                    await trio.sleep(PAUSE_SECONDS)
                else:
                    self.acknowledged[text] = event_id


@dataclass
class Reader:
    """Follows by `/sync`, and fills the gaps it is told of."""

    token: str
    timelines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    since: str | None = None

    async def run(self, http: httpx.AsyncClient) -> None:
        """Follow for ever."""
        while True:
            try:
                await self.once(http, wait_ms=10_000)
            except _BROKEN:
                await trio.sleep(PAUSE_SECONDS)

    async def once(self, http: httpx.AsyncClient, *, wait_ms: int = 0) -> None:
        """Take in one answer."""
        query = {"timeout": str(wait_ms), "filter": '{"room":{"timeline":{"limit":100}}}'}
        if self.since is not None:
            query["since"] = self.since
        answer = await http.get("/_matrix/client/v3/sync", params=query, headers=bearer(self.token))
        if answer.status_code == 503:
            await trio.sleep(PAUSE_SECONDS)
            return
        assert answer.status_code == 200, answer.text
        new: dict[str, list[dict[str, Any]]] = {}
        for room_id, room in answer.json().get("rooms", {}).get("join", {}).items():
            timeline = room["timeline"]
            new[room_id] = timeline["events"]
            if timeline.get("limited"):
                new[room_id] = await self._missed(http, room_id, timeline["prev_batch"]) + new[room_id]
        # Only now, whole: a gap that could not be filled is asked for again.
        for room_id, events in new.items():
            self.timelines.setdefault(room_id, []).extend(events)
        self.since = answer.json()["next_batch"]

    async def _missed(self, http: httpx.AsyncClient, room_id: str, before: str) -> list[dict[str, Any]]:
        known = {event["event_id"] for event in self.timelines.get(room_id, [])}
        missed: list[dict[str, Any]] = []
        async for event in pages(http, self.token, room_id, start=before, direction="b"):
            if event["event_id"] in known:
                break
            missed.insert(0, event)
        return missed


async def pages(
    http: httpx.AsyncClient, token: str, room_id: str, *, start: str | None = None, direction: str = "f"
) -> AsyncIterator[dict[str, Any]]:
    """Go through a room's events by `/messages`."""
    while True:
        query = {"dir": direction, "limit": "200"} | ({} if start is None else {"from": start})
        answer = await http.get(f"/_matrix/client/v3/rooms/{room_id}/messages", params=query, headers=bearer(token))
        if answer.status_code == 503:
            raise httpx.ReadError("the server goes away")
        assert answer.status_code == 200, answer.text
        page = answer.json()
        for event in page["chunk"]:
            yield event
        start = page.get("end")
        if start is None:
            return


async def history(http: httpx.AsyncClient, token: str, room_id: str) -> list[dict[str, Any]]:
    """Return all events of a room, in its order."""
    return [event async for event in pages(http, token, room_id)]


def texts(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the ids of the events that say each text."""
    said: dict[str, list[str]] = {}
    for event in events:
        if event["type"] == "m.room.message":
            said.setdefault(event["content"]["body"], []).append(event["event_id"])
    return said
