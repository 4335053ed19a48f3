"""Where a server may be: hosts and ports, and the order in which to try them."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

_random = secrets.SystemRandom()


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A host and port that might be connected to; lower priorities first, among equals by chance and weight."""

    priority: int
    host: str
    port: int
    weight: int = 0

    @classmethod
    def at(cls, host: str, port: int) -> Place:
        """Return the one place that there is."""
        return cls(0, host, port)


def in_order(places: Iterable[Place]) -> list[Place]:
    """Return places in the order to try them, by priority, and by chance as their weights have it.

    https://www.rfc-editor.org/rfc/rfc2782
    """
    ordered: list[Place] = []
    for _, equals in groupby(sorted(places), key=lambda place: place.priority):
        left = list(equals)
        while left:
            # One more than the weight, so that those of no weight get their turn at all.
            chosen = _random.choices(left, [place.weight + 1 for place in left])[0]
            left.remove(chosen)
            ordered.append(chosen)
    return ordered
