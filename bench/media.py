"""Files: uploading and downloading many of 1 MiB, and what a large one takes of memory on its way.

python -m bench.media                          # a `tricord serve` of its own
python -m bench.media --url URL --pid PID      # any homeserver where people may register
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from bench.figures import Figures, cpu_seconds, milliseconds, resident_mib
from tests.servers import PASSWORD, server_process
from tricord.clients import Client

_MIB = 1 << 20
_CHUNK = os.urandom(_MIB)


async def each(count: int, at_once: int, act: Callable[[int], Awaitable[None]]) -> tuple[float, list[float]]:
    """Do something so many times, some at once; return the seconds in all and for each."""
    taken: list[float] = []
    limiter = trio.CapacityLimiter(at_once)

    async def one(number: int) -> None:
        async with limiter:
            begun = time.perf_counter()
            await act(number)
            taken.append(time.perf_counter() - begun)

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)
    return time.perf_counter() - started, taken


async def small_files(client: Client, pid: int, figures: Figures, count: int, at_once: int) -> None:
    """Upload and download many files of 1 MiB."""
    uris: dict[int, str] = {}

    async def upload(number: int) -> None:
        uris[number] = await client.upload(number.to_bytes(8, "big") + _CHUNK[8:])

    async def download(number: int) -> None:
        async with client.download(uris[number]) as download:
            async for _ in download.parts:
                pass

    for name, act in (("upload", upload), ("download", download)):
        cpu = cpu_seconds(pid)
        seconds, taken = await each(count, at_once, act)
        cpu = (cpu_seconds(pid) - cpu) / count
        figures.add(
            f"{name} {count} files of 1 MiB, {at_once} at once",
            f"{count / seconds:.0f} MiB/s, {milliseconds(taken)}, {cpu * 1e3:.1f} ms of CPU each",
            per_second=count / seconds,
            cpu=cpu,
        )


async def large_file(client: Client, pid: int, figures: Figures, mebibytes: int) -> None:
    """Upload and download a large file, and look how much memory the server has meanwhile."""

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(mebibytes):
            yield _CHUNK

    uri = ""

    async def upload() -> None:
        nonlocal uri
        uri = await client.upload(parts)

    async def download() -> None:
        async with client.download(uri) as download:
            async for _ in download.parts:
                pass

    for name, act in (("upload", upload), ("download", download)):
        before = highest = resident_mib(pid)
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            done = trio.Event()

            async def watch(done: trio.Event = done) -> None:
                nonlocal highest
                while not done.is_set():
                    highest = max(highest, resident_mib(pid))
                    await trio.sleep(0.05)

            nursery.start_soon(watch)
            await act()
            done.set()
        seconds = time.perf_counter() - started
        figures.add(
            f"{name} {mebibytes} MiB",
            f"{mebibytes / seconds:.0f} MiB/s, memory {before:.0f} MiB before, {highest:.0f} MiB at most",
            per_second=mebibytes / seconds,
            before=before,
            highest=highest,
        )


@asynccontextmanager
async def homeserver(options: argparse.Namespace) -> AsyncIterator[tuple[str, int]]:
    """Give the URL and the process of the homeserver that is measured."""
    if options.url:
        yield options.url, options.pid
        return
    with tempfile.TemporaryDirectory() as folder:
        largest = (options.large_mib + 1) * _MIB
        async with server_process("", Path(folder), more=f"[media]\nmax_upload_bytes = {largest}\n") as server:
            assert server.process is not None
            yield server.url, server.process.pid


async def measure(options: argparse.Namespace) -> None:
    """Measure all."""
    figures = Figures()
    async with homeserver(options) as (url, pid), Client(url) as client:
        await client.register("bench", PASSWORD)
        await small_files(client, pid, figures, options.files, options.at_once)
        await large_file(client, pid, figures, options.large_mib)
    if options.json:
        figures.write(options.json)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    parser.add_argument("--pid", type=int, default=0)
    parser.add_argument("--files", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--large-mib", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    trio.run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
