"""Measure what a homeserver gains by more processes: one against several on this machine, in turns.

    python -m bench.processes [--processes 2] [--only sends,reads,sync] [--json FILE]

Each has a PostgreSQL of its own with the same settings; of its turns the best figures count. Printed with each scenario
is how many cores were busy with what: where they add up to all that the machine has, or the load generator has one to
itself, a further process has nothing to gain.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import trio

from bench.homeservers import tricord, working_folder
from bench.scenarios import ALL
from bench.table import head, lines
from bench.turns import Turns


async def _take(turns: Turns, name: str) -> None:
    """Run one scenario, and tell who was busy with it."""

    def used() -> tuple[float, float, float, float]:
        return (time.perf_counter(), *turns.server.cpu_seconds(), time.process_time())

    before = used()
    await turns.take(name)
    took, *cpu = (after - one for after, one in zip(used(), before, strict=True))
    server, postgres, generator = (seconds / took for seconds in cpu)
    print(
        f"{'':<44} (cores busy, of {os.cpu_count()}: server {server:.2f}, PostgreSQL {postgres:.2f}, "
        f"load generator {generator:.2f})",
        flush=True,
    )


async def measure(options: argparse.Namespace) -> None:
    """Start both, and run the scenarios in turns."""
    several_name = f"{options.processes} processes"
    async with (
        tricord(options.folder / "one", options.port, name="1 process") as one,
        tricord(
            options.folder / "several", options.port + 1, processes=options.processes, name=several_name
        ) as several,
    ):
        await trio.sleep(5)
        alone, together = Turns(one, options.seconds), Turns(several, options.seconds)
        for name in options.only.split(","):
            for _ in range(options.rounds):
                await _take(alone, name)
                await _take(together, name)
        print(*head(together, alone), *lines(together, alone), sep="\n")
        if options.json:
            figures = {"1 process": alone.best, several_name: together.best}
            options.json.write_text(json.dumps(figures, indent=1) + "\n")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="sends,reads,sync", help=f"some of: {', '.join(ALL)}")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4, help="how long each rate is measured")
    parser.add_argument("--port", type=int, default=8118)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    with working_folder() as options.folder:
        trio.run(measure, options)


if __name__ == "__main__":
    main()
