"""Two homeservers that share rooms: started here, with TLS between them, or found running."""

from __future__ import annotations

import os
import secrets
import shlex
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from bench.accounts import User, register
from bench.connection import Connection
from bench.figures import cpu_seconds, family_of
from bench.homeservers import SECRET, Homeserver, SynapseFederation, synapse
from tricord.homeserver.demo.certificates import Authority
from tricord.homeserver.demo.servers import DemoServer, free_ports, prepare

_START_SECONDS = 120


@dataclass
class Side:
    """One of the two servers."""

    url: str
    shared_secret: str
    stop: Callable[[], Awaitable[None]] | None = None
    """Takes it away; None if nobody told how."""
    start: Callable[[], Awaitable[None]] | None = None
    process_id: Callable[[], int | None] = lambda: None

    def cpu_seconds(self) -> float:
        """Return the CPU time of its process and of those it started; 0 if it is not known."""
        pid = self.process_id()
        return sum(cpu_seconds(one) for one in family_of(pid)) if pid else 0.0

    async def users(self, count: int) -> list[User]:
        """Make users."""
        return await register(self.url, self.shared_secret, count)

    async def until_it_answers(self) -> float:
        """Return when it first answered a client."""
        with trio.fail_after(_START_SECONDS):
            while True:
                try:
                    async with Connection(self.url) as connection:
                        await connection.call("GET", "/_matrix/client/versions")
                    return time.perf_counter()
                except OSError:
                    await trio.sleep(0.01)


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[tuple[Side, Side]]:
    """Start two servers with a PostgreSQL each, and stop them at the end."""
    secret = secrets.token_hex(16)
    os.environ["TRICORD__REGISTRATION__SHARED_SECRET"] = secret
    os.environ["TRICORD__REGISTRATION__GUESTS"] = "true"
    os.environ["TRICORD__RATE_LIMITS__ENABLED"] = "false"
    servers = prepare(folder, ["first.bench", "second.bench"])
    try:
        sides = []
        for server in servers:
            server.start()
            await server.until_ready()
            sides.append(_side(server, secret))
        yield sides[0], sides[1]
    finally:
        with trio.CancelScope(shield=True):
            for server in servers:
                await server.stop()


def _side(server: DemoServer, secret: str) -> Side:
    async def start() -> None:
        server.start()

    return Side(server.url, secret, server.stop, start, lambda: server.process.pid if server.process else None)


def _synapse_side(server: Homeserver) -> Side:
    return Side(server.url, SECRET, server.process.stop, server.process.start, lambda: server.pid)


@asynccontextmanager
async def started_synapses(folder: Path, python: Path) -> AsyncIterator[tuple[Side, Side]]:
    """Start two Synapses in the same way, with the Python that has it installed."""
    authority = Authority(folder)
    certificate, key = authority.certify("localhost")
    async with AsyncExitStack() as stack:
        sides = []
        for number in range(2):
            client_port, federation_port = free_ports(2)
            federation = SynapseFederation(federation_port, certificate, key, authority.certificate_file)
            server = await stack.enter_async_context(
                synapse(folder / f"synapse{number}", client_port, python, federation)
            )
            sides.append(_synapse_side(server))
        yield sides[0], sides[1]


def found(url: str, shared_secret: str, stop: str | None, start: str | None) -> Side:
    """Return a server that runs already, with the commands that stop and start it."""

    def running(command: str | None) -> Callable[[], Awaitable[None]] | None:
        if command is None:
            return None
        words = shlex.split(command)

        async def run() -> None:
            await trio.run_process(words)

        return run

    return Side(url, shared_secret, running(stop), running(start))
