"""Files: many of 1 MiB up and down, pictures with their thumbnails, and what a large file takes of memory."""

from __future__ import annotations

import functools
import io
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import trio
from PIL import Image

from bench.connection import Connection
from bench.figures import milliseconds, percentile
from bench.homeservers import Homeserver
from bench.scenario import Bench
from tricord.clients import Client

_FILES, _PICTURES, _AT_ONCE = 1_000, 60, 4
_LARGE_MIB = 1024
_MIB = 1 << 20
_CHUNK = os.urandom(_MIB)
# What follows the bytes by which one file differs from all others: to copy it each time would be measured, too.
_REST = _CHUNK[8:]
# What servers make of a picture: https://spec.matrix.org/v1.19/client-server-api/#thumbnails
_THUMBNAILS = ((32, 32, "crop"), (96, 96, "crop"), (320, 240, "scale"), (640, 480, "scale"), (800, 600, "scale"))
_UPLOAD = "/_matrix/media/v3/upload"


async def media(bench: Bench) -> None:
    """Measure uploads and downloads of 1 MiB, and pictures with five thumbnails, 4 at once."""
    paths: list[str] = []

    async def upload(connection: Connection) -> None:
        # No two files are the same.
        paths.append(await _uploaded(connection, (secrets.token_bytes(8), _REST), "application/octet-stream"))

    async def download(connection: Connection) -> None:
        data = await connection.call_raw("GET", f"/_matrix/client/v1/media/download/{paths.pop()}")
        assert len(data) == _MIB

    await _rate(bench, "upload of 1 MiB", bench.size(_FILES), upload)
    await _rate(bench, "download of 1 MiB", bench.size(_FILES), download)
    # It is computed once, and not by who is measured first.
    _photograph()
    await _rate(bench, "picture of 1600 x 1200 with five thumbnails", bench.size(_PICTURES), _picture)


async def large_files(bench: Bench) -> None:
    """Upload and download a file of 1 GiB, and look how much memory the server has meanwhile."""
    mebibytes = bench.size(_LARGE_MIB)
    async with Client(bench.base_url, access_token=bench.users[0].access_token) as client:
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
            row = f"{name} of {_LARGE_MIB:,} MiB"
            started = time.perf_counter()
            if bench.server:
                before, highest = await _watched(bench.server, act)
                bench.figures.add(f"{row}: memory", f"{before:.0f} MiB before, at most {highest:.0f}", MiB=highest)
            else:
                await act()
            rate = mebibytes / (time.perf_counter() - started)
            bench.figures.add(f"{row}: MiB", f"{rate:.0f}/s", per_second=rate)


async def _watched(server: Homeserver, act: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Do something; return the memory of a server before, and the most meanwhile."""
    before = highest = server.resident_mib()
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            nonlocal highest
            while True:
                highest = max(highest, server.resident_mib())
                await trio.sleep(0.05)

        nursery.start_soon(watch)
        await act()
        nursery.cancel_scope.cancel()
    return before, highest


async def _rate(bench: Bench, name: str, count: int, act: Callable[[Connection], Awaitable[None]]) -> None:
    """Do something so often, some at once, each on a connection that is kept."""
    taken: list[float] = []
    numbers = iter(range(count))

    async def some() -> None:
        async with bench.connection(bench.users[0]) as connection:
            for _ in numbers:
                begun = time.perf_counter()
                await act(connection)
                taken.append(time.perf_counter() - begun)

    before = bench.server.cpu_seconds()[0] if bench.server else None
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(_AT_ONCE):
            nursery.start_soon(some)
    rate = count / (time.perf_counter() - started)
    bench.figures.add(
        name, f"{rate:.1f}/s, {milliseconds(taken)}", per_second=rate, p50_ms=percentile(taken, 0.5) * 1e3
    )
    if bench.server and before is not None:
        each = (bench.server.cpu_seconds()[0] - before) / count * 1e3
        bench.figures.add(f"{name}: the server's CPU", f"{each:.1f} ms", ms=each)


async def _picture(connection: Connection) -> None:
    # A comment of its own makes it another file.
    picture = b"\xff\xd8\xff\xfe\x00\x0a", secrets.token_bytes(8), _photograph()[2:]
    path = await _uploaded(connection, picture, "image/jpeg")
    for width, height, method in _THUMBNAILS:
        query = f"width={width}&height={height}&method={method}&animated=false"
        await connection.call_raw("GET", f"/_matrix/client/v1/media/thumbnail/{path}?{query}")


async def _uploaded(connection: Connection, parts: Sequence[bytes], content_type: str) -> str:
    """Return the path of what has been uploaded: server and name."""
    answer = await connection.upload(_UPLOAD, parts, content_type)
    return answer.decode().partition("mxc://")[2].partition('"')[0]


@functools.cache
def _photograph() -> bytes:
    """Return a picture that is as hard to compress as those of a telephone."""
    noise = Image.effect_noise((1600, 1200), 40)
    slopes = Image.linear_gradient("L").resize((1600, 1200))
    output = io.BytesIO()
    Image.merge("RGB", (noise, slopes, slopes.rotate(180))).save(output, "JPEG", quality=85)
    return output.getvalue()
