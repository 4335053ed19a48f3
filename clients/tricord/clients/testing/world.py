"""What all parts of the homeserver in memory share: positions, the clock, and waking those who wait."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import trio

from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import ServerName
from tricord.protocol.signing import SigningKey


class World:
    """One sequence of positions for everything that changes; its time is trio's, so that a fake clock moves it too."""

    def __init__(self, server_name: ServerName) -> None:
        self.server_name = server_name
        self.key = SigningKey.generate()
        self.position = 0
        self._last_event_ms = 0
        self._changed = trio.Event()
        # What ends by itself, as typing does: when, and what is to be done.
        self._alarms: list[tuple[float, Callable[[], None]]] = []
        self._began_ms = time.time() * 1000 - trio.current_time() * 1000

    def now_ms(self) -> int:
        """Return the time, in milliseconds since 1970."""
        return int(self._began_ms + trio.current_time() * 1000)

    def next_event_ms(self) -> int:
        """Return the time for an event, each its own: on a clock that stands still equal rooms would be one."""
        self._last_event_ms = max(self._last_event_ms + 1, self.now_ms())
        return self._last_event_ms

    def take_position(self) -> int:
        """Return the position of a change, and wake whoever waits for one."""
        self.position += 1
        self._changed.set()
        self._changed = trio.Event()
        return self.position

    def set_alarm(self, after_seconds: float, action: Callable[[], None]) -> None:
        """Let something be done later: when the time has come and somebody looks."""
        self._alarms.append((trio.current_time() + after_seconds, action))
        self.take_position()

    def ring(self) -> None:
        """Do what the time has come for."""
        now = trio.current_time()
        due = [action for at, action in self._alarms if at <= now]
        self._alarms = [(at, action) for at, action in self._alarms if at > now]
        for action in due:
            action()

    async def change(self) -> None:
        """Wait until something changes."""
        with trio.move_on_at(min((at for at, _ in self._alarms), default=math.inf)):
            await self._changed.wait()
        self.ring()


def token(position: int) -> str:
    """Return a position as clients are given it: it lies behind everything up to there."""
    return f"s{position}"


def position_of(text: str) -> int:
    """Return the position of a token. Raises InvalidParam."""
    if text[:1] != "s" or not text[1:].isascii() or not text[1:].isdecimal():
        raise InvalidParam("this is not a position that was given out here")
    return int(text[1:])
