"""A memory of what was used lately, within a budget, in which to use something costs next to nothing.

There are two generations. What is used comes into the younger one; when that has got its half of the budget, or has
become old, it takes the place of the older one, and what is still there has not been used for a generation.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Generations(Generic[K, V]):
    """Values by key; None is no value."""

    def __init__(self, budget: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._half = budget // 2
        self._weigh = weigh
        self._weight = 0
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Return a value that is here: it has been used now."""
        value = self._young.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value."""
        self._old.pop(key, None)
        if (before := self._young.get(key)) is not None:
            self._weight -= self._weigh(before)
        self._young[key] = value
        self._weight += self._weigh(value)
        if self._weight > self._half:
            self.age()

    def age(self) -> None:
        """Begin a new generation, and forget the older one."""
        self._old, self._young, self._weight = self._young, {}, 0

    def clear(self) -> None:
        """Forget everything."""
        self._old, self._young, self._weight = {}, {}, 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
