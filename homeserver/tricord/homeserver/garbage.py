"""How Python looks for cycles of garbage in a server."""

from __future__ import annotations

import gc

_NEVER = 1_000_000


def collect_new() -> None:
    """Let Python look for cycles of garbage only among what is new, while a server starts: what was loaded stays.

    A class with slots is made twice, and the first thrown away: to look for nothing at all would leave 1 MiB behind.
    """
    gc.set_threshold(5_000, _NEVER, _NEVER)


def collect_seldom() -> None:
    """Let Python look for cycles of garbage seldom, and never among what is there from the start.

    Almost nothing here is freed by that, and each full look stops the server for as long as its memory is large.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
