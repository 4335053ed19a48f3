"""The homeservers that are measured side by side: each a process, with a PostgreSQL of its own as we set it up."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import trio

from bench.figures import cpu_seconds, resident_mib
from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.embedded import embedded_postgres, running_url

SECRET = "bench"  # of servers that nobody else can reach
_START_SECONDS = 120
_PLENTY = {"per_second": 100_000, "burst_count": 1_000_000}


@dataclass
class Homeserver:
    """A homeserver that runs."""

    name: str
    url: str
    pid: int
    postgres_folder: Path
    database_url: str

    def cpu_seconds(self) -> tuple[float, float]:
        """Return the CPU time of the server, and of its PostgreSQL."""
        postmaster = int((self.postgres_folder / "data/postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        # The postmaster's own figures do not hold those of processes that still run.
        ended = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()[13:15]
        postgres = sum(cpu_seconds(pid) for pid in [postmaster, *map(int, children)]) + sum(map(int, ended)) / 100
        return cpu_seconds(self.pid), postgres

    def resident_mib(self) -> float:
        """Return the memory of the server's process."""
        return resident_mib(self.pid)

    async def database_bytes(self) -> int:
        """Return the size of the database."""
        connection = await Connection.open(self.database_url)
        try:
            size: int = await connection.fetchval("SELECT pg_database_size(current_database())")
            return size
        finally:
            await connection.aclose()


@contextlib.asynccontextmanager
async def tricord(folder: Path, port: int) -> AsyncIterator[Homeserver]:
    """Run ours, as `tricord serve` runs it."""
    settings = _written(
        folder / "tricord.toml",
        f"""
        server_name = "ours"
        data_dir = "{folder / "data"}"
        [[listeners]]
        bind = "127.0.0.1:{port}"
        serves = ["client"]
        [registration]
        enabled = true
        guests = true
        shared_secret = "{SECRET}"
        [rate_limits]
        enabled = false
        [log]
        level = "warning"
        """,
    )
    command = [str(Path(sys.executable).with_name("tricord")), "serve", "--config", settings]
    url = f"http://127.0.0.1:{port}"
    async with _running(command, folder, url) as pid:
        postgres = folder / "data/postgres"
        database_url = running_url(postgres)
        assert database_url is not None
        yield Homeserver("Tricord", url, pid, postgres, database_url)


@contextlib.asynccontextmanager
async def synapse(folder: Path, port: int, python: Path) -> AsyncIterator[Homeserver]:
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
        settings = _written(folder / "homeserver.yaml", json.dumps(_synapse_settings(folder, port, database)))
        command = [str(python), "-m", "synapse.app.homeserver", "-c", settings]
        await trio.run_process([*command, "--generate-keys"], capture_stdout=True, capture_stderr=True)
        url = f"http://127.0.0.1:{port}"
        async with _running(command, folder, url) as pid:
            database_url = postgres_url.replace(parts.path + "?", "/synapse?")
            yield Homeserver("Synapse", url, pid, folder / "postgres", database_url)


def _synapse_settings(folder: Path, port: int, database: dict[str, Any]) -> dict[str, Any]:
    return {
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
        "trusted_key_servers": [],
        "report_stats": False,
        "macaroon_secret_key": "m",
        "form_secret": "f",
        # People are made here by the thousand, and that is not what is measured.
        "bcrypt_rounds": 4,
        "max_upload_size": "100M",
        "rc_message": _PLENTY,
        "rc_registration": _PLENTY,
        "rc_login": {"address": _PLENTY, "account": _PLENTY, "failed_attempts": _PLENTY},
        "rc_joins": {"local": _PLENTY, "remote": _PLENTY},
        "rc_joins_per_room": _PLENTY,
        "rc_invites": {"per_room": _PLENTY, "per_user": _PLENTY, "per_issuer": _PLENTY},
        "rc_room_creation": _PLENTY,
        "rc_presence": {"per_user": _PLENTY},
    }


def _written(file: Path, text: str) -> str:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return str(file)


def _begun(command: list[str], output: Path) -> subprocess.Popen[bytes]:
    with output.open("wb") as to:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=to, stderr=subprocess.STDOUT)


@contextlib.asynccontextmanager
async def _running(command: list[str], folder: Path, url: str) -> AsyncIterator[int]:
    process = _begun(command, folder / "output")
    try:
        started = time.perf_counter()
        async with httpx.AsyncClient() as http:
            while True:
                if process.poll() is not None or time.perf_counter() - started > _START_SECONDS:
                    raise SystemExit(f"{command[0]} does not start: {(folder / 'output').read_text()}")
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(f"{url}/_matrix/client/versions")).status_code == 200:
                        break
                await trio.sleep(0.02)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(process.wait)
