"""Token buckets: how often something may happen, for each of many."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Hashable

import trio
from pydantic import Field

from tricord.homeserver.section import Section
from tricord.homeserver.stream.common_memory import Buckets
from tricord.protocol.errors import LimitExceeded


class Rate(Section):
    """How often something may happen."""

    per_second: float = Field(gt=0, description="what is regained each second")
    burst: int = Field(gt=0, description="how many may come at once")


class TokenBuckets:
    """A bucket for each key, full at first.

    Bounded: beyond `limit` keys the one that was used longest ago is forgotten, which is to say full again.
    `common` are those of all processes on this machine, where there are several.
    """

    def __init__(self, name: str, rate: Rate, common: Buckets | None = None, *, limit: int = 100_000) -> None:
        self._name = name
        self._rate = rate
        self._limit = limit
        self._common = common
        # Key to (what is left, when that was so), in order of use.
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def check(self, key: Hashable) -> None:
        """Raise LimitExceeded if nothing is left; take nothing."""
        self._require(self._left(key))

    def take(self, key: Hashable, cost: int = 1) -> None:
        """Take `cost` out of the bucket of `key`; raise LimitExceeded if it is empty.

        A cost above what is left is granted and owed, so that a batch larger than the burst can pass at all.
        """
        left = self._left(key)
        self._require(left)
        if self._common is not None:
            self._common.put(self._name, key, left - cost, time.monotonic())
            return
        self._buckets[key] = (left - cost, trio.current_time())
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._limit:
            self._buckets.popitem(last=False)

    def _left(self, key: Hashable) -> float:
        if self._common is None:
            bucket, now = self._buckets.get(key), trio.current_time()
        else:
            # trio's clock begins anywhere, and elsewhere in each process.
            bucket, now = self._common.get(self._name, key), time.monotonic()
        if bucket is None:
            return self._rate.burst
        left, then = bucket
        return min(self._rate.burst, left + (now - then) * self._rate.per_second)

    def _require(self, left: float) -> None:
        if left < 1:
            wait_ms = math.ceil((1 - left) / self._rate.per_second * 1000)
            raise LimitExceeded(f"too many requests ({self._name})", retry_after_ms=wait_ms)
