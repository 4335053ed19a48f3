"""Sides that take turns at the same work: a server of ours and one of Synapse's, or two of each that share rooms."""

from __future__ import annotations

import secrets
import time
from typing import Protocol

from bench import accounts, federation, scenarios
from bench.asked import START
from bench.figures import Figures, Measured, until_calm
from bench.homeservers import SECRET, Homeserver
from bench.scenario import Bench
from bench.two_servers import Side

_USERS = 100
_CALM_PATIENCE_SECONDS = 20


class TakesTurns(Protocol):
    """One side."""

    name: str

    async def take(self, name: str) -> None:
        """Run one scenario, and note its figures."""

    async def until_calm(self) -> None:
        """Return once nothing goes on there that the others would feel in their turn."""


class Turns(Measured):
    """One server."""

    def __init__(
        self,
        server: Homeserver,
        seconds: float,
        share: float = 1.0,
        crowd: int = 2_000,
        together: Measured | None = None,
    ) -> None:
        together = together or Measured(server.name)
        super().__init__(together.name, together.rows, together.memory)
        self.server = server
        self._bench = Bench(
            server.url, SECRET, Figures(), secrets.token_hex(3), seconds, share=share, crowd=crowd, server=server
        )

    async def take(self, name: str) -> None:
        """Run one scenario, and note what it cost."""
        bench = self._bench
        if not bench.users:
            bench.users = await accounts.register(bench.base_url, SECRET, _USERS)
            self.note_memory("users")
        print(f"{self.name}: {name}", flush=True)
        await scenarios.ALL[name].act(bench)
        self.note(bench.figures)
        bench.figures.rows.clear()
        self.note_memory(name)

    async def until_calm(self) -> None:
        """Return once it does nothing any more behind its answers."""
        await self.server.until_calm(_CALM_PATIENCE_SECONDS)

    def note_memory(self, after: str, row: str = "") -> None:
        """Note what is resident now; in a row of its own, if it has a name."""
        self.memory[after] = self.server.resident_mib()
        if row:
            self._add(row, f"{self.memory[after]:.0f} MiB", MiB=self.memory[after])

    def _add(self, row: str, text: str, **values: float) -> None:
        print(f"{self.name}: {row:<35} {text}", flush=True)
        self.note(Figures({row: values}))

    async def restart(self) -> None:
        """Measure how long it takes to start, on the database that it has."""
        await self.server.process.stop()
        started = time.perf_counter()
        await self.server.process.start()
        await self.server.process.until_it_answers()
        seconds = time.perf_counter() - started
        self._add(START, f"{seconds:.2f} s", seconds=seconds)


class TurnsOfTwo(Measured):
    """Two servers that share rooms."""

    def __init__(self, first: Side, second: Side, share: float, together: Measured) -> None:
        super().__init__(together.name, together.rows, together.memory)
        self._bench = federation.Bench(first, second, Figures(), share)

    async def take(self, name: str) -> None:
        """Run one scenario, and note its figures."""
        print(f"{self.name}: {name}", flush=True)
        await federation.ALL[name].act(self._bench)
        self.note(self._bench.figures)
        self._bench.figures.rows.clear()

    async def until_calm(self) -> None:
        """Return once both do nothing any more."""
        sides = self._bench.first, self._bench.second
        await until_calm(lambda: sum(side.cpu_seconds() for side in sides), _CALM_PATIENCE_SECONDS)
