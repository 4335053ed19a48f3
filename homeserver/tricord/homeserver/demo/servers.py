"""The homeservers of the demonstration, each a process of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import trio

from tricord.homeserver.demo.certificates import Authority

_START_SECONDS = 90
_STOP_SECONDS = 20


class DidNotStart(Exception):
    """A homeserver of the demonstration did not start; the message holds the end of its log."""


@dataclass(slots=True)
class DemoServer:
    """A homeserver with a name, an address for clients, and one for other servers."""

    name: str
    folder: Path
    client_port: int
    federation_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.client_port}"

    @property
    def log_file(self) -> Path:
        """What it says while it runs."""
        return self.folder / "log"

    def start(self) -> None:
        """Start the process."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-m", "tricord.homeserver", "serve", "--config", str(self.folder / "tricord.toml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def until_ready(self) -> None:
        """Return once it answers; raise DidNotStart if it does not."""
        async with httpx.AsyncClient() as http:
            with trio.move_on_after(_START_SECONDS):
                while self.process is not None and self.process.poll() is None:
                    try:
                        if (await http.get(f"{self.url}/ready")).status_code == 200:
                            return
                    except httpx.TransportError:
                        pass  # not yet
                    await trio.sleep(0.1)
        raise DidNotStart(f"{self.name} did not start; the end of {self.log_file}:\n{self._end_of_log()}")

    async def stop(self) -> None:
        """Let it end in order."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        with trio.move_on_after(_STOP_SECONDS):
            await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)
            return
        self.process.kill()

    def _end_of_log(self) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-10:])


def prepare(folder: Path, names: list[str]) -> list[DemoServer]:
    """Write the settings of homeservers that know each other."""
    authority = Authority(folder)
    ports = free_ports(2 * len(names))
    servers = [
        DemoServer(name, folder / name, ports[2 * number], ports[2 * number + 1]) for number, name in enumerate(names)
    ]
    overrides = ", ".join(f'"{one.name}" = "127.0.0.1:{one.federation_port}"' for one in servers)
    for server in servers:
        server.folder.mkdir(mode=0o700, exist_ok=True)
        certificate, key = authority.certify(server.name)
        (server.folder / "tricord.toml").write_text(
            f"""# Written by: tricord demo
server_name = "{server.name}"
data_dir = "data"

[[listeners]]
bind = "127.0.0.1:{server.client_port}"
serves = ["client"]

[[listeners]]
bind = "127.0.0.1:{server.federation_port}"
serves = ["federation"]
tls_certificate = "{certificate}"
tls_key = "{key}"

[registration]
enabled = true

[federation]
trusted_ca = "{authority.certificate_file}"
allowed_addresses = ["127.0.0.0/8"]
address_overrides = {{ {overrides} }}

[well_known]
client_base_url = "{server.url}"
""",
            encoding="utf-8",
        )
    return servers


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback address that nobody has at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
