"""Every check of the project in one command: `python tests`. Arguments go to pytest; `--only-tests` runs just that.

Tests run in several workers, each with a PostgreSQL of its own: conversations wait more than they compute.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = {
    "locks hold names, versions and hashes": ["tests/check_locks.py"],
    "ruff": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "mypy": ["-m", "mypy"],
    "import directions": ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
}
WORKERS = ["-n", "3", "--dist", "loadgroup"]
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
    "tests/homeserver/encryption/test_to_device.py",
    "tests/homeserver/test_guests.py",
    "tests/homeserver/test_two_people_chat.py",
    "tests/peers/test_matrix_nio.py",
    "tests/security/test_outsiders_learn_nothing.py",
    "tests/security/test_rate_limits.py",
]


def main(arguments: list[str]) -> int:
    """Run the checks and then the tests; return 0 only if all of them passed."""
    failed = []
    if "--only-tests" in arguments:
        arguments.remove("--only-tests")
    else:
        for name, command in CHECKS.items():
            started = time.monotonic()
            print(f"── {name}", flush=True)
            if subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode:
                failed.append(name)
            print(f"   {time.monotonic() - started:.1f} s", flush=True)
    runs: dict[str, tuple[list[str], dict[str, str]]] = {"tests": (arguments, {})}
    if not arguments:
        runs["tests with two processes"] = (TOLD_TO_SEVERAL, SEVERAL)
    for name, (chosen, environment) in runs.items():
        print(f"── {name}", flush=True)
        command = [sys.executable, "-m", "pytest", *WORKERS, *chosen]
        if subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"FAILED: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
