"""A Tricord and a Synapse, each a process, that meet by TLS on loopback and can be cut off from each other."""

from __future__ import annotations

import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from tests.authority import Authority
from tests.peers.synapse.installation import synapse_python
from tests.peers.synapse.synapse import Synapse
from tests.postgres import PostgresServer
from tests.servers import PASSWORD, ServerProcess
from tests.vectors.synapse.make import Relay
from tricord.clients import Client
from tricord.protocol.identifiers import ServerName

_numbers = itertools.count(1)


@dataclass
class Town:
    """A homeserver that others find by its name: the address of a relay, which leads to it."""

    name: ServerName
    url: str
    relay: Relay
    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[object]]

    @asynccontextmanager
    async def somebody(self, name: str) -> AsyncIterator[Client]:
        """Give the client of somebody new, whose user id opens with `name`."""
        async with Client(self.url) as client:
            await client.register(f"{name}{next(_numbers)}", PASSWORD)
            yield client

    @asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """Have it not run for a while."""
        await self.stop()
        try:
            yield
        finally:
            await self.start()


@contextmanager
def cut(*towns: Town) -> Iterator[None]:
    """Let no server reach another for a while."""
    for town in towns:
        town.relay.cut()
    try:
        yield
    finally:
        for town in towns:
            town.relay.heal()


@contextmanager
def running_towns(postgres: PostgresServer, folder: Path) -> Iterator[tuple[Town, Town]]:
    """Run a Tricord and a Synapse, outside of any test's event loop."""
    authority = Authority(folder)
    ours, theirs, our_port, our_client_port, their_port, their_client_port = _free_ports(6)
    # One is known by a host name, the other by an address.
    our_name, their_name = f"localhost:{ours}", f"127.0.0.1:{theirs}"
    home, abroad = folder / "tricord", folder / "synapse"
    home.mkdir()
    abroad.mkdir()
    synapse = Synapse(
        synapse_python(),
        abroad,
        their_name,
        their_client_port,
        their_port,
        authority.certify("127.0.0.1"),
        authority.certificate,
    )
    synapse.configure()
    database_url = trio.run(postgres.fresh)
    certificate = authority.certify("localhost")
    (home / "tricord.toml").write_text(
        f"""
server_name = "{our_name}"
data_dir = "{home}"
[database]
url = "{database_url}"
[[listeners]]
bind = "127.0.0.1:{our_client_port}"
[[listeners]]
bind = "127.0.0.1:{our_port}"
serves = ["federation"]
tls_certificate = "{certificate}"
tls_key = "{certificate}"
[federation]
trusted_ca = "{authority.certificate}"
allowed_addresses = ["127.0.0.0/8"]
[registration]
enabled = true
[rate_limits]
enabled = false
""",
        encoding="utf-8",
    )
    tricord = ServerProcess(home / "tricord.toml")

    async def start_both() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(synapse.start)
            nursery.start_soon(tricord.start)

    our_relay, their_relay = Relay(ours, our_port), Relay(theirs, their_port)
    try:
        trio.run(start_both)
        yield (
            Town(ServerName(our_name), f"http://127.0.0.1:{our_client_port}", our_relay, tricord.start, tricord.stop),
            Town(ServerName(their_name), synapse.url, their_relay, synapse.start, synapse.stop),
        )
    finally:
        for server in (tricord, synapse):
            if server.process is not None and server.process.poll() is None:
                server.process.kill()
                server.process.wait()
        trio.run(postgres.drop, database_url)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
