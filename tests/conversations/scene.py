"""A homeserver with people in it, a hostile peer and a fair one in their room, and what must hold after each attack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import trio
from structlog.processors import format_exc_info
from structlog.testing import capture_logs

from tests.conversations.hostile import Peer, Room, peer
from tests.conversations.network import Network
from tests.conversations.towns import Town, heard, towns
from tests.memory import memory_kib
from tests.postgres import PostgresServer
from tests.servers import AUTHORITIES
from tricord.clients import Client
from tricord.homeserver.storage.database import Database, open_database
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId

# Far more than it takes on a machine that does nothing else.
_PROMPT_SECONDS = 60


@dataclass
class Scene:
    """`hs.test` with alice, bob and xenia; mallory of the hostile peer and frank of the fair one; one shared room."""

    town: Town
    evil: Peer
    fair: Peer
    room: Room
    """As the hostile peer knows it."""
    database: Database
    """Of the homeserver, to look into."""

    @property
    def hs(self) -> ServerName:
        return self.town.name

    @property
    def alice(self) -> Client:
        return self.town["alice"]

    @property
    def bob(self) -> Client:
        return self.town["bob"]

    @property
    def xenia(self) -> Client:
        """Who is in no room."""
        return self.town["xenia"]

    @property
    def mallory(self) -> UserId:
        return self.evil.user("mallory")

    @property
    def frank(self) -> UserId:
        return self.fair.user("frank")

    async def shared_room(self, version: str, **how: Any) -> Room:
        """Make a room with everybody but xenia in it."""
        room_id = await self.alice.create_room(preset="public_chat", room_version=version, **how)
        await self.bob.join(room_id)
        await self.fair.join(self.hs, room_id, self.frank)
        room = await self.evil.join(self.hs, room_id, self.mallory)
        await self.town_knows(room_id, self.frank)
        with trio.fail_after(_PROMPT_SECONDS):
            await self.fair.heard(room_id, room.ends[-1].event_id)
        return room

    async def town_knows(self, room_id: RoomId, user_id: UserId) -> None:
        assert user_id in await self.alice.joined_members(room_id)

    async def is_shown(self, event_id: EventId) -> bool:
        """Return whether alice finds an event in the history of the room."""
        page = await self.alice.messages(self.room.room_id, limit=200)
        return event_id in [event["event_id"] for event in page.chunk]

    async def stored(self, event_id: EventId) -> bool:
        """Return whether an event is anywhere in the database."""
        found = await self.database.run(
            lambda tx: tx.fetchval("SELECT 1 FROM events WHERE event_id = $1 AND NOT rejected", event_id)
        )
        return found is not None

    async def rows(self) -> int:
        """Return how many events there are."""
        count: int = await self.database.run(lambda tx: tx.fetchval("SELECT count(*) FROM events"))
        return count

    async def check_well(self) -> None:
        """Everybody who behaves is served as before: our own users, the fair peer, and the hostile one if it does."""
        async with httpx.AsyncClient(verify=AUTHORITIES) as http:
            with trio.fail_after(_PROMPT_SECONDS):
                url = self.town.homeserver.urls[0]
                assert (await http.get(f"{url}/_matrix/client/versions")).status_code == 200
        room_id = self.room.room_id
        with trio.fail_after(_PROMPT_SECONDS):
            await heard(self.bob, room_id, await self.alice.send_text(room_id, "still well"))
        for one, user_id in ((self.fair, self.frank), (self.evil, self.mallory)):
            one.script.clear()
            said = one.says(one.rooms[room_id], user_id, "and I behave")
            with trio.fail_after(_PROMPT_SECONDS):
                told = (await one.send(self.hs, [said])).json()
                assert told["pdus"][said.event_id] == {}, told
                await heard(self.alice, room_id, said.event_id)
        last = await self.alice.send_text(room_id, "do you hear me?")
        with trio.fail_after(60):
            for one in (self.fair, self.evil):
                await one.heard(room_id, last)


@asynccontextmanager
async def hostile_scene(
    postgres: PostgresServer, folder: Path, version: str = "12", **settings: Any
) -> AsyncIterator[Scene]:
    """Set the scene; when it is left, everything must be as well as before, and nothing have failed."""
    network = Network()
    with capture_logs(processors=[format_exc_info]) as logs:
        async with (
            peer("evil.test", network) as evil,
            peer("fair.test", network) as fair,
            towns(postgres, folder, network, settings, hs=["alice", "bob", "xenia"]) as found,
            open_database(found[0].homeserver.settings.database.url.get_secret_value()) as database,
        ):
            scene = Scene(found[0], evil, fair, None, database)  # type: ignore[arg-type]  # set right below
            scene.room = await scene.shared_room(version)
            before = memory_kib()
            yield scene
            await scene.check_well()
            assert (grown := memory_kib() - before) < 64 * 1024, grown
    failures = [entry for entry in logs if entry["log_level"] in ("error", "critical") or "exception" in entry]
    assert not failures, "\n".join(str(entry.get("exception", entry)) for entry in failures)
