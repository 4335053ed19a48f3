"""Measure how long a homeserver takes to start, and what memory it then has.

    python -m bench.start --url http://127.0.0.1:8008/_matrix/client/versions -- tricord serve --config tricord.toml

The command is started, asked until it answers, and stopped; twice, so that the first start may make its database. With
its processes counts what it started itself, but not PostgreSQL.
"""

from __future__ import annotations

import argparse
import http.client
import signal
import subprocess
import time
from urllib.parse import urlsplit

from bench.figures import cpu_seconds, family_of, resident_mib

_PATIENCE_SECONDS = 120


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="what is asked until it is answered with status 200")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--settle-seconds", type=float, default=5, help="how long to wait before memory is read")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    for number in range(options.times):
        started = time.perf_counter()
        process = subprocess.Popen(options.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not _answers(options.url):
                if process.poll() is not None or time.perf_counter() - started > _PATIENCE_SECONDS:
                    raise SystemExit("it does not start")
                time.sleep(0.005)
            seconds = time.perf_counter() - started
            cpu = sum(cpu_seconds(pid) for pid in family_of(process.pid))
            time.sleep(options.settle_seconds)
            memory = sum(resident_mib(pid) for pid in family_of(process.pid))
            took = f"first answer after {seconds:.2f} s and {cpu:.2f} s of its own CPU"
            print(f"start {number + 1}: {took}, {memory:.0f} MiB resident", flush=True)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=1)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    main()
