"""Faults that an operator can mend end a command with a sentence; all others are ours, and come with a traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click


@contextlib.contextmanager
def faults_explained() -> Iterator[None]:
    """End the command with the words of what went wrong inside the block, however deep in nurseries it was raised."""
    try:
        yield
    except click.ClickException:
        raise
    except Exception as error:
        faults = _leaves(error)
        if any(isinstance(fault, click.Abort) for fault in faults):
            # At a question: no, or Ctrl-C.
            raise click.Abort from None
        words = [_words(fault) for fault in faults]
        known = [each for each in words if each is not None]
        if len(known) < len(words):
            raise
        raise click.ClickException("\n".join(dict.fromkeys(known))) from None


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
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
