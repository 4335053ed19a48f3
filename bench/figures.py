"""Figures as they come in, and what they are read from."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

# A server of ours returns memory to the system every minute: who looks sooner sees less of what stays.
SETTLING_SECONDS = 65
HIGHER_IS_BETTER = "per_second"
# Less than this share of a core is what a server does that nobody asks anything.
_CALM = 0.05


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def milliseconds(seconds: Sequence[float]) -> str:
    """Return p50 and p99 in words."""
    return f"p50 {percentile(seconds, 0.5) * 1e3:.1f} ms, p99 {percentile(seconds, 0.99) * 1e3:.1f} ms"


def resident_mib(pid: int) -> float:
    """Return the resident memory of one process, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def proportional_mib(pid: int) -> float:
    """Return the memory of one process, in MiB, of what it shares its part; 0 if it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that one process has used; 0 if it has just ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / 100


def family_of(pid: int) -> list[int]:
    """Return a process and all that it started, without PostgreSQL."""
    family = [pid]
    for parent in family:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            family += [child for child in map(int, children.read_text().split()) if not _is_postgres(child)]
    return family


def _is_postgres(pid: int) -> bool:
    return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]


@dataclass
class Figures:
    """What was measured, in order."""

    rows: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, name: str, text: str, **values: float | None) -> None:
        """Print a figure as it comes in, and keep its values."""
        print(f"{name:<44} {text}", flush=True)
        self.rows[name] = {key: float(value) for key, value in values.items() if value is not None}

    def write(self, file: Path) -> None:
        """Write all values as JSON."""
        file.write_text(json.dumps(self.rows, indent=1) + "\n")


@dataclass
class Measured:
    """What was measured of one side: each figure round by round, of which the best counts."""

    name: str
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    """MiB that were resident, by what had been done until then."""

    def note(self, figures: Figures) -> None:
        """Take in the figures of a round."""
        for row, values in figures.rows.items():
            for key, value in values.items():
                self.rows.setdefault(row, {}).setdefault(key, []).append(value)

    @property
    def best(self) -> dict[str, dict[str, float]]:
        """The best of each figure; of bytes, which no noise of the machine adds, what they are on average."""
        choose: dict[str, Callable[[Sequence[float]], float]] = {HIGHER_IS_BETTER: max, "bytes": statistics.mean}
        return {
            row: {key: choose.get(key, min)(values) for key, values in of_row.items()}
            for row, of_row in self.rows.items()
        }

    def spreads(self) -> Iterator[float]:
        """Tell of each figure that was measured more than once how many times the largest is of the smallest."""
        for of_row in self.rows.values():
            for values in of_row.values():
                if len(values) > 1 and min(values) > 0:
                    yield max(values) / min(values)


async def until_calm(cpu_seconds: Callable[[], float], patience_seconds: float) -> None:
    """Let servers finish what they do behind their answers: the index of the search, for one."""
    ends = time.perf_counter() + patience_seconds
    used = cpu_seconds()
    while time.perf_counter() < ends:
        await trio.sleep(1)
        if (now := cpu_seconds()) - used < _CALM:
            return
        used = now
