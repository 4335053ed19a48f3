"""Work that both sides do in turns, A B A B, and what came of it, told as it comes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench import table
from bench.figures import Measured
from bench.surroundings import Surroundings, spread
from bench.turns import TakesTurns, Turns

_STARTS = 3


class Comparison:
    """What ours and Synapse have made of the work until now."""

    def __init__(self, surroundings: Surroundings, rounds: int, file: Path | None) -> None:
        self.ours, self.theirs = Measured("Tricord"), Measured("Synapse")
        self._surroundings = surroundings
        self._rounds = rounds
        self._file = file
        self._failed: dict[str, str] = {}

    async def run(self, name: str, sides: Sequence[TakesTurns]) -> None:
        """Let the sides take their turns at a scenario."""
        for _ in range(self._rounds):
            for side in sides:
                for each in sides:
                    await each.until_calm()
                self._surroundings.look()
                try:
                    await side.take(name)
                except Exception as failure:  # noqa: BLE001  # all else is still wanted, and the report tells of it
                    self._failed[f"{side.name}, {name}"] = repr(failure)
                    print(f"{side.name}: {name} failed: {failure!r}", flush=True)

    async def restart(self, sides: Sequence[Turns]) -> None:
        """Measure how long each takes to start again."""
        for _ in range(_STARTS):
            for side in sides:
                self._surroundings.look()
                await side.restart()

    def news(self, known: set[str]) -> str:
        """Return what has been measured since these rows were known. Whoever stops it halfway has the half."""
        if self._file:
            self._file.write_text(json.dumps(self._as_json(), indent=1) + "\n")
        new = set(self.ours.rows) - known
        return "\n".join((*table.asked_for(self.ours, self.theirs, new), *table.beyond(self.ours, self.theirs, new)))

    def report(self, *, whole: bool) -> str:
        """Return all tables; unless it is of the whole, without lines for what was not measured."""
        rows = None if whole else set(self.ours.rows)
        parts = [
            *table.asked_for(self.ours, self.theirs, rows),
            "\nMeasured beyond:\n",
            *table.beyond(self.ours, self.theirs),
        ]
        if self.ours.memory:
            parts += ["\nMemory in the course of the run:\n", *table.memory(self.ours, self.theirs)]
        parts += [
            "\nThe machine:\n",
            *self._surroundings.told(),
            *(spread(side.name, list(side.spreads())) for side in (self.theirs, self.ours) if side.rows),
            *(f"- failed: {what}: {why}" for what, why in self._failed.items()),
        ]
        return "\n".join(parts)

    def _as_json(self) -> dict[str, object]:
        sides = {side.name: {"figures": side.rows, "memory": side.memory} for side in (self.theirs, self.ours)}
        return {**sides, "machine": self._surroundings.as_json(), "failed": self._failed}
