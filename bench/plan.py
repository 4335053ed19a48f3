"""What a run does, and how long it will take."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Sequence

from bench import federation, scenarios

STARTS = "starts"
EVERYTHING = (*scenarios.ALL, STARTS, *federation.ALL)
BY_DEFAULT = [name for name in EVERYTHING if name not in scenarios.ALL or not scenarios.ALL[name].on_request]
# Until all are calm before a turn, and what starts and ends a part.
_EACH_TURN_SECONDS, _EACH_PART_SECONDS = 3.0, 20.0
_STARTS_SECONDS = 20.0


class Plan:
    """The parts of a run, and how long each takes on a quiet machine of two cores."""

    def __init__(self, names: Sequence[str], *, synapse: bool, rounds: int, seconds: float, share: float) -> None:
        self._began = time.perf_counter()
        self._done = 0.0
        self._expected: dict[str, float] = {}
        for name in names:
            expected = _STARTS_SECONDS
            if name in scenarios.ALL:
                one = scenarios.ALL[name]
                sides = 2 if synapse and not one.ours_alone else 1
                work = (one.our_seconds + (one.synapse_seconds if sides == 2 else 0)) * share
                expected = rounds * (work + sides * (_EACH_TURN_SECONDS + one.rates * seconds))
            elif name in federation.ALL:
                two = federation.ALL[name]
                work = (two.our_seconds + (two.synapse_seconds if synapse else 0)) * share
                expected = rounds * (work + 2 * _EACH_TURN_SECONDS)
            self._expected[name] = expected
        self._expected_of_all = sum(self._expected.values()) + 2 * _EACH_PART_SECONDS

    def told(self) -> Iterator[str]:
        """Tell what will be done."""
        for name, seconds in self._expected.items():
            yield f"{name:<18} {seconds:>5.0f} s  {_words(name)}"
        yield f"together about {self._expected_of_all / 60:.0f} minutes on a quiet machine of two cores"

    def progress(self, done: str) -> str:
        """Note that a part is done; tell how far the run is."""
        self._done += self._expected.pop(done, 0)
        until_now = time.perf_counter() - self._began
        pace = max(1.0, until_now / (self._done + _EACH_PART_SECONDS))
        left = pace * sum(self._expected.values())
        return f"({until_now / 60:.1f} minutes until now, about {left / 60:.0f} more)"


def _words(name: str) -> str:
    if name == STARTS:
        return "Stop both and start them again."
    act = (scenarios.ALL | federation.ALL)[name].act
    return inspect.getdoc(act) or ""
