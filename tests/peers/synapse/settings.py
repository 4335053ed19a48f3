"""Settings of a Synapse that stays on this machine and waits for nothing.

Whoever writes the vectors anew reads them with Synapse's own Python: nothing but the standard library is imported here.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

_PLENTY = {"per_second": 10_000, "burst_count": 100_000}


def settings_of(
    name: str, folder: Path, *, client_port: int, federation_port: int, certificate: Path, key: Path
) -> dict[str, Any]:
    """Return the settings of a server that keeps everything in a folder."""

    def listener(port: int, *resources: str, tls: bool) -> dict[str, Any]:
        return {
            "port": port,
            "type": "http",
            "tls": tls,
            "bind_addresses": ["127.0.0.1"],
            "resources": [{"names": resources}],
        }

    return {
        "server_name": name,
        "public_baseurl": f"http://127.0.0.1:{client_port}/",
        "listeners": [
            listener(client_port, "client", "keys", tls=False),
            listener(federation_port, "federation", tls=True),
        ],
        "tls_certificate_path": str(certificate),
        "tls_private_key_path": str(key),
        "ip_range_blacklist": [],
        "trusted_key_servers": [],
        "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
        "media_store_path": str(folder / "media"),
        "signing_key_path": str(folder / "signing.key"),
        "pid_file": str(folder / "pid"),
        "log_config": str(folder / "log.yaml"),
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


def set_up(python: Path, folder: Path, settings: dict[str, Any]) -> list[str]:
    """Write settings and a signing key into a folder, and return the command that starts the server."""
    to_file = {"class": "logging.FileHandler", "filename": str(folder / "log"), "formatter": "plain"}
    log = {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"file": to_file},
        "root": {"level": "WARNING", "handlers": ["file"]},
    }
    # JSON is YAML.
    (folder / "log.yaml").write_text(json.dumps(log))
    (folder / "homeserver.yaml").write_text(json.dumps(settings))
    command = [str(python), "-m", "synapse.app.homeserver", "-c", str(folder / "homeserver.yaml")]
    subprocess.run([*command, "--generate-keys"], check=True, capture_output=True)
    return command
