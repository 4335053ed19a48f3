"""A Synapse from PyPI, in an environment of its own: what it depends on is no business of ours.

It is installed once for each state of `requirements.lock`, which is written anew with:

    echo matrix-synapse==VERSION | uv pip compile -q --universal --python-version 3.11 --no-emit-index-url \
        --no-annotate --no-header --generate-hashes - -o tests/peers/synapse/requirements.lock
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.installations import installation

LOCK = Path(__file__).with_name("requirements.lock")


def synapse_python() -> Path:
    """Return the Python that has Synapse; the first time, this takes as long as installing it."""

    def install(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(LOCK)]
        subprocess.run(pip, check=True)

    return installation("synapse", LOCK.read_bytes() + sys.version.encode(), install) / "bin/python"
