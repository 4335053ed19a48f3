"""Every check of the project in one command: `python tests`. Arguments go to pytest; `--only-tests` runs just that.

Tests run in several workers, each with a PostgreSQL of its own: conversations wait more than they compute.
"""

from __future__ import annotations

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
    print("── tests", flush=True)
    if subprocess.run([sys.executable, "-m", "pytest", *WORKERS, *arguments], cwd=ROOT, check=False).returncode:
        failed.append("tests")
    if failed:
        print(f"FAILED: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
