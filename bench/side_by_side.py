"""Measure Tricord and Synapse side by side on this machine, in turns: A B A B.

    python3 -m venv /tmp/synapse && /tmp/synapse/bin/pip install matrix-synapse==1.163.2 psycopg2-binary
    python -m bench.side_by_side --synapse-python /tmp/synapse/bin/python [--only sends,sync] [--json FILE]

Each has a PostgreSQL of its own with the same settings. Of two turns the better figure of each side counts; the ratio
is how many times as fast ours is. Ours starts its PostgreSQL too, that of Synapse runs already.
"""

from __future__ import annotations

import argparse
import json
import secrets
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

import trio

from bench import accounts
from bench.figures import Figures
from bench.homeservers import SECRET, Homeserver, synapse, tricord
from bench.large_rooms import LARGE
from bench.scenario import Bench
from bench.scenarios import ALL

_OURS_ALONE = {"websocket", "many_windows"}
_HIGHER_IS_BETTER = "per_second"


class Turns:
    """What one server made of the scenarios so far, the best of each figure."""

    def __init__(self, server: Homeserver, seconds: float) -> None:
        self.server = server
        self.best: dict[str, dict[str, float]] = {}
        self.idle_mib = server.resident_mib()
        self._figures = Figures()
        self._bench = Bench(server.url, SECRET, self._figures, secrets.token_hex(3), seconds)

    async def take(self, name: str) -> None:
        """Run one scenario, and note what it cost."""
        bench = self._bench
        if not bench.users:
            bench.users = await accounts.register(bench.base_url, SECRET, 100)
        print(f"{self.server.name}: {name}", flush=True)
        self._figures.rows.clear()
        cpu, size = self.server.cpu_seconds(), await self.server.database_bytes()
        await ALL[name](bench)
        cpu_after, size_after = self.server.cpu_seconds(), await self.server.database_bytes()
        rows = {
            row: {key: float(str(value)) for key, value in values.items()} for row, values in self._figures.rows.items()
        }
        if name == "sends":
            count = sum(row["count"] for row in rows.values())
            rows["CPU per send, server"] = {"ms": (cpu_after[0] - cpu[0]) / count * 1e3}
            rows["CPU per send, PostgreSQL"] = {"ms": (cpu_after[1] - cpu[1]) / count * 1e3}
            rows["bytes in the database per message"] = {"bytes": (size_after - size) / count}
        if name == "members" and any("joins" in row for row in rows):
            rows["bytes in the database per user and join"] = {"bytes": (size_after - size) / LARGE}
        for row, values in rows.items():
            for key, value in values.items():
                self._note(row, key, value)

    async def finish(self) -> None:
        """Note what it takes after all that, and how long to start again."""
        self.best["memory, idle"] = {"MiB": self.idle_mib}
        self.best["memory, after all this"] = {"MiB": self.server.resident_mib()}
        await self.server.process.stop()
        started = time.perf_counter()
        await self.server.process.start()
        await self.server.process.until_it_answers()
        self.best["start to first answer"] = {"seconds": time.perf_counter() - started}

    def _note(self, row: str, key: str, value: float) -> None:
        known = self.best.setdefault(row, {})
        better = max if key == _HIGHER_IS_BETTER else min
        known[key] = better(known[key], value) if key in known else value


def head(ours: Turns, theirs: Turns) -> list[str]:
    """Return the first lines of a table of both."""
    return [f"| | {theirs.server.name} | {ours.server.name} | times as good |", "|---|---:|---:|---:|"]


def lines(ours: Turns, theirs: Turns, told: Collection[str] = ()) -> list[str]:
    """Return the figures of both as lines of a table in Markdown, without those that were told before."""
    found = []
    for row, values in ours.best.items():
        if row in told:
            continue
        for key, value in values.items():
            if key == "count":
                continue
            other = theirs.best.get(row, {}).get(key)
            unit = {"per_second": "/s", "p50_ms": " ms (p50)"}.get(key, f" {key}")
            said = ""
            if other and value:
                said = f"{value / other if key == _HIGHER_IS_BETTER else other / value:.1f}"
            found.append(f"| {row} | {_said(other, unit)} | {_said(value, unit)} | {said} |")
    return found


def _said(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"


async def measure(options: argparse.Namespace) -> None:
    """Start both, and run the scenarios in turns."""
    wanted = options.only.split(",") if options.only else list(ALL)
    async with (
        synapse(options.folder / "synapse", options.port, options.synapse_python) as b,
        tricord(options.folder / "tricord", options.port + 1) as a,
    ):
        await trio.sleep(5)
        ours, theirs = Turns(a, options.seconds), Turns(b, options.seconds)
        told: set[str] = set()
        for name in wanted:
            for _ in range(options.rounds):
                if name not in _OURS_ALONE:
                    await theirs.take(name)
                await ours.take(name)
            # Whoever stops it halfway has the half.
            print(*lines(ours, theirs, told), sep="\n", flush=True)
            told = set(ours.best)
        for side in (ours, theirs):
            await side.finish()
        print(*head(ours, theirs), *lines(ours, theirs), sep="\n")
        if options.json:
            options.json.write_text(json.dumps({"Tricord": ours.best, "Synapse": theirs.best}, indent=1) + "\n")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synapse-python", type=Path, required=True, help="a Python that has Synapse and psycopg2")
    parser.add_argument("--only", default="", help=f"some of: {', '.join(ALL)}")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5, help="how long each rate is measured")
    parser.add_argument("--port", type=int, default=8108)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tricord-bench-") as folder:
        options.folder = Path(folder)
        # PostgreSQL may run as somebody else.
        options.folder.chmod(0o755)
        trio.run(measure, options)


if __name__ == "__main__":
    main()
