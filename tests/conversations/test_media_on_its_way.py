"""Files of other servers are read while they come."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import trio

from tests.conversations.network import Network
from tests.conversations.towns import Town, towns
from tests.federation.web import LOOPBACK
from tests.postgres import PostgresServer
from tests.servers import PROCESSES
from tricord.federation.multipart import part_head
from tricord.homeserver.storage.database import open_database
from tricord.protocol.identifiers import ServerName

SLOW = ServerName("slow.test")
FIRST = os.urandom(3_000_000)
REST = os.urandom(2_000_000)


@dataclass
class SlowServer:
    """A server that sends a part of a file, and the rest, or nothing more, when it is told to."""

    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "video/mp4"})
    asked: int = 0
    go_on: trio.Event = field(default_factory=trio.Event)
    breaks_off: bool = False
    length: int | None = None

    async def serve(self, stream: trio.SocketStream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some(65_536)
        self.asked += 1
        head = part_head("b", {}) + b"{}\r\n" + part_head("b", self.headers)
        tail = b"\r\n--b--\r\n"
        length = len(head) + len(FIRST) + len(REST) + len(tail)
        status = f"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Length: {length}\r\n\r\n"
        await stream.send_all(status.encode() + head + FIRST)
        await self.go_on.wait()
        if not self.breaks_off:
            await stream.send_all(REST + tail)
        await stream.aclose()


@asynccontextmanager
async def with_slow(postgres: PostgresServer, folder: Path, slow: SlowServer) -> AsyncIterator[Town]:
    network = Network()
    async with towns(postgres, folder, network, north=["alice", "bob"]) as (north,), trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
        nursery.start_soon(trio.serve_listeners, slow.serve, listeners)
        network.urls[SLOW] = f"http://{LOOPBACK}:{listeners[0].socket.getsockname()[1]}"
        yield north
        nursery.cancel_scope.cancel()


class Reader:
    """Somebody who downloads, and the bytes that they have."""

    def __init__(self, town: Town, name: str, media_id: str = "film") -> None:
        self._client = town[name]
        self._media_id = media_id
        self.data = bytearray()
        self.headers = httpx.Headers()
        self.has_first = trio.Event()

    async def read(self, **headers: str) -> None:
        path = f"/_matrix/client/v1/media/download/{SLOW}/{self._media_id}"
        headers |= {"Authorization": f"Bearer {self._client.http.access_token}"}
        async with (
            httpx.AsyncClient(base_url=self._client.http.base_url, timeout=60) as http,
            http.stream("GET", path, headers=headers) as answer,
        ):
            assert answer.status_code in (200, 206)
            self.headers = answer.headers
            async for part in answer.aiter_raw():
                self.data += part
                if len(self.data) > 1_000_000:
                    self.has_first.set()


def files_in(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


async def test_all_read_one_transfer_while_it_goes_on(postgres: PostgresServer, tmp_path: Path) -> None:
    slow = SlowServer({"Content-Type": "video/mp4", "Content-Disposition": 'inline; filename="film.mp4"'})
    async with with_slow(postgres, tmp_path, slow) as north:
        readers = [Reader(north, "alice"), Reader(north, "bob"), Reader(north, "bob")]
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for reader in readers:
                    nursery.start_soon(reader.read)
                for reader in readers:
                    await reader.has_first.wait()
                late = Reader(north, "alice")
                readers.append(late)
                nursery.start_soon(lambda: late.read(Range="bytes=0-"))
                await late.has_first.wait()
                slow.go_on.set()
        assert all(reader.data == FIRST + REST for reader in readers)
        assert late.headers["content-disposition"] == 'inline; filename="film.mp4"'
        assert late.headers["content-security-policy"].startswith("sandbox;")
        assert late.headers["x-content-type-options"] == "nosniff"
        assert "content-length" not in late.headers
        again = Reader(north, "bob")
        await again.read(Range="bytes=2999990-3000009")
        assert bytes(again.data) == FIRST[-10:] + REST[:10]
        assert 1 <= slow.asked <= PROCESSES  # on its way, it is each one's own


async def test_a_part_is_given_when_all_is_here(postgres: PostgresServer, tmp_path: Path) -> None:
    slow = SlowServer()
    async with with_slow(postgres, tmp_path, slow) as north:
        whole, part = Reader(north, "alice"), Reader(north, "bob")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(whole.read)
            nursery.start_soon(lambda: part.read(Range="bytes=4999990-"))
            await whole.has_first.wait()
            assert not part.data
            slow.go_on.set()
        assert part.data == REST[-10:]
        assert 1 <= slow.asked <= PROCESSES  # on its way, it is each one's own


async def test_who_hangs_up_harms_no_other(postgres: PostgresServer, tmp_path: Path) -> None:
    slow = SlowServer()
    async with with_slow(postgres, tmp_path, slow) as north:
        first, second = Reader(north, "alice"), Reader(north, "bob")
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as hung_up:
                async with trio.open_nursery() as line:
                    line.start_soon(first.read)
                    await first.has_first.wait()
                    hung_up.cancel()
            nursery.start_soon(second.read)
            await second.has_first.wait()
            slow.go_on.set()
        assert second.data == FIRST + REST
        assert 1 <= slow.asked <= PROCESSES  # on its way, it is each one's own


@pytest.mark.parametrize("length", [None, len(FIRST + REST), len(FIRST + REST) + 10])
async def test_a_transfer_that_breaks_off_is_no_file(
    postgres: PostgresServer, tmp_path: Path, length: int | None
) -> None:
    slow = SlowServer()
    slow.breaks_off = length in (None, len(FIRST + REST))
    if length is not None:
        slow.headers["Content-Length"] = str(length)
    async with with_slow(postgres, tmp_path, slow) as north:
        reader = Reader(north, "alice")
        failures: list[Exception] = []

        async def read() -> None:
            try:
                await reader.read()
            except httpx.RemoteProtocolError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await reader.has_first.wait()
            slow.go_on.set()
        assert len(failures) == 1
        assert (FIRST + REST).startswith(reader.data)
        assert len(reader.data) < len(FIRST + REST)
        assert not files_in(tmp_path / "north" / "media")


async def test_what_nobody_may_see_is_no_whole_file_either(postgres: PostgresServer, tmp_path: Path) -> None:
    slow = SlowServer()
    async with with_slow(postgres, tmp_path, slow) as north:
        async with open_database(north.homeserver.settings.database.url.get_secret_value()) as database:
            digest = hashlib.sha256(FIRST + REST).digest()
            sql = "INSERT INTO media_blobs (digest, size, claimed_ts, quarantined_by) VALUES ($1, 5000000, 0, 'me')"
            await database.run(lambda tx: tx.execute(sql, digest))
        reader = Reader(north, "alice")
        slow.go_on.set()
        with pytest.raises((httpx.RemoteProtocolError, AssertionError)):
            await reader.read()
        assert len(reader.data) < len(FIRST + REST)
