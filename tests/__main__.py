"""Every check of the project in one command: `python tests`. Arguments go to pytest; `--only-tests` runs just that.

Tests run in several workers, each with a PostgreSQL of its own: conversations wait more than they compute. What is
checked without running anything, and takes long, is checked meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = {
    "locks hold names, versions and hashes": ["tests/check_locks.py"],
    "ruff": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
}
CHECKS_BESIDE_THE_TESTS = {
    "mypy": ["-m", "mypy"],
    "import directions": ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
}
# conftest.py says what comes first.
WORKERS = ["-n", str(2 * (os.cpu_count() or 2)), "--maxprocesses", "8", "--dist", "loadgroup", "--no-loadscope-reorder"]
# What is told again to homeservers of two processes, which are asked in turn.
SEVERAL = {"TRICORD_TEST_PROCESSES": "2"}
TOLD_TO_SEVERAL = [
    "tests/clients/test_every_call.py",
    "tests/clients/test_follow.py",
    "tests/clients/test_sliding_sync.py",
    "tests/conversations/test_every_server_endpoint.py",
    "tests/conversations/test_media.py",
    "tests/conversations/test_media_on_its_way.py",
    "tests/conversations/test_two_towns.py",
    "tests/homeserver/encryption/test_device_lists.py",
    "tests/homeserver/encryption/test_to_device.py",
    "tests/homeserver/test_account_moderation.py",
    "tests/homeserver/test_guests.py",
    "tests/homeserver/test_left_rooms.py",
    "tests/homeserver/test_openid.py",
    "tests/homeserver/test_peeking.py",
    "tests/homeserver/test_two_people_chat.py",
    "tests/peers/test_matrix_nio.py",
    "tests/security/test_outsiders_learn_nothing.py",
    "tests/security/test_rate_limits.py",
]


def main(arguments: list[str]) -> int:
    """Run the checks and the tests; return 0 only if all of them passed."""
    # Or every worker, and every one of the many processes that they start, compiles all anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    failed = []
    with ThreadPoolExecutor(max_workers=1) as beside:
        checks = {}
        if "--only-tests" in arguments:
            arguments.remove("--only-tests")
        else:
            checks = {name: beside.submit(_run, command) for name, command in CHECKS_BESIDE_THE_TESTS.items()}
            failed = [name for name, command in CHECKS.items() if not _passed(name, _run(command))]
        runs: dict[str, tuple[list[str], dict[str, str]]] = {"tests": (arguments, {})}
        if not arguments:
            runs["tests with two processes"] = (TOLD_TO_SEVERAL, SEVERAL)
        for name, (chosen, environment) in runs.items():
            print(f"── {name}", flush=True)
            command = [sys.executable, "-m", "pytest", *WORKERS, *chosen]
            if subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=False).returncode:
                failed.append(name)
        failed += [name for name, check in checks.items() if not _passed(name, check.result())]
    if failed:
        print(f"FAILED: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


@dataclass(frozen=True)
class _Outcome:
    status: int
    output: str
    seconds: float


def _run(command: list[str]) -> _Outcome:
    """Run a check."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return _Outcome(done.returncode, done.stdout, time.monotonic() - started)


def _passed(name: str, outcome: _Outcome) -> bool:
    """Print what came of a check; return whether it passed."""
    print(f"── {name}\n{outcome.output}   {outcome.seconds:.1f} s", flush=True)
    return outcome.status == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
