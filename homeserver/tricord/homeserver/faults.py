"""Faults that an operator can mend are told in a sentence; all others are ours, and come with a traceback."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def faults_end_the_process() -> Iterator[None]:
    """End the process with the words of what went wrong inside the block."""
    try:
        yield
    except Exception as error:
        words = explained(error)
        if words is None:
            raise
        sys.exit(f"Error: {words}")


def explained(error: Exception) -> str | None:
    """Return the words for what went wrong, however deep in nurseries it was raised; None if it is ours."""
    words = [_words(fault) for fault in leaves(error)]
    known = [each for each in words if each is not None]
    return None if len(known) < len(words) else "\n".join(dict.fromkeys(known))


def leaves(error: BaseException) -> list[BaseException]:
    """Return what was raised, without the groups around it."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in leaves(part)]
    return [error]


def _words(fault: BaseException) -> str | None:
    from tricord.homeserver.demo.servers import DidNotStart
    from tricord.homeserver.processes.supervisor import ProcessFailed
    from tricord.homeserver.serving.sockets import CannotListen
    from tricord.homeserver.settings_sources import SettingsError
    from tricord.homeserver.signing_key import SigningKeyError
    from tricord.homeserver.storage.errors import DatabaseError
    from tricord.protocol.errors import MatrixError

    explained = (CannotListen, DidNotStart, ProcessFailed, SettingsError, SigningKeyError, DatabaseError, MatrixError)
    if isinstance(fault, explained):
        return str(fault)
    if isinstance(fault, OSError) and fault.filename is not None:
        name = fault.filename.decode() if isinstance(fault.filename, bytes) else fault.filename
        return f"{name}: {fault.strerror}"
    return None
