"""`tricord` as an operator calls it: a process of its own, with nothing of the tests' own environment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from click.testing import CliRunner

from tricord.homeserver.cli import main

PATIENCE_SECONDS = 180
_COMMAND = [sys.executable, "-m", "tricord.homeserver"]


@dataclass(frozen=True)
class Outcome:
    """What a command said, and its exit status."""

    status: int
    output: str
    errors: str

    def good(self) -> str:
        """Return the output of a command that must have done well."""
        assert self.status == 0, self
        return self.output

    def fault(self) -> str:
        """Return the explanation of a command that must have failed with one, and with nothing else."""
        assert self.status in (1, 2), self
        assert "Traceback" not in self.errors + self.output
        assert "Error: " in self.errors, self
        return self.errors.partition("Error: ")[2].strip()


def environment(given: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a command, without settings of this run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRICORD_")}
    return kept | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"} | (given or {})


def tricord(
    folder: Path, *words: str | Path, text: str = "", env: dict[str, str] | None = None, at_a_terminal: bool = False
) -> Outcome:
    """Run a command in a folder, with `text` as its input; or with a terminal at which nobody sits."""
    with _terminal() if at_a_terminal else nullcontext() as terminal:
        done = subprocess.run(
            [*_COMMAND, *words],
            cwd=folder,
            input=text if terminal is None else None,
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            env=environment(env),
            start_new_session=at_a_terminal,
            check=False,
        )
    return Outcome(done.returncode, done.stdout, done.stderr)


@contextmanager
def _terminal() -> Iterator[int]:
    ours, theirs = os.openpty()
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


def in_process(*words: str | Path, env: dict[str, str] | None = None) -> Outcome:
    """Run a command that starts nothing in this process, which is quicker."""
    done = CliRunner().invoke(main, [str(word) for word in words], env=env)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Outcome(done.exit_code, done.stdout, done.stderr)


@dataclass
class Serving:
    """A `tricord serve` that runs."""

    process: subprocess.Popen[str]
    lines: list[str]
    """What it has said so far."""

    @property
    def said(self) -> str:
        """All that it has said so far."""
        return "".join(self.lines)

    @property
    def url(self) -> str:
        """Where it answers."""
        found = re.search(r"serves \S+ at (\S+?),", self.said)
        assert found is not None, self.said
        return found[1]

    def wait_for(self, words: str) -> None:
        """Wait until it has said something."""
        end = time.monotonic() + PATIENCE_SECONDS
        while words not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < end, self.said
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def serving(folder: Path, *words: str | Path, env: dict[str, str] | None = None) -> Iterator[Serving]:
    """Run `tricord serve` in a folder, from when it answers to the end of the block."""
    with started(folder, *words, env=env) as server:
        server.wait_for(", data in ")
        yield server


@contextmanager
def started(folder: Path, *words: str | Path, env: dict[str, str] | None = None) -> Iterator[Serving]:
    """Start `tricord serve` in a folder, and end it at the end of the block."""
    process = subprocess.Popen(
        [*_COMMAND, "serve", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(env),
    )
    server = Serving(process, [])
    assert process.stdout is not None
    reader = threading.Thread(target=_gather, args=(process.stdout, server.lines), daemon=True)
    reader.start()
    try:
        yield server
    finally:
        if process.poll() is None:
            server.stop()
        reader.join(5)


def _gather(output: IO[str], lines: list[str]) -> None:
    for line in output:
        lines.append(line)  # noqa: PERF402  # each as it comes


def written(folder: Path, text: str) -> Path:
    """Write a settings file."""
    file = folder / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return file
