"""Files: many of 1 MiB up and down, pictures with their thumbnails, and what a large file takes of memory on its way.

    python -m bench.media                                            # `tricord serve`
    python -m bench.media --synapse-python /tmp/synapse/bin/python   # and Synapse, in turns: A B A B

Of several turns the best of each figure counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import trio
from PIL import Image

from bench import accounts
from bench.connection import Connection
from bench.figures import Figures, milliseconds
from bench.homeservers import SECRET, Homeserver, synapse, tricord
from tricord.clients import Client

_MIB = 1 << 20
_CHUNK = os.urandom(_MIB)
# What servers make of a picture: https://spec.matrix.org/v1.19/client-server-api/#thumbnails
_THUMBNAILS = ((32, 32, "crop"), (96, 96, "crop"), (320, 240, "scale"), (640, 480, "scale"), (800, 600, "scale"))
_UPLOAD = "/_matrix/media/v3/upload"

Act = Callable[[Connection, int], Awaitable[None]]


class Measured:
    """A homeserver with somebody who uses it."""

    def __init__(self, server: Homeserver, token: str, options: argparse.Namespace, figures: Figures) -> None:
        self._server = server
        self._token = token
        self._options = options
        self._figures = figures
        self._uris: dict[int, str] = {}
        self._best: dict[str, float] = {}
        self._turn = 0

    async def take_turn(self) -> None:
        """Measure what is done with many files."""
        self._turn += 1
        options = self._options
        await self._rate("upload of 1 MiB", options.files, self._upload)
        await self._rate("download of 1 MiB", options.files, self._download)
        await self._rate("picture of 1600 x 1200 with five thumbnails", options.pictures, self._picture)

    async def large_file(self) -> None:
        """Upload and download one large file, and look how much memory the server has meanwhile."""
        mebibytes = self._options.large_mib
        async with Client(self._server.url, access_token=self._token) as client:
            uri = ""

            async def parts() -> AsyncIterator[bytes]:
                for _ in range(mebibytes):
                    yield _CHUNK

            async def upload() -> None:
                nonlocal uri
                uri = await client.upload(parts)

            async def download() -> None:
                async with client.download(uri) as download:
                    async for _ in download.parts:
                        pass

            for name, act in (("upload", upload), ("download", download)):
                before, highest, seconds = await self._watched(act)
                self._figures.add(
                    f"{self._server.name}: {name} of {mebibytes} MiB",
                    f"{mebibytes / seconds:.0f} MiB/s, memory {before:.0f} MiB before, {highest:.0f} MiB at most",
                    per_second=mebibytes / seconds,
                    before=before,
                    highest=highest,
                )

    async def _watched(self, act: Callable[[], Awaitable[None]]) -> tuple[float, float, float]:
        """Do something; return the memory before, the most meanwhile, and how long it took."""
        before = highest = self._server.resident_mib()
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal highest
                while True:
                    highest = max(highest, self._server.resident_mib())
                    await trio.sleep(0.05)

            nursery.start_soon(watch)
            await act()
            nursery.cancel_scope.cancel()
        return before, highest, time.perf_counter() - started

    async def _rate(self, name: str, count: int, act: Act) -> None:
        """Do something so often, some at once, each on a connection that is kept."""
        taken: list[float] = []
        numbers = iter(range(count))

        async def some() -> None:
            async with Connection(self._server.url, self._token) as connection:
                for number in numbers:
                    begun = time.perf_counter()
                    await act(connection, number)
                    taken.append(time.perf_counter() - begun)

        cpu = self._server.cpu_seconds()[0]
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(self._options.at_once):
                nursery.start_soon(some)
        seconds = time.perf_counter() - started
        cpu = (self._server.cpu_seconds()[0] - cpu) / count
        self._best[name] = max(self._best.get(name, 0.0), count / seconds)
        self._figures.add(
            f"{self._server.name}: {name}",
            f"{count / seconds:.1f}/s, best {self._best[name]:.1f}/s, {milliseconds(taken)}, {cpu * 1e3:.1f} ms of CPU",
            per_second=self._best[name],
            cpu=cpu,
        )

    async def _upload(self, connection: Connection, number: int) -> None:
        data = self._turn.to_bytes(4, "big") + number.to_bytes(4, "big") + _CHUNK[8:]
        self._uris[number] = await _uploaded(connection, data, "application/octet-stream")

    async def _download(self, connection: Connection, number: int) -> None:
        data = await connection.call_raw("GET", f"/_matrix/client/v1/media/download/{self._uris[number]}")
        assert len(data) == _MIB

    async def _picture(self, connection: Connection, number: int) -> None:
        path = await _uploaded(connection, _picture(self._turn, number), "image/jpeg")
        for width, height, method in _THUMBNAILS:
            query = f"width={width}&height={height}&method={method}&animated=false"
            await connection.call_raw("GET", f"/_matrix/client/v1/media/thumbnail/{path}?{query}")


async def _uploaded(connection: Connection, data: bytes, content_type: str) -> str:
    answer = await connection.call_raw("POST", _UPLOAD, data, content_type)
    return answer.decode().partition("mxc://")[2].partition('"')[0]


def _photograph() -> bytes:
    """Return a picture that is as hard to compress as those of a telephone."""
    noise = Image.effect_noise((1600, 1200), 40)
    slopes = Image.linear_gradient("L").resize((1600, 1200))
    output = io.BytesIO()
    Image.merge("RGB", (noise, slopes, slopes.rotate(180))).save(output, "JPEG", quality=85)
    return output.getvalue()


_PHOTOGRAPH = _photograph()


def _picture(turn: int, number: int) -> bytes:
    """Return the picture with a comment of its own, so that no two are the same file."""
    return b"\xff\xd8\xff\xfe\x00\x0a" + turn.to_bytes(4, "big") + number.to_bytes(4, "big") + _PHOTOGRAPH[2:]


async def measure(options: argparse.Namespace) -> None:
    """Measure all."""
    figures = Figures()
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(tricord(options.folder / "tricord", options.port))]
        if options.synapse_python:
            place = options.folder / "synapse"
            servers.insert(0, await stack.enter_async_context(synapse(place, options.port + 1, options.synapse_python)))
        sides = []
        for server in servers:
            (user,) = [each for each in await accounts.register(server.url, SECRET, 1) if each]
            sides.append(Measured(server, user.access_token, options, figures))
        for _ in range(options.rounds):
            for side in sides:
                await side.take_turn()
        if options.large_mib:
            for side in sides:
                await side.large_file()
    if options.json:
        figures.write(options.json)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synapse-python", type=Path, help="a Python that has Synapse and psycopg2")
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--large-mib", type=int, default=1024, help="4096 is what a disk and a quarter of an hour take")
    parser.add_argument("--port", type=int, default=8118)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tricord-bench-") as folder:
        options.folder = Path(folder)
        # PostgreSQL may run as somebody else.
        options.folder.chmod(0o755)
        trio.run(measure, options)


if __name__ == "__main__":
    main()
