"""What a process that serves does without."""

from __future__ import annotations

import sys

# For colourful tracebacks and a command line of httpx's: 4 MiB, and a twentieth of a start.
_ONLY_FOR_PEOPLE = ("pygments", "rich")


def load_nothing_for_people() -> None:
    """Let structlog and httpx do without what they would load where it is installed, and no server needs."""
    for name in _ONLY_FOR_PEOPLE:
        # None says that it cannot be imported: https://docs.python.org/3/reference/import.html#the-module-cache
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # typeshed knows modules only
