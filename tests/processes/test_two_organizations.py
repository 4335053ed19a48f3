"""Two organizations as operators run them: a `tricord serve` for each, and TLS between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trio

from tests.durability.senders import Sender, history, texts
from tests.homeserver.cli.commands import tricord
from tests.postgres import PostgresServer
from tests.servers import PASSWORD, PROCESSES
from tricord.clients import Client
from tricord.homeserver.demo.servers import DemoServer, prepare
from tricord.protocol.identifiers import RoomId

_PATIENCE_SECONDS = 90
_MESSAGES_BEFORE = 15
_MESSAGES_AFTER = 15


@dataclass
class Side:
    """An organization: its server, and somebody there."""

    server: DemoServer
    person: Client

    @property
    def token(self) -> str:
        """What the person's requests carry."""
        assert self.person.http.access_token is not None
        return self.person.http.access_token

    async def killed_and_started(self) -> None:
        """End the server as a power cut would, and start it anew."""
        assert self.server.process is not None
        self.server.process.kill()
        self.server.process.wait()
        self.server.start()
        await self.server.until_ready()

    async def said(self, room_id: RoomId) -> dict[str, list[str]]:
        """Return what was said in a room as this side knows it, each text with the ids of its events."""
        async with httpx.AsyncClient(base_url=self.server.url, timeout=30) as http:
            return texts(await history(http, self.token, room_id))


@asynccontextmanager
async def organizations(postgres: PostgresServer, folder: Path) -> AsyncIterator[tuple[Side, Side]]:
    """Run two servers that know each other, alice at the one and bob at the other."""
    async with AsyncExitStack() as stack:
        sides = []
        for server in prepare(folder, ["north.test", "south.test"]):
            url = await postgres.fresh()
            stack.push_async_callback(postgres.drop, url)
            settings_file = server.folder / "tricord.toml"
            settings = settings_file.read_text(encoding="utf-8")
            settings_file.write_text(
                f"""processes = {PROCESSES}
{settings}
[database]
url = "{url}"

[rate_limits]
enabled = false
""",
                encoding="utf-8",
            )
            stack.push_async_callback(server.stop)
            server.start()
            sides.append((server, await stack.enter_async_context(Client(server.url))))
        for (server, person), name in zip(sides, ("alice", "bob"), strict=True):
            await server.until_ready()
            await person.register(name, PASSWORD)
        north, south = [Side(*side) for side in sides]
        yield north, south


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Look again and again until something holds."""
    with trio.fail_after(_PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110  # as a person would look
            await trio.sleep(0.1)


@pytest.mark.slow
def test_the_demonstration_tells_its_story(tmp_path: Path) -> None:
    said = tricord(tmp_path, "demo", "--once", "--data-dir", "demo").good()
    for words in (
        "@ben:harbour.example joins from harbour.example",
        "@ada:orchard.example: Forty crates are ready. When do you sail? (seen at harbour.example after",
        "@cleo:harbour.example: Send them down, the hold is dry. (seen at orchard.example after",
        "@scales:orchard.example: 40 crates are 720 kg. (seen at harbour.example after",
    ):
        assert words in _unwrapped(said), said
    for name in ("orchard.example", "harbour.example"):
        log = (tmp_path / "demo" / name / "log").read_text()
        assert "Traceback" not in log


@pytest.mark.slow
def test_the_demonstration_explains_what_keeps_it_from_starting(tmp_path: Path) -> None:
    (tmp_path / "demo" / "orchard.example" / "data").mkdir(parents=True)
    (tmp_path / "demo" / "orchard.example" / "data" / "signing.key").write_text("rubbish")
    fault = tricord(tmp_path, "demo", "--once", "--data-dir", "demo").fault()
    assert "orchard.example did not start" in fault
    assert "signing.key is not a signing key" in fault


def _unwrapped(text: str) -> str:
    """Return a text without the line breaks that a narrow terminal gives it."""
    return " ".join(text.split())


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["who sends", "who receives"])
async def test_everything_arrives_once_though_a_server_is_killed(
    postgres: PostgresServer, tmp_path: Path, killed: str
) -> None:
    async with organizations(postgres, tmp_path) as (north, south):
        room_id = await north.person.create_room(preset="private_chat", name="Across")
        await north.person.invite(room_id, south.person.user_id)
        await south.person.join(room_id)
        senders = [
            Sender(f"{side.server.name}-{number}", side.token, room_id)
            for side in (north, south)
            for number in range(2)
        ]
        async with (
            httpx.AsyncClient(base_url=north.server.url, timeout=30) as http_of_north,
            httpx.AsyncClient(base_url=south.server.url, timeout=30) as http_of_south,
            trio.open_nursery() as nursery,
        ):
            for sender in senders:
                nursery.start_soon(sender.run, http_of_north if sender.token == north.token else http_of_south)

            async def have_sent(count: int) -> bool:
                return all(len(sender.acknowledged) >= count for sender in senders)

            await until(lambda: have_sent(_MESSAGES_BEFORE))
            await (north if killed == "who sends" else south).killed_and_started()
            before = max(len(sender.acknowledged) for sender in senders)
            await until(lambda: have_sent(before + _MESSAGES_AFTER))
            for sender in senders:
                sender.stopping = True
        sent = {text: [event_id] for sender in senders for text, event_id in sender.acknowledged.items()}

        async def both_have_all() -> bool:
            known = [await side.said(room_id) for side in (north, south)]
            return all(sent.keys() <= said.keys() for said in known)

        await until(both_have_all)
        for side in (north, south):
            assert await side.said(room_id) == sent
            assert set(await side.person.joined_members(room_id)) == {north.person.user_id, south.person.user_id}
