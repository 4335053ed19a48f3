"""Figures, and how they are printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


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

    rows: dict[str, dict[str, object]] = field(default_factory=dict)

    def add(self, name: str, text: str, **values: object) -> None:
        """Print a figure as it comes in, and keep its values."""
        print(f"{name:<44} {text}", flush=True)
        self.rows[name] = values

    def write(self, file: Path) -> None:
        """Write all values as JSON."""
        file.write_text(json.dumps(self.rows, indent=1) + "\n")
