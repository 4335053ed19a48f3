"""Software of others that tests talk to, installed once for each state of what describes it, and kept between runs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def installation(name: str, description: bytes, install: Callable[[Path], None]) -> Path:
    """Return the folder of an installation; the first time, this takes as long as `install` does in that folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tricord-tests"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{name}-{hashlib.sha256(description).hexdigest()[:16]}"
    complete = folder / "complete"
    with (cache / f"{name}.lock").open("w") as lock:
        # Another run, or another worker of this one, may be installing it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            install(folder)
            complete.touch()
    return folder
