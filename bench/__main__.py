"""Compare a Synapse and a Tricord on this machine, in turns, and print one table of all that is asked for.

    python3 -m venv /tmp/synapse && /tmp/synapse/bin/pip install matrix-synapse==1.163.2 psycopg2-binary
    python -m bench --synapse-python /tmp/synapse/bin/python [--only sends,sync] [--json FILE]

Each server has a PostgreSQL of its own with the same settings. First one server of each kind runs; then, for what
servers do together, two of each. They take turns at every kind of work, each while the others are idle; of several
rounds the best figure of each side counts. Without `--synapse-python`, ours is measured alone.
"""

from __future__ import annotations

import argparse
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from bench import federation, scenarios
from bench.asked import AFTER_ALL, IDLE, OURS_AFTER_MORE
from bench.comparison import Comparison
from bench.figures import SETTLING_SECONDS
from bench.homeservers import synapse, tricord, working_folder
from bench.plan import BY_DEFAULT, EVERYTHING, STARTS, Plan
from bench.scenarios import chosen_of
from bench.sockets import allow_many_connections
from bench.surroundings import Surroundings, versions
from bench.turns import Turns, TurnsOfTwo
from bench.two_servers import started, started_synapses

_IDLE_SECONDS = 5


async def measure(options: argparse.Namespace) -> None:
    """Measure all that is wanted, and print the report, even of a half."""
    plan = Plan(
        options.only,
        synapse=bool(options.synapse_python),
        rounds=options.rounds,
        seconds=options.seconds,
        share=options.share,
    )
    print(__doc__, *plan.told(), "", sep="\n", flush=True)
    surroundings = Surroundings(options.folder, versions(options.synapse_python))
    comparison = Comparison(surroundings, options.rounds, options.json)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(_end_when_told, nursery.cancel_scope)
            await _one_of_each(options, comparison, plan)
            await _two_of_each(options, comparison, plan)
            nursery.cancel_scope.cancel()
    finally:
        print("", comparison.report(whole=options.only == BY_DEFAULT), sep="\n")
        if options.share != 1:
            print(f"\nA trial: of what the lines say it was {options.share:g} times as much.")


async def _end_when_told(scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
    """Whoever ends it ends its servers, too, and gets the report."""
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def _one_of_each(options: argparse.Namespace, comparison: Comparison, plan: Plan) -> None:
    alone = [name for name in options.only if name in scenarios.ALL and scenarios.ALL[name].ours_alone]
    both = [name for name in options.only if name in scenarios.ALL and name not in alone]
    if not (alone or both or STARTS in options.only):
        return
    async with AsyncExitStack() as stack:
        servers = []
        if python := options.synapse_python:
            place = options.folder / "synapse"
            servers.append((await stack.enter_async_context(synapse(place, options.port, python)), comparison.theirs))
        server = await stack.enter_async_context(tricord(options.folder / "tricord", options.port + 1))
        servers.append((server, comparison.ours))
        await trio.sleep(_IDLE_SECONDS)
        sides = [Turns(server, options.seconds, options.share, options.crowd, together) for server, together in servers]
        ours = sides[-1]
        for side in sides:
            side.note_memory("idle", row=IDLE)
        for name in both:
            await _part(name, comparison, plan, sides)
        if options.only == BY_DEFAULT:
            await trio.sleep(SETTLING_SECONDS * options.share)
            for side in sides:
                side.note_memory("a minute later", row=AFTER_ALL)
        # What only ours does comes once the memory of both is known.
        for name in alone:
            await _part(name, comparison, plan, [ours])
        if options.only == BY_DEFAULT:
            ours.note_memory("and what only ours did", row=OURS_AFTER_MORE)
        if STARTS in options.only:
            known = set(comparison.ours.rows)
            await comparison.restart(sides)
            print(comparison.news(known), plan.progress(STARTS), sep="\n", flush=True)


async def _two_of_each(options: argparse.Namespace, comparison: Comparison, plan: Plan) -> None:
    wanted = [name for name in options.only if name in federation.ALL]
    if not wanted:
        return
    async with AsyncExitStack() as stack:
        sides = []
        if python := options.synapse_python:
            folder = options.folder / "synapses"
            folder.mkdir()
            first, second = await stack.enter_async_context(started_synapses(folder, python))
            sides.append(TurnsOfTwo(first, second, options.share, comparison.theirs))
        folder = options.folder / "tricords"
        folder.mkdir()
        first, second = await stack.enter_async_context(started(folder))
        sides.append(TurnsOfTwo(first, second, options.share, comparison.ours))
        for name in wanted:
            await _part(name, comparison, plan, sides)


async def _part(name: str, comparison: Comparison, plan: Plan, sides: list[Turns] | list[TurnsOfTwo]) -> None:
    known = set(comparison.ours.rows)
    await comparison.run(name, sides)
    print(comparison.news(known), plan.progress(name), "", sep="\n", flush=True)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synapse-python", type=Path, help="a Python that has Synapse and psycopg2")
    parser.add_argument(
        "--only", type=chosen_of(EVERYTHING), default=BY_DEFAULT, help=f"some of: {', '.join(EVERYTHING)}"
    )
    parser.add_argument("--rounds", type=int, default=1, help="how many turns each side takes at everything")
    parser.add_argument("--seconds", type=float, default=4, help="how long each rate is measured")
    parser.add_argument(
        "--crowd", type=int, default=2_000, help="members of the room whose joins are weighed; 10000 take a while"
    )
    parser.add_argument("--share", type=float, default=1.0, help="a share of all sizes, to try it out")
    parser.add_argument("--port", type=int, default=8108)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too, after each part")
    options = parser.parse_args()
    allow_many_connections()
    with working_folder() as options.folder:
        trio.run(measure, options)


if __name__ == "__main__":
    main()
