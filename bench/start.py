"""Measure how long a homeserver takes to start, and what memory it then has.

    python -m bench.start --url http://127.0.0.1:8008/_matrix/client/versions -- tricord serve --config tricord.toml

The command is started, asked until it answers, and stopped; more than once, so that the first start may make its
database. With its processes counts what it started itself, but not PostgreSQL. With `--user` and `--password` of a user
who is there, who then signs in and asks what clients begin with, memory is read again.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import subprocess
import time
from typing import Any
from urllib.parse import quote, urlsplit

from bench.figures import cpu_seconds, family_of, resident_mib

_PATIENCE_SECONDS = 120


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="what is asked until it is answered with status 200")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--settle-seconds", type=float, default=5, help="how long to wait before memory is read")
    parser.add_argument("--user", help="who signs in, to read memory once more")
    parser.add_argument("--password", default="")
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
            took = f"first answer after {seconds:.2f} s and {cpu:.2f} s of its own CPU"
            text = f"start {number + 1}: {took}, {_resident_mib(process.pid, options.settle_seconds):.1f} MiB resident"
            if options.user:
                _sign_in_and_look_around(options.url, options.user, options.password)
                text += f", {_resident_mib(process.pid, options.settle_seconds):.1f} MiB once somebody has signed in"
            print(text, flush=True)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _resident_mib(pid: int, settle_seconds: float) -> float:
    time.sleep(settle_seconds)
    return sum(resident_mib(each) for each in family_of(pid))


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


def _sign_in_and_look_around(url: str, user: str, password: str) -> None:
    """Ask what a client begins with, as Element does."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    headers: dict[str, str] = {}

    def ask(method: str, path: str, body: object = None) -> Any:
        connection.request(method, f"/_matrix/client/v3{path}", None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        # What is not there yet is asked for, too.
        if answer.status not in (200, 404):
            raise SystemExit(f"{method} {path}: {answer.status} {content.decode()}")
        return json.loads(content)

    ask("GET", "/login")
    who = {"type": "m.id.user", "user": user}
    login = ask("POST", "/login", {"type": "m.login.password", "identifier": who, "password": password})
    headers["Authorization"] = f"Bearer {login['access_token']}"
    own = f"/user/{quote(login['user_id'])}"
    ask("GET", "/capabilities")
    ask("GET", "/pushrules/")
    ask("GET", "/room_keys/version")
    ask("GET", "/voip/turnServer")
    ask("GET", f"{own}/account_data/m.secret_storage.default_key")
    ask("POST", "/keys/query", {"device_keys": {login["user_id"]: []}})
    number = ask("POST", f"{own}/filter", {"room": {"state": {"lazy_load_members": True}}})["filter_id"]
    ask("GET", f"/sync?timeout=0&filter={quote(number)}")
    room = ask("POST", "/createRoom", {"preset": "private_chat"})["room_id"]
    ask("PUT", f"/rooms/{quote(room)}/send/m.room.message/1", {"msgtype": "m.text", "body": "hello"})
    ask("GET", f"/sync?timeout=0&filter={quote(number)}")
    ask("POST", "/logout", {})
    connection.close()


if __name__ == "__main__":
    main()
