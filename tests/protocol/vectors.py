"""The test vectors that others made; each file says whose they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).resolve().parent.parent / "vectors"


def load(name: str) -> Any:
    """Return the content of a file of vectors."""
    return json.loads((_FOLDER / f"{name}.json").read_text())
