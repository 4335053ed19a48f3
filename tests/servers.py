"""Whole homeservers for tests: in this process, or as `tricord serve` in a process of its own that can be killed."""

from __future__ import annotations

import mmap
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import trio

from tests.alternating import alternating
from tricord.clients import Client
from tricord.homeserver.accounts.passwords import HashCost
from tricord.homeserver.app import Homeserver, open_homeserver
from tricord.homeserver.assembly.foundation import Common
from tricord.homeserver.clock import Clock
from tricord.homeserver.settings import Settings
from tricord.homeserver.stream.common_memory import SIZE, CommonMemory
from tricord.homeserver.stream.siblings import Siblings

SERVER_NAME = "hs.test"
PASSWORD = "correct horse battery staple"
SHARED_SECRET = "for the tests only"
# Argon2 at its cheapest: what it costs is not what these tests are about.
CHEAP = HashCost(time=1, memory_kib=8, parallelism=1)
# What HTTP clients check certificates by: reading that takes 35 ms, and there are thousands of them.
AUTHORITIES = httpx.create_ssl_context()
_ANNOUNCED = re.compile(r"serves \S+ at (\S+?),")
_START_SECONDS = 120
# How many processes a homeserver of the tests is: they all run in this one, but share nothing else than real ones do.
PROCESSES = int(os.environ.get("TRICORD_TEST_PROCESSES", "1"))


def settings_for(database_url: str, folder: Path, **changed: Any) -> Settings:
    """Return the settings of a homeserver on a free port, where people may register and nothing is rationed."""
    values: dict[str, Any] = {
        "server_name": SERVER_NAME,
        "data_dir": folder,
        "database": {"url": database_url},
        "listeners": [{"bind": "127.0.0.1:0"}],
        "registration": {"enabled": True, "shared_secret": SHARED_SECRET},
        "rate_limits": {"enabled": False},
    }
    return Settings.model_validate(values | changed)


@asynccontextmanager
async def running_homeserver(
    database_url: str,
    folder: Path,
    *,
    everything_by_quart: bool = False,
    clock: Clock | None = None,
    **changed: Any,
) -> AsyncIterator[Homeserver]:
    """Run a homeserver in this process; `changed` are further settings."""
    settings = settings_for(database_url, folder, **changed)
    async with one_or_several(
        settings, clock=clock, password_cost=CHEAP, everything_by_quart=everything_by_quart
    ) as homeserver:
        yield homeserver


@asynccontextmanager
async def one_or_several(settings: Settings, **options: Any) -> AsyncIterator[Homeserver]:
    """Run a homeserver: one, or as many on its database as TRICORD_TEST_PROCESSES says, which are asked in turn."""
    async with AsyncExitStack() as stack:
        if PROCESSES == 1:
            yield await stack.enter_async_context(open_homeserver(settings, **options))
            return
        # The address is the proxy's: each of them has one of its own behind it.
        behind = [listener.model_copy(update={"bind": "127.0.0.1:0"}) for listener in settings.listeners]
        homeservers = await stack.enter_async_context(
            several(settings.model_copy(update={"listeners": tuple(behind)}), PROCESSES, **options)
        )
        urls = [
            await stack.enter_async_context(
                alternating(
                    [homeserver.urls[number] for homeserver in homeservers], int(listener.bind.rpartition(":")[2])
                )
            )
            for number, listener in enumerate(settings.listeners)
        ]
        yield replace(homeservers[0], urls=urls)


@asynccontextmanager
async def several(settings: Settings, count: int, **options: Any) -> AsyncIterator[list[Homeserver]]:
    """Run some homeservers on one database, as if each were a process of its own; each answers at its own URL."""
    async with AsyncExitStack() as stack:
        commons = stack.enter_context(in_common(count))
        yield [
            await stack.enter_async_context(open_homeserver(settings, common=common, **options)) for common in commons
        ]


@contextmanager
def in_common(count: int) -> Iterator[list[Common]]:
    """Give what some processes of a homeserver share, to each of them."""
    memory = mmap.mmap(-1, SIZE)
    with tempfile.TemporaryDirectory(prefix="tricord-") as folder:
        yield [
            Common(part, Siblings(Path(folder), part))
            for part in (CommonMemory(memory, place, count) for place in range(count))
        ]


@asynccontextmanager
async def signed_in(homeserver: Homeserver | str, name: str, **options: Any) -> AsyncIterator[Client]:
    """Register somebody and give their client; `options` are those of Client."""
    base_url = homeserver if isinstance(homeserver, str) else homeserver.urls[0]
    async with Client(base_url, **options) as client:
        await client.register(name, PASSWORD)
        yield client


@dataclass
class ServerProcess:
    """`tricord serve` with a settings file, as an operator runs it. Started again, it answers where it did before."""

    config_file: Path
    processes: int = PROCESSES
    process: subprocess.Popen[bytes] | None = None
    url: str = ""

    @property
    def log(self) -> str:
        """What it has said since it was started last."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def _log_file(self) -> Path:
        return self.config_file.with_suffix(".log")

    async def start(self) -> None:
        """Start it, and return once it says where it answers."""
        with self._log_file.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: ASYNC220  # our own program
                [
                    *(sys.executable, "-m", "tricord.homeserver", "serve", "--config", str(self.config_file)),
                    *("--processes", str(self.processes)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
        with trio.fail_after(_START_SECONDS):
            while (found := _ANNOUNCED.search(self.log)) is None:
                if self.process.poll() is not None:
                    raise AssertionError(f"it ended with status {self.process.returncode}:\n{self.log}")
                await trio.sleep(0.02)
        self.url = found[1]
        settings = self.config_file.read_text(encoding="utf-8")
        address = self.url.partition("://")[2]
        self.config_file.write_text(settings.replace('"127.0.0.1:0"', f'"{address}"'), encoding="utf-8")

    def kill(self) -> None:
        """End it as a power cut would, for it alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def stop(self) -> int:
        """Ask it to end as an init system does, and return its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status: int = await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)
        return status


@asynccontextmanager
async def server_process(
    database_url: str,
    folder: Path,
    *,
    more: str = "",
    registration: str = f'enabled = true\nshared_secret = "{SHARED_SECRET}"',
    processes: int = PROCESSES,
) -> AsyncIterator[ServerProcess]:
    """Run `tricord serve`, on a database or, without a URL, its own; `more` and `registration` are TOML of its file."""
    config_file = folder / "tricord.toml"
    config_file.write_text(
        f"""
server_name = "{SERVER_NAME}"
data_dir = "{folder}"
[database]
url = "{database_url}"
[[listeners]]
bind = "127.0.0.1:0"
[registration]
{registration}
[rate_limits]
enabled = false
{more}
""",
        encoding="utf-8",
    )
    server = ServerProcess(config_file, processes)
    await server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()
