"""What npm installs for tests: by the lock beside the package.json, by hash, from the registry that the machine uses.

A lock is written anew with `npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved`. Where
there is no node, tests are skipped; where the environment says `CI`, they are not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from tests.installations import installation

# What an installation is made from.
_MANIFEST = ("package.json", "package-lock.json", ".npmrc")


def installed(sources: Path, folder: Path) -> Path:
    """Copy a folder into another one, give it what its lock says, and return where.

    What the lock says is installed once for each state of it; every copy has a link to that.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        lacking("node and npm are not installed")
    place = folder / sources.name
    shutil.copytree(sources, place, ignore=shutil.ignore_patterns("node_modules"))
    manifest = [file for name in _MANIFEST if (file := sources / name).exists()]

    def install(modules: Path) -> None:
        for file in manifest:
            shutil.copy(file, modules)
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=modules,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            lacking(f"npm could not install what {sources} needs: {done.stderr.strip()[-500:]}")

    made = installation(sources.name, b"".join(file.read_bytes() for file in manifest), install)
    (place / "node_modules").symlink_to(made / "node_modules", target_is_directory=True)
    return place


def lacking(reason: str) -> NoReturn:
    """Skip a test for what is not there, except where it must be."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
