"""Synapse as a process, with a configuration that keeps it on this machine and lets it wait for nothing."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import trio

# It starts in seconds; where much else runs it has taken more than a minute.
_START_SECONDS = 300
_PLENTY = {"per_second": 10_000, "burst_count": 100_000}


@dataclass
class Synapse:
    """A Synapse; it can be stopped, and started again where it was."""

    python: Path
    folder: Path
    name: str
    client_port: int
    federation_port: int
    certificate: Path
    trusted_ca: Path
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.client_port}"

    @property
    def log_file(self) -> Path:
        """What it says while it runs."""
        return self.folder / "log"

    def configure(self) -> None:
        """Write its configuration and its signing key."""
        # JSON is YAML.
        (self.folder / "log.yaml").write_text(json.dumps(self._logging()))
        (self.folder / "homeserver.yaml").write_text(json.dumps(self._settings()))
        subprocess.run([*self._command(), "--generate-keys"], check=True, capture_output=True)

    async def start(self) -> None:
        """Start it, and return once it answers."""
        self.process = subprocess.Popen(  # noqa: ASYNC220  # it returns at once
            self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        async with httpx.AsyncClient() as http:
            with trio.fail_after(_START_SECONDS):
                while True:
                    if self.process.poll() is not None:
                        raise AssertionError(f"it ended with status {self.process.returncode}: see {self.log_file}")
                    with contextlib.suppress(httpx.TransportError):
                        if (await http.get(f"{self.url}/health")).status_code == 200:
                            return
                    await trio.sleep(0.05)

    async def stop(self) -> None:
        """Let it end in order."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            await trio.to_thread.run_sync(self.process.wait)
            self.process = None

    def _command(self) -> list[str]:
        return [str(self.python), "-m", "synapse.app.homeserver", "-c", str(self.folder / "homeserver.yaml")]

    def _settings(self) -> dict[str, Any]:
        def listener(port: int, *resources: str, tls: bool) -> dict[str, Any]:
            return {
                "port": port,
                "type": "http",
                "tls": tls,
                "bind_addresses": ["127.0.0.1"],
                "resources": [{"names": resources}],
            }

        return {
            "server_name": self.name,
            "public_baseurl": f"{self.url}/",
            "listeners": [
                listener(self.client_port, "client", tls=False),
                listener(self.federation_port, "federation", tls=True),
            ],
            "tls_certificate_path": str(self.certificate),
            "tls_private_key_path": str(self.certificate),
            "federation_custom_ca_list": [str(self.trusted_ca)],
            "ip_range_blacklist": [],
            "trusted_key_servers": [],
            "database": {"name": "sqlite3", "args": {"database": str(self.folder / "homeserver.db")}},
            "media_store_path": str(self.folder / "media"),
            "signing_key_path": str(self.folder / "signing.key"),
            "pid_file": str(self.folder / "pid"),
            "log_config": str(self.folder / "log.yaml"),
            "enable_registration": True,
            "enable_registration_without_verification": True,
            "bcrypt_rounds": 4,
            # Or who asks again without a position is told what was so two minutes ago.
            "caches": {"sync_response_cache_duration": 0},
            "report_stats": False,
            "macaroon_secret_key": "m",
            "form_secret": "f",
            "allow_public_rooms_over_federation": True,
            "room_list_publication_rules": [{"action": "allow"}],
            "federation": {
                "client_timeout": "10s",
                "max_short_retries": 1,
                "max_short_retry_delay": "1s",
                "max_long_retries": 1,
                "max_long_retry_delay": "1s",
                "destination_min_retry_interval": 500,
                "destination_retry_multiplier": 1,
                "destination_max_retry_interval": "1s",
            },
            "rc_message": _PLENTY,
            "rc_registration": _PLENTY,
            "rc_login": {"address": _PLENTY, "account": _PLENTY, "failed_attempts": _PLENTY},
            "rc_joins": {"local": _PLENTY, "remote": _PLENTY},
            "rc_joins_per_room": _PLENTY,
            "rc_invites": {"per_room": _PLENTY, "per_user": _PLENTY, "per_issuer": _PLENTY},
            "rc_room_creation": _PLENTY,
            "rc_admin_redaction": _PLENTY,
            "rc_presence": {"per_user": _PLENTY},
            "rc_federation": {
                "window_size": 1000,
                "sleep_limit": 10_000,
                "sleep_delay": 1,
                "reject_limit": 10_000,
                "concurrent": 100,
            },
        }

    def _logging(self) -> dict[str, Any]:
        to_file = {"class": "logging.FileHandler", "filename": str(self.log_file), "formatter": "plain"}
        return {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
            "handlers": {"file": to_file},
            "root": {"level": "WARNING", "handlers": ["file"]},
        }
