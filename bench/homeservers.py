"""The homeservers that are measured side by side: each a process, with a PostgreSQL of its own as we set it up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from compileall import compile_dir
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import trio

import tricord as our_packages
from bench.figures import cpu_seconds, family_of, proportional_mib, resident_mib, until_calm
from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.embedded import embedded_postgres, running_url

SECRET = "bench"  # of servers that nobody else can reach
_START_SECONDS = 120
_PATIENCE_SECONDS = 20
_LARGEST_UPLOAD = 5 << 30
_PLENTY = {"per_second": 100_000, "burst_count": 1_000_000}


@dataclass
class Process:
    """A server's process."""

    command: list[str]
    output: Path
    url: str
    _running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._running is not None
        return self._running.pid

    async def start(self) -> None:
        """Start it; it does not answer yet, and nobody may in its place."""
        async with httpx.AsyncClient() as http:
            with contextlib.suppress(httpx.TransportError):
                await http.get(self.url)
                raise SystemExit(f"somebody else listens at {self.url}: give another --port")
        with self.output.open("ab") as to:
            self._running = subprocess.Popen(  # noqa: ASYNC220  # it returns at once
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=to,
                stderr=subprocess.STDOUT,
                # Or whatever has changed is compiled anew at each start, as on no server that is in use.
                env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            )

    async def until_it_answers(self) -> None:
        """Return once it does."""
        started = time.perf_counter()
        async with httpx.AsyncClient() as http:
            while self._running is None or self._running.poll() is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"{self.url}/_matrix/client/versions")).status_code == 200:
                        return
                if time.perf_counter() - started > _START_SECONDS:
                    break
                await trio.sleep(0.02)
        raise SystemExit(f"{self.command[0]} does not start: {self.output.read_text()}")

    async def stop(self) -> None:
        """Let it end in order."""
        if self._running is not None:
            self._running.send_signal(signal.SIGTERM)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._running.wait)


@dataclass(frozen=True)
class Used:
    """What a server has used: seconds of CPU, its own and PostgreSQL's, and bytes of the database."""

    server: float
    postgres: float
    database_bytes: int

    def since(self, before: Used) -> Used:
        """Return what it has used since then."""
        return Used(
            self.server - before.server,
            self.postgres - before.postgres,
            self.database_bytes - before.database_bytes,
        )


@dataclass
class Homeserver:
    """A homeserver that runs."""

    name: str
    url: str
    process: Process
    postgres_folder: Path
    database_url: str

    @property
    def pid(self) -> int:
        """The number of its process, which is another after each start."""
        return self.process.pid

    def cpu_seconds(self) -> tuple[float, float]:
        """Return the CPU time of the server, and of its PostgreSQL."""
        postmaster, *children = self.postgres_processes()
        # The postmaster's own figures do not hold those of processes that still run.
        ended = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()[13:15]
        postgres = sum(cpu_seconds(pid) for pid in [postmaster, *children]) + sum(map(int, ended)) / 100
        return sum(cpu_seconds(pid) for pid in family_of(self.pid)), postgres

    async def used(self) -> Used:
        """Return what it has used until now, once it is done with what it does behind its answers."""
        await self.until_calm()
        return Used(*self.cpu_seconds(), await self.database_bytes())

    async def vacuum(self) -> None:
        """Give back the pages that no row takes any more, or that may happen while something is measured."""
        connection = await Connection.open(self.database_url)
        try:
            await connection.execute("VACUUM")
        finally:
            await connection.aclose()

    async def until_calm(self, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        """Return once it and its PostgreSQL do next to nothing."""
        await until_calm(lambda: sum(self.cpu_seconds()), patience_seconds)

    def resident_mib(self) -> float:
        """Return the memory of the server's process, or processes."""
        return sum(resident_mib(pid) for pid in family_of(self.pid))

    def postgres_mib(self) -> float:
        """Return the memory of PostgreSQL, what its processes share counted once."""
        return sum(proportional_mib(pid) for pid in self.postgres_processes())

    def postgres_processes(self) -> list[int]:
        """Return the processes of PostgreSQL, the first of them first."""
        postmaster = int((self.postgres_folder / "data/postmaster.pid").read_text().split()[0])
        return [postmaster, *map(int, Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split())]

    async def database_bytes(self) -> int:
        """Return the size of the database."""
        connection = await Connection.open(self.database_url)
        try:
            size: int = await connection.fetchval("SELECT pg_database_size(current_database())")
            return size
        finally:
            await connection.aclose()


@contextlib.contextmanager
def working_folder() -> Iterator[Path]:
    """Make a folder for homeservers and their databases, and take it away in the end."""
    with tempfile.TemporaryDirectory(prefix="tricord-bench-") as name:
        folder = Path(name)
        # PostgreSQL may run as somebody else.
        folder.chmod(0o755)
        yield folder


@contextlib.asynccontextmanager
async def tricord(folder: Path, port: int, *, processes: int = 1, name: str = "Tricord") -> AsyncIterator[Homeserver]:
    """Run ours, as `tricord serve` runs it."""
    # As an installer does. The first start of a checkout would do it, and has 3 MiB more for that.
    for path in our_packages.__path__:
        await trio.to_thread.run_sync(partial(compile_dir, path, quiet=1))
    settings = _written(
        folder / "tricord.toml",
        f"""
        server_name = "ours"
        data_dir = "{folder / "data"}"
        processes = {processes}
        [[listeners]]
        bind = "127.0.0.1:{port}"
        serves = ["client"]
        [registration]
        enabled = true
        guests = true
        shared_secret = "{SECRET}"
        [rate_limits]
        enabled = false
        [media]
        max_upload_bytes = {_LARGEST_UPLOAD}
        [log]
        level = "warning"
        """,
    )
    command = [str(Path(sys.executable).with_name("tricord")), "serve", "--config", settings]
    url = f"http://127.0.0.1:{port}"
    async with _running(command, folder, url) as process:
        postgres = folder / "data/postgres"
        database_url = running_url(postgres)
        assert database_url is not None
        yield Homeserver(name, url, process, postgres, database_url)


@dataclass
class SynapseFederation:
    """How a Synapse meets others on this machine."""

    port: int
    certificate: Path
    key: Path
    trusted_ca: Path

    def add_to(self, settings: dict[str, Any]) -> None:
        """Let it listen for other servers, believe our certificates, and try again soon."""
        settings["server_name"] = f"localhost:{self.port}"
        settings["listeners"].append(
            {
                "port": self.port,
                "type": "http",
                "tls": True,
                "bind_addresses": ["127.0.0.1"],
                "resources": [{"names": ["federation"]}],
            }
        )
        settings |= {
            "tls_certificate_path": str(self.certificate),
            "tls_private_key_path": str(self.key),
            "federation_custom_ca_list": [str(self.trusted_ca)],
            "ip_range_blacklist": [],
            "federation": {"destination_min_retry_interval": "1s", "destination_max_retry_interval": "2s"},
        }


@contextlib.asynccontextmanager
async def synapse(
    folder: Path, port: int, python: Path, federation: SynapseFederation | None = None
) -> AsyncIterator[Homeserver]:
    """Run Synapse: one process, its log quiet, its limits off, everything else as it comes."""
    async with embedded_postgres(folder / "postgres") as postgres_url:
        connection = await Connection.open(postgres_url)
        try:
            await connection.execute(
                "CREATE DATABASE synapse TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            )
        finally:
            await connection.aclose()
        parts = urlsplit(postgres_url)
        where = parse_qs(parts.query)
        database = {"user": parts.username, "dbname": "synapse", "host": where["host"][0], "port": where["port"][0]}
        # JSON is YAML.
        _written(folder / "log.yaml", json.dumps({"version": 1, "root": {"level": "ERROR"}}))
        settings = json.dumps(_synapse_settings(folder, port, database, federation))
        settings_file = _written(folder / "homeserver.yaml", settings)
        command = [str(python), "-m", "synapse.app.homeserver", "-c", settings_file]
        await trio.run_process([*command, "--generate-keys"], capture_stdout=True, capture_stderr=True)
        url = f"http://127.0.0.1:{port}"
        async with _running(command, folder, url) as process:
            database_url = postgres_url.replace(parts.path + "?", "/synapse?")
            yield Homeserver("Synapse", url, process, folder / "postgres", database_url)


def _synapse_settings(
    folder: Path, port: int, database: dict[str, Any], federation: SynapseFederation | None
) -> dict[str, Any]:
    settings = {
        "server_name": "theirs",
        "public_baseurl": f"http://127.0.0.1:{port}/",
        "listeners": [
            {
                "port": port,
                "type": "http",
                "tls": False,
                "bind_addresses": ["127.0.0.1"],
                "resources": [{"names": ["client", "media"]}],
            }
        ],
        "database": {"name": "psycopg2", "args": {**database, "cp_min": 5, "cp_max": 10}},
        "media_store_path": str(folder / "media"),
        "signing_key_path": str(folder / "signing.key"),
        "pid_file": str(folder / "pid"),
        "log_config": str(folder / "log.yaml"),
        "registration_shared_secret": SECRET,
        "allow_guest_access": True,
        "trusted_key_servers": [],
        "report_stats": False,
        "macaroon_secret_key": "m",
        "form_secret": "f",
        # People are made here by the thousand, and that is not what is measured.
        "bcrypt_rounds": 4,
        "max_upload_size": _LARGEST_UPLOAD,
        "rc_message": _PLENTY,
        "rc_registration": _PLENTY,
        "rc_login": {"address": _PLENTY, "account": _PLENTY, "failed_attempts": _PLENTY},
        "rc_joins": {"local": _PLENTY, "remote": _PLENTY},
        "rc_joins_per_room": _PLENTY,
        "rc_invites": {"per_room": _PLENTY, "per_user": _PLENTY, "per_issuer": _PLENTY},
        "rc_room_creation": _PLENTY,
        "rc_presence": {"per_user": _PLENTY},
        "rc_federation": {
            "window_size": 1000,
            "sleep_limit": 100_000,
            "sleep_delay": 1,
            "reject_limit": 100_000,
            "concurrent": 100,
        },
    }
    if federation is not None:
        federation.add_to(settings)
    return settings


def _written(file: Path, text: str) -> str:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return str(file)


@contextlib.asynccontextmanager
async def _running(command: list[str], folder: Path, url: str) -> AsyncIterator[Process]:
    process = Process(command, folder / "output", url)
    await process.start()
    try:
        await process.until_it_answers()
        yield process
    finally:
        await process.stop()
