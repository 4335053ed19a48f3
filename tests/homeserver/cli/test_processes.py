"""`tricord serve --processes 2`: started, watched over and stopped as one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.homeserver.cli.commands import PATIENCE_SECONDS, Serving, serving, tricord, written

SETTINGS = """
server_name = "hs.test"
data_dir = "data"
processes = 2
database.url = "{url}"
[[listeners]]
bind = "127.0.0.1:0"
"""


def children(server: Serving) -> list[int]:
    """Return the processes that serve."""
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text(encoding="utf-8").split()]


def test_one_that_dies_is_replaced_and_all_end_together(tmp_path: Path, database_url: str) -> None:
    file = written(tmp_path, SETTINGS.format(url=database_url))
    with serving(tmp_path, "--config", file) as server:
        first = children(server)
        assert len(first) == 2
        assert httpx.get(f"{server.url}/ready").status_code == 200

        os.kill(first[0], signal.SIGKILL)
        server.wait_for("signal SIGKILL")
        assert httpx.get(f"{server.url}/ready").status_code == 200
        server.wait_for("the process is replaced")
        assert len(children(server)) == 2

        last = children(server)
        assert server.stop() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in last)


def test_they_end_when_nobody_watches_over_them(tmp_path: Path, database_url: str) -> None:
    file = written(tmp_path, SETTINGS.format(url=database_url))
    with serving(tmp_path, "--config", file) as server:
        left = children(server)
        server.process.kill()
        end = time.monotonic() + PATIENCE_SECONDS
        while any(is_running(pid) for pid in left):
            assert time.monotonic() < end
            time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Tell whether a process is there, and not only its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("wrong", "said"), [("processes = 0", "processes: must be at least 1"), ("processes = 65", "must be at most 64")]
)
def test_how_many_there_are_is_bounded(tmp_path: Path, wrong: str, said: str) -> None:
    file = written(tmp_path, wrong)
    assert said in tricord(tmp_path, "serve", "--config", file).fault()


def test_who_cannot_start_says_why(tmp_path: Path, database_url: str) -> None:
    settings = SETTINGS.format(url=database_url) + 'tls_certificate = "none.pem"\ntls_key = "none.pem"\n'
    fault = tricord(tmp_path, "serve", "--config", written(tmp_path, settings)).fault()
    assert "are not a certificate and its key" in fault
    assert "of 2 does not start: status 1" in fault
