"""Which servers answer, and when to try again those that do not."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from tricord.protocol.identifiers import ServerName

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 3600.0
_MOST_SERVERS = 50_000


@dataclass(slots=True)
class _Trouble:
    failures: int
    again_at: float


@dataclass(slots=True)
class PeerHealth:
    """What is known of servers that failed us.

    A pause doubles from a second to an hour, jittered; any sign of life ends it.
    """

    jitter: Callable[[float, float], float] = secrets.SystemRandom().uniform
    _troubles: dict[ServerName, _Trouble] = field(default_factory=dict)
    _watchers: list[Callable[[ServerName], None]] = field(default_factory=list)

    def pause_seconds(self, server: ServerName) -> float:
        """Return how long to leave a server alone; 0 for one that is thought to be well."""
        trouble = self._troubles.get(server)
        return 0.0 if trouble is None else max(0.0, trouble.again_at - trio.current_time())

    def note_failure(self, server: ServerName) -> float:
        """Take in that a server did not answer; return how long to leave it alone."""
        trouble = self._troubles.pop(server, None) or _Trouble(0, 0.0)
        pause = min(_FIRST_PAUSE_SECONDS * 2**trouble.failures, _LONGEST_PAUSE_SECONDS)
        pause = self.jitter(pause * 0.8, pause * 1.2)
        self._troubles[server] = _Trouble(min(trouble.failures + 1, 32), trio.current_time() + pause)
        if len(self._troubles) > _MOST_SERVERS:
            del self._troubles[next(iter(self._troubles))]
        return pause

    def note_alive(self, server: ServerName) -> None:
        """Take in a sign of life: an answer, or a request of its own."""
        if self._troubles.pop(server, None) is not None:
            for watcher in self._watchers:
                watcher(server)

    def on_recovery(self, watcher: Callable[[ServerName], None]) -> None:
        """Call a function with each server that is there again."""
        self._watchers.append(watcher)
