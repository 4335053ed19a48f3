"""Check the lock files: they cover what pyproject.toml asks for, pin every package by hash, and name no host.

Write them anew with:

    lock="uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header \
        --generate-hashes --extra server pyproject.toml"
    $lock -o requirements.lock
    $lock --group dev -c requirements.lock -o tests/requirements.lock
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", re.MULTILINE)
NAME = re.compile(r"^[A-Za-z0-9._-]+")


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def faults() -> list[str]:
    """Return what is wrong, a line each."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["server"]
    tools = project["dependency-groups"]["dev"]
    found = []
    locks = {
        "requirements.lock": runtime,
        "tests/requirements.lock": runtime + tools,
        "tests/peers/synapse/requirements.lock": ["matrix-synapse"],
    }
    for file, wanted in locks.items():
        text = (ROOT / file).read_text()
        pinned = {_normalized(name) for name in PINNED.findall(text)}
        for requirement in wanted:
            name = _normalized(NAME.match(requirement)[0])  # type: ignore[index]  # every requirement opens with a name
            if name != "tricord" and name not in pinned:
                found.append(f"{file}: {name} is missing")
        if "://" in text:
            found.append(f"{file}: names a host")
        if text.count("==") > text.count(" \\\n"):
            found.append(f"{file}: a package has no hash")
    return found


if __name__ == "__main__":
    lines = faults()
    print("\n".join(lines) or "   as it should be")
    sys.exit(bool(lines))
