"""Several homeservers that share rooms, each a town with its people."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from tests.conversations.network import Network
from tests.postgres import PostgresServer
from tests.servers import CHEAP, PASSWORD, one_or_several, settings_for
from tricord.clients import Client
from tricord.homeserver.app import Homeserver
from tricord.homeserver.clock import Clock
from tricord.protocol.identifiers import EventId, RoomId, ServerName

_PATIENCE_SECONDS = 60


@dataclass
class Town:
    """A homeserver, and its people by name."""

    name: ServerName
    homeserver: Homeserver
    people: dict[str, Client]

    def __getitem__(self, person: str) -> Client:
        return self.people[person]


@asynccontextmanager
async def towns(
    postgres: PostgresServer,
    folder: Path,
    network: Network,
    further_settings: Mapping[str, Any] | None = None,
    /,
    **people: Sequence[str],
) -> AsyncIterator[list[Town]]:
    """Run a homeserver for each name, `north=["alice"]` being `north.test` with alice in it."""
    async with AsyncExitStack() as stack:
        found = []
        for town, inhabitants in people.items():
            url = await postgres.fresh()
            stack.push_async_callback(postgres.drop, url)
            home = folder / town
            home.mkdir()
            name = ServerName(f"{town}.test")
            found.append(
                await stack.enter_async_context(open_town(name, url, home, network, inhabitants, further_settings))
            )
        yield found


@asynccontextmanager
async def open_town(
    name: ServerName,
    url: str,
    home: Path,
    network: Network,
    people: Sequence[str],
    further_settings: Mapping[str, Any] | None = None,
    *,
    is_new: bool = True,
    clock: Clock | None = None,
) -> AsyncIterator[Town]:
    """Run a homeserver on a database and a folder; people of one that is not new sign in again."""
    async with AsyncExitStack() as stack:
        settings = settings_for(
            url,
            home,
            server_name=name,
            listeners=[{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0", "serves": ["federation"]}],
            **(further_settings or {}),
        )
        transport = network.transport_of(name)
        stack.push_async_callback(transport.aclose)
        homeserver = await stack.enter_async_context(
            one_or_several(settings, clock=clock, password_cost=CHEAP, transport=transport, outside=network.outside)
        )
        network.urls[name] = homeserver.urls[1]
        clients = {}
        for person in people:
            client = await stack.enter_async_context(Client(homeserver.urls[0]))
            await (client.register if is_new else client.login)(person, PASSWORD)
            clients[person] = client
        yield Town(name, homeserver, clients)


async def heard(client: Client, room_id: RoomId, event_id: EventId) -> dict[str, Any]:
    """Follow a client's sync until an event is in a room's timeline; return it."""
    since = None
    with trio.fail_after(_PATIENCE_SECONDS):
        while True:
            answer = await client.sync(since=since, timeout_seconds=5)
            since = answer["next_batch"]
            room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
            for event in room.get("timeline", {}).get("events", []):
                if event["event_id"] == event_id:
                    found: dict[str, Any] = event
                    return found


async def members(client: Client, room_id: RoomId) -> set[str]:
    """Return who is in a room, as a client is told."""
    return set((await client.joined_members(room_id)).keys())
