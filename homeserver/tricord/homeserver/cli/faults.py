"""Faults that an operator can mend end a command with a sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from tricord.homeserver.faults import explained, leaves


@contextlib.contextmanager
def faults_explained() -> Iterator[None]:
    """End the command with the words of what went wrong inside the block."""
    try:
        yield
    except click.ClickException:
        raise
    except Exception as error:
        if any(isinstance(fault, click.Abort) for fault in leaves(error)):
            # At a question: no, or Ctrl-C.
            raise click.Abort from None
        words = explained(error)
        if words is None:
            raise
        raise click.ClickException(words) from None
