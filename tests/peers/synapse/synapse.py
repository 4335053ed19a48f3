"""Synapse as a process."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import trio

from tests.peers.synapse.settings import set_up, settings_of

# It starts in seconds; where much else runs it has taken more than a minute.
_START_SECONDS = 300


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
    _command: list[str] = field(default_factory=list, init=False)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.client_port}"

    def configure(self) -> None:
        """Write its configuration and its signing key."""
        settings = settings_of(
            self.name,
            self.folder,
            client_port=self.client_port,
            federation_port=self.federation_port,
            certificate=self.certificate,
            key=self.certificate,
        )
        settings["federation_custom_ca_list"] = [str(self.trusted_ca)]
        self._command = set_up(self.python, self.folder, settings)

    async def start(self) -> None:
        """Start it, and return once it answers."""
        self.process = subprocess.Popen(  # noqa: ASYNC220  # it returns at once
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        async with httpx.AsyncClient() as http:
            with trio.fail_after(_START_SECONDS):
                while True:
                    if self.process.poll() is not None:
                        ended = f"it ended with status {self.process.returncode}"
                        raise AssertionError(f"{ended}: see {self.folder / 'log'}")
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
