"""A Synapse from PyPI, in an environment of its own: what it depends on is no business of ours.

It is installed once for each state of `requirements.lock`, which is written anew with:

    echo matrix-synapse==VERSION | uv pip compile -q --universal --python-version 3.11 --no-emit-index-url \
        --no-annotate --no-header --generate-hashes - -o tests/peers/synapse/requirements.lock
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.lock")


def synapse_python() -> Path:
    """Return the Python that has Synapse; the first time, this takes as long as installing it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tricord-tests"
    cache.mkdir(parents=True, exist_ok=True)
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache / f"synapse-{wanted}"
    python, complete = folder / "bin/python", folder / "complete"
    with (cache / "lock").open("w") as lock:
        # Another run may be installing it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(python), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(LOCK)]
            subprocess.run(pip, check=True)
            complete.touch()
    return python
