"""What the process that watches tells one that serves, and what it hears back, by the pipes between them.

Standard input brings the work, and later that it is time to stop; if it just ends, the parent has died, and nobody goes
on serving. Standard output says once that the process serves.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path

from tricord.homeserver.settings import Settings

READY = b"ready\n"
STOP = b"stop\n"


@dataclass(frozen=True, slots=True)
class Work:
    """What a process is to do."""

    number: int
    """Its name, from 1 on."""
    settings: Settings
    """Those of the server, with the URL of the database that is ready."""
    sockets: tuple[int, ...]
    """The descriptors of the sockets to serve on, in the order of the listeners."""
    memory: int
    """The descriptor of the memory that the processes have in common."""
    folder: Path
    """Where their sockets are by which they talk to each other."""

    def encode(self) -> bytes:
        """Return what goes down the pipe."""
        data = pickle.dumps(self)
        return len(data).to_bytes(4, "big") + data

    @staticmethod
    def read(pipe: int) -> Work:
        """Return what comes out of it, and read no further."""
        size = int.from_bytes(_exactly(pipe, 4), "big")
        work = pickle.loads(_exactly(pipe, size))  # noqa: S301  # our own parent wrote it
        if not isinstance(work, Work):
            raise TypeError(f"this is no work: {type(work)}")
        return work


def _exactly(pipe: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(pipe, size - len(data))
        if not part:
            raise EOFError("nobody says what to do: this is for `tricord serve --processes` to start")
        data += part
    return data
