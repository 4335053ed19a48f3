"""Which servers answer, and how long those that do not are left alone.

The pause after a failure is a second at first and doubles up to an hour; any sign of life ends it.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from tricord.protocol.identifiers import ServerName

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 3600.0
# Names cost an attacker nothing, so only so many are remembered; the one forgotten is merely tried again.
_MOST_REMEMBERED = 20_000

_uniform = secrets.SystemRandom().uniform


@dataclass(slots=True)
class _Absence:
    """A server that does not answer."""

    pause_seconds: float
    until: float
    over: trio.Event = field(default_factory=trio.Event)


class PeerHealth:
    """What all who call other servers know together about which of them answer."""

    def __init__(
        self,
        *,
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
        jitter: Callable[[float, float], float] = _uniform,
    ) -> None:
        self._longest_pause_seconds = longest_pause_seconds
        self._jitter = jitter
        self._absent: OrderedDict[ServerName, _Absence] = OrderedDict()

    def may_be_called(self, server: ServerName) -> bool:
        """Return whether a call that nobody waits for may be tried now."""
        return self.pause_seconds(server) <= 0

    def pause_seconds(self, server: ServerName) -> float:
        """Return how long the server is still left alone; 0 if it is not."""
        absence = self._absent.get(server)
        return 0.0 if absence is None else max(0.0, absence.until - trio.current_time())

    def note_unreachable(self, server: ServerName) -> None:
        """Leave the server alone for a while, longer than the last time; further failures in that while say nothing."""
        absence = self._absent.get(server)
        now = trio.current_time()
        if absence is None:
            absence = self._absent[server] = _Absence(FIRST_PAUSE_SECONDS, now)
            if len(self._absent) > _MOST_REMEMBERED:
                _, forgotten = self._absent.popitem(last=False)
                forgotten.over.set()
        elif absence.until > now:
            return
        else:
            absence.pause_seconds = min(absence.pause_seconds * 2, self._longest_pause_seconds)
        absence.until = now + self._jitter(absence.pause_seconds * 0.75, absence.pause_seconds * 1.25)
        self._absent.move_to_end(server)

    def note_alive(self, server: ServerName) -> None:
        """Take note of a sign of life: an answer, or a request that the server signed."""
        absence = self._absent.pop(server, None)
        if absence is not None:
            absence.over.set()

    async def wait_until_callable(self, server: ServerName) -> None:
        """Return when the server may be called again: its pause is over, or it gave a sign of life."""
        while (absence := self._absent.get(server)) is not None and absence.until > trio.current_time():
            with trio.move_on_at(absence.until):
                await absence.over.wait()
