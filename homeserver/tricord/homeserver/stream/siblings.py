"""What the processes of a homeserver on one machine tell each other.

PostgreSQL's notifications are short, cost a transaction each, and say only that something is new. Siblings tell each
other what it is: they leave it in their common memory (`news.py`), where each finds it at the latest when it is asked
for something. A socket between each two of them is the bell: who waits for the news is woken at once, all others in a
moment, when more may have been left.

Nothing depends on it: what is told may be lost, but only together with a connection, so that both look into the
database when one ends and when the next one begins; and who knows that somebody is not reached tells everybody by a
notification.

The sockets are in a folder that nobody else may enter. Each process listens at one, and calls those before it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from enum import IntEnum
from pathlib import Path

import structlog
import trio

from tricord.homeserver.stream.common_memory import CommonMemory

__all__ = ["Siblings", "Topic"]

# What it is does not matter.
_BELL = b"!"
# Many bells are one.
_READ = 1 << 12
# Who does not wait for news is woken after so long for all that there are by then.
_GATHER_SECONDS = 0.25
_PAUSE_SECONDS = 0.05

_logger = structlog.get_logger(__name__)


class Topic(IntEnum):
    """What something is told about."""

    COMMITS = 1
    ROOMS = 2
    HEADS = 3


class Siblings:
    """The other processes, as one of them reaches them."""

    def __init__(self, folder: Path, memory: CommonMemory) -> None:
        self.interests = memory.interests
        """Of which rooms each of them wants to hear."""
        self._folder = folder
        self._news = memory.news
        self._place = memory.place
        self._count = memory.processes
        self._is_hearing = False
        self._has_left_some = trio.Event()
        self._keep_up = True
        self._lines: dict[int, _Line] = {}
        self._listeners: dict[int, Callable[[bytes], None]] = {}
        self._on_bell: list[Callable[[], None]] = []
        self._on_loss: Callable[[], None] | None = None

    @property
    def family(self) -> str:
        """A name that all of them have in common, and nobody else has."""
        return self._folder.name

    @property
    def reached(self) -> frozenset[int]:
        """The places of those that can be told something now."""
        return frozenset(self._lines)

    def reaches(self, place: int) -> bool:
        """Return whether the process in a place can be told something now."""
        return place in self._lines

    def listen(self, topic: Topic, hear: Callable[[bytes], None]) -> None:
        """Call `hear` with all that the others tell about a topic, in the order in which each tells it."""
        self._listeners[topic] = hear

    def when_lost(self, look: Callable[[], None]) -> None:
        """Call `look` whenever something may have been told that was not heard: all until now has been told by then."""
        self._on_loss = look

    def when_rung(self, look: Callable[[], None]) -> None:
        """Call `look` whenever another process rings, once its news have been heard."""
        self._on_bell.append(look)

    def tell(self, topic: Topic, news: bytes) -> bool:
        """Leave news for the others; return whether all of them are reached, and keep up. Nobody is woken by that."""
        is_told = self._news.leave(topic, news, self._lines)
        if topic is Topic.COMMITS and is_told != self._keep_up:
            self._keep_up = is_told
            _logger.warning("the other processes keep up again" if is_told else "another process does not keep up")
        return is_told and len(self._lines) == self._count - 1

    def ring(self, places: Collection[int]) -> None:
        """Have those in some places look at the common memory now."""
        for place in places:
            if (line := self._lines.get(place)) is not None:
                line.ring()

    def wake(self, awaiting: Collection[int]) -> None:
        """Have the others hear the news: those in some places at once, and the rest in a moment."""
        for place, line in self._lines.items():
            if place in awaiting or self._news.is_much_for(place):
                line.ring()
            else:
                self._has_left_some.set()

    def hear(self) -> None:
        """Hear all that the others have told until now."""
        if self._is_hearing:
            return
        self._is_hearing = True
        try:
            for topic, news in self._news.take():
                if (hear := self._listeners.get(topic)) is not None:
                    hear(news)
        finally:
            self._is_hearing = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep in touch, for ever."""
        path = self._folder / str(self._place)
        # The process that was in this place before has died.
        path.unlink(missing_ok=True)
        with trio.socket.socket(socket.AF_UNIX) as listening:
            await listening.bind(str(path))
            listening.listen()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, self._be_called, [trio.SocketListener(listening)])
                for place in range(self._place):
                    nursery.start_soon(self._call, place)
                nursery.start_soon(self._wake_in_a_moment)
                task_status.started()

    async def _wake_in_a_moment(self) -> None:
        while True:
            await self._has_left_some.wait()
            await trio.sleep(_GATHER_SECONDS)
            self._has_left_some = trio.Event()
            for place, line in self._lines.items():
                if self._news.has_some_for(place):
                    line.ring()

    async def _call(self, place: int) -> None:
        while True:
            try:
                stream = await trio.open_unix_socket(str(self._folder / str(place)))
                await stream.send_all(bytes([self._place]))
            except (OSError, trio.BrokenResourceError):
                pass  # it does not serve yet, or no longer
            else:
                await self._speak(place, stream)
            await trio.sleep(_PAUSE_SECONDS)

    async def _be_called(self, stream: trio.SocketStream) -> None:
        try:
            said = await stream.receive_some(1)
        except trio.BrokenResourceError:
            said = b""
        if said and said[0] < self._count:
            await self._speak(said[0], stream)

    async def _speak(self, place: int, stream: trio.SocketStream) -> None:
        async with stream:
            line = self._lines[place] = _Line(stream)
            # It should not find that we are far behind.
            self._news.pass_over(place)
            line.ring()
            try:
                if await line.is_rung() and self._lines.get(place) is line:
                    # From now on it leaves us what we have not read. What it told before is in the database.
                    self._news.begin(place)
                    self._look()
                    while await line.is_rung():
                        self.hear()
                        for look in self._on_bell:
                            look()
            finally:
                # If it has been replaced already, its successor may have called.
                if self._lines.get(place) is line:
                    del self._lines[place]
                    self._news.end(place)
                self._look()

    def _look(self) -> None:
        self.hear()
        if self._on_loss is not None:
            self._on_loss()


class _Line:
    """A connection with another process. Whatever comes says the same: there is something to look at."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    def ring(self) -> None:
        """Have the other process look; at once, since who waits for it should not wait for what we do next."""
        # Where there is no room for more, it has not looked for long, and will. Who reads sees that a connection ends.
        with suppress(OSError):
            os.write(self._stream.socket.fileno(), _BELL)

    async def is_rung(self) -> bool:
        """Wait until the other process has rung; return False if the connection ends."""
        try:
            return bool(await self._stream.receive_some(_READ))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
