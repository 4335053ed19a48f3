"""What a process that serves does without, though libraries would load it wherever it is installed."""

from __future__ import annotations

import os
import sys
from types import ModuleType

from tricord.homeserver.later import load_later

# structlog and httpx load them for tracebacks in colour and a command line: 4 MiB, and a twentieth of a start.
_ONLY_FOR_PEOPLE = ("pygments", "rich")
# What asyncpg and we use of asyncio, and where it is: 0.8 MiB of event loops and streams are not loaded for it.
_PARTS_OF_ASYNCIO = {
    "CancelledError": "exceptions",
    "Event": "locks",
    "InvalidStateError": "exceptions",
    "LifoQueue": "queues",
    "Protocol": "protocols",
    "TimeoutError": "exceptions",
    "current_task": "tasks",
    "sleep": "tasks",
    "timeout": "timeouts",
    "wait_for": "tasks",
}


def leave_out_extras() -> None:
    """Let libraries do without what no server needs; to be called before they are loaded."""
    for name in _ONLY_FOR_PEOPLE:
        # None says that it cannot be imported: https://docs.python.org/3/reference/import.html#the-module-cache
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # typeshed knows modules only
    # pydantic would read what every installed package says of itself, to find plugins: 2 MiB. Who has one, sets this.
    if os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__") == "__all__":
        # Even to say that there are none, it would load how packages are read, and how mail is: 1.5 MiB.
        without_plugins = ModuleType("pydantic.plugin._loader")
        vars(without_plugins)["get_plugins"] = tuple
        sys.modules.setdefault(without_plugins.__name__, without_plugins)
    load_later("asyncio", parts=_PARTS_OF_ASYNCIO)
    # asyncpg reads a file of services by it, should there be one.
    load_later("configparser")
    # For names with other letters than ASCII's.
    load_later("idna")
    # A server behind a proxy encrypts nothing until it asks another one something: 1.2 MiB with its libraries.
    load_later("ssl")
