"""How Python looks for cycles of garbage in a server."""

from __future__ import annotations

import gc


def collect_nothing() -> None:
    """Let Python look for no garbage while a server starts: there is none among what is being loaded."""
    gc.disable()


def collect_seldom() -> None:
    """Let Python look for cycles of garbage seldom, and never among what is there from the start.

    Almost nothing here is freed by that, and each full look stops the server for as long as its memory is large.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()
