"""A PostgreSQL for the tests: one server for the whole run, and a fresh database, with the schema in it, for each test.

TRICORD_TEST_DATABASE_URL names another server to use; its user must be a superuser.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import trio

from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.embedded import embedded_postgres, running_url
from tricord.homeserver.storage.migrations import migrate

# Tests do not survive a power cut; their durability tests kill processes, not the machine.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_compression": "off",
    "max_wal_size": "256MB",
    "max_connections": "300",
    "shared_buffers": "128MB",
}
# A database is some 700 files: copied in memory it takes 10 ms, on a disk 100 to 400.
MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of an unguessable name is made in it


class PostgresServer:
    """A server, and the databases the tests make on it."""

    def __init__(self, url: str, *, copying: str = "") -> None:
        self._url = url
        self._copying = copying
        self._template = f"tricord_template_{secrets.token_hex(4)}"
        self._made: list[str] = []

    def url_of(self, name: str) -> str:
        """Return the URL of a database."""
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))

    async def fresh(self) -> str:
        """Make a database with today's schema and return its URL."""
        if self._template not in self._made:
            await self._admin(f"CREATE DATABASE {self._template}")
            self._made.append(self._template)
            await migrate(self.url_of(self._template))
        return await self._create(f"TEMPLATE {self._template} {self._copying}")

    async def empty(self) -> str:
        """Make a database with nothing in it and return its URL."""
        return await self._create("")

    async def drop(self, url: str) -> None:
        """Remove a database, whoever is connected."""
        await self._admin(f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]} WITH (FORCE)")

    async def drop_template(self) -> None:
        """Remove what `fresh` copies from."""
        if self._template in self._made:
            await self.drop(self.url_of(self._template))

    async def _create(self, how: str) -> str:
        name = f"tricord_test_{secrets.token_hex(6)}"
        await self._admin(f"CREATE DATABASE {name} {how}")
        return self.url_of(name)

    async def _admin(self, sql: str) -> None:
        connection = await Connection.open(self._url)
        try:
            await connection.execute(sql)
        finally:
            await connection.aclose()


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Give the server to test on, outside of any test's event loop."""
    given = os.environ.get("TRICORD_TEST_DATABASE_URL")
    if given:
        server = PostgresServer(given)
        yield server
        trio.run(server.drop_template)
        return
    folder = _folder()
    try:
        with served(folder, FAST) as url:
            # Copies files instead of logging every page of them.
            yield PostgresServer(url, copying="STRATEGY FILE_COPY")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def served(folder: Path, options: dict[str, str]) -> Iterator[str]:
    """Run an embedded PostgreSQL in a thread of its own, and give its URL."""
    ready = threading.Event()
    started: list[str] = []
    failures: list[BaseException] = []
    stop: list[tuple[trio.lowlevel.TrioToken, trio.Event]] = []

    async def serve() -> None:
        async with embedded_postgres(folder, options=options) as url:
            started.append(url)
            stop.append((trio.lowlevel.current_trio_token(), trio.Event()))
            ready.set()
            await stop[0][1].wait()

    def run() -> None:
        try:
            trio.run(serve)
        except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits
            failures.append(error)
            ready.set()

    thread = threading.Thread(target=run, name="postgres", daemon=True)
    thread.start()
    ready.wait()
    if failures:
        raise failures[0]
    try:
        yield started[0]
    finally:
        token, event = stop[0]
        token.run_sync_soon(event.set)
        thread.join(30)


def _folder() -> Path:
    """Make a folder, in memory if there is enough of it, and remove what killed runs left behind."""
    parent = Path(tempfile.gettempdir())
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 << 30:
        parent = MEMORY
    for old in parent.glob("tricord-tests-*"):
        with suppress(OSError):
            if old.stat().st_mtime < time.time() - 3600 and running_url(old) is None:
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix="tricord-tests-", dir=parent))
