"""Measure a homeserver over its Client-Server API; the same command measures any other.

    python -m bench.load --base-url http://127.0.0.1:8008 --shared-secret SECRET [--pid PID] [--only sends,sync]

`--shared-secret` is the server's registration secret. `--pid` adds memory and CPU of the server's process, after each
scenario and a good minute after the last: by then it has given back what it no longer needs. Rate limits must be off.
"""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

import trio

from bench import accounts, scenarios
from bench.connection import Connection
from bench.figures import SETTLING_SECONDS, Figures, cpu_seconds, resident_mib
from bench.scenario import Bench


async def measure(options: argparse.Namespace) -> None:
    """Run the wanted scenarios one after another."""
    figures = Figures()
    async with Connection(options.base_url) as connection:
        await connection.call("GET", "/_matrix/client/versions")
    if options.pid:
        figures.add("memory at the start", f"{resident_mib(options.pid):.0f} MiB", mib=resident_mib(options.pid))
    bench = Bench(options.base_url, options.shared_secret, figures, secrets.token_hex(3), options.seconds)
    bench.users = await accounts.register(options.base_url, options.shared_secret, options.users)
    for name in options.only:
        before = cpu_seconds(options.pid) if options.pid else 0.0
        await scenarios.ALL[name].act(bench)
        if options.pid:
            used, mib = cpu_seconds(options.pid) - before, resident_mib(options.pid)
            figures.add(f"after {name}", f"{mib:.0f} MiB resident, {used:.1f} s of the server's CPU", mib=mib, cpu=used)
    if options.pid:
        await trio.sleep(SETTLING_SECONDS)
        figures.add("memory a minute later", f"{resident_mib(options.pid):.0f} MiB", mib=resident_mib(options.pid))
    if options.json:
        figures.write(options.json)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = [name for name, scenario in scenarios.ALL.items() if not scenario.on_request]
    parser.add_argument("--base-url", default="http://127.0.0.1:8008")
    parser.add_argument("--shared-secret", required=True)
    parser.add_argument("--pid", type=int)
    parser.add_argument(
        "--only", type=scenarios.chosen_of(scenarios.ALL), default=default, help=f"some of: {', '.join(scenarios.ALL)}"
    )
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5, help="how long each rate is measured")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    trio.run(measure, parser.parse_args())


if __name__ == "__main__":
    main()
