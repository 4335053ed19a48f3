"""What the processes of a homeserver on one machine tell and ask each other.

PostgreSQL's notifications are short, cost a transaction each, and say only that something is new. Siblings tell each
other what it is: they leave it in their common memory (`news.py`), where each finds it at the latest when it is asked
for something. By a socket between each two of them they wake each other and ask questions: who waits for the news is
woken at once, all others in a moment, when more may have been left.

Nothing depends on it: what is told may be lost, but only together with a connection, so that both look into the
database when one ends and when the next one begins; and who knows that somebody is not reached tells everybody by a
notification. A question may stay without an answer, and who asked does the work alone.

The sockets are in a folder that nobody else may enter. Each process listens at one, and calls those before it.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Awaitable, Callable, Collection
from enum import IntEnum
from functools import partial
from pathlib import Path

import structlog
import trio

from tricord.homeserver.stream.common_memory import CommonMemory

__all__ = ["Siblings", "Topic"]

# The length of what follows, what it is, and of a question or an answer its number.
_HEAD = struct.Struct("!IBQ")
_QUESTION, _ANSWER, _GREETING, _BELL = 0, 1, 2, 3
# Of one that does not read, no more than this is kept.
_MOST_UNSENT = 16 << 20
# More would be taken from the system, and given back, each time.
_READ = 1 << 16
# Who does not wait for news is woken after so long for all that there are by then.
_GATHER_SECONDS = 0.05
_PAUSE_SECONDS = 0.05
_PATIENCE_SECONDS = 2

_logger = structlog.get_logger(__name__)

Answer = Callable[[bytes], Awaitable[bytes]]


class Topic(IntEnum):
    """What something is told about."""

    COMMITS = 1
    ROOMS = 2
    TURNS = 3


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
        self._answer: Answer | None = None
        self._on_loss: Callable[[], None] | None = None

    @property
    def family(self) -> str:
        """A name that all of them have in common, and nobody else has."""
        return self._folder.name

    @property
    def reached(self) -> frozenset[int]:
        """The places of those that can be told and asked now."""
        return frozenset(self._lines)

    @property
    def is_first(self) -> bool:
        """Whether this process has the first place of those that are there: it does what one of them is enough for."""
        return self._place < min(self._lines, default=self._count)

    def listen(self, topic: Topic, hear: Callable[[bytes], None]) -> None:
        """Call `hear` with all that the others tell about a topic, in the order in which each tells it."""
        self._listeners[topic] = hear

    def when_lost(self, look: Callable[[], None]) -> None:
        """Call `look` whenever something may have been told that was not heard: all until now has been told by then."""
        self._on_loss = look

    def answer_with(self, answer: Answer) -> None:
        """Answer the others' questions so. It raises nothing."""
        self._answer = answer

    def tell(self, topic: Topic, news: bytes) -> bool:
        """Leave news for the others; return whether all of them are reached, and keep up. Nobody is woken by that."""
        is_told = self._news.leave(topic, news, self._lines)
        if topic is Topic.COMMITS and is_told != self._keep_up:
            self._keep_up = is_told
            _logger.warning("the other processes keep up again" if is_told else "another process does not keep up")
        return is_told and len(self._lines) == self._count - 1

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

    async def ask(self, place: int, question: bytes) -> bytes | None:
        """Return what the process in a place answers; None if it does not, and then nobody knows what it did."""
        line = self._lines.get(place)
        return None if line is None else await line.ask(question)

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
        async with stream, trio.open_nursery() as nursery:
            line = self._lines[place] = _Line(stream)
            # It should not find that we are far behind.
            self._news.pass_over(place)
            line.send(_GREETING, 0, b"")
            nursery.start_soon(line.write)
            try:
                await line.read(partial(self._hear, nursery, place, line))
            finally:
                # If it has been replaced already, its successor may have called.
                if self._lines.get(place) is line:
                    del self._lines[place]
                    self._news.end(place)
                line.end()
                self._look()
            nursery.cancel_scope.cancel()

    def _hear(self, nursery: trio.Nursery, place: int, line: _Line, kind: int, number: int, said: bytes) -> None:
        if kind == _ANSWER:
            line.take_answer(number, said)
        elif kind == _QUESTION:
            nursery.start_soon(self._answer_to, line, number, said)
        elif kind == _BELL:
            self.hear()
        elif kind == _GREETING and self._lines.get(place) is line:
            # From now on it leaves us what we have not read. What it told before is in the database.
            self._news.begin(place)
            self._look()

    def _look(self) -> None:
        self.hear()
        if self._on_loss is not None:
            self._on_loss()

    async def _answer_to(self, line: _Line, number: int, question: bytes) -> None:
        if self._answer is not None:
            line.send(_ANSWER, number, await self._answer(question))


class _Question:
    """What was asked, until it is answered."""

    __slots__ = ("answer", "answered")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: bytes | None = None


class _Line:
    """A connection with another process. What is said while something is being sent goes along next."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._unsent = bytearray()
        self._has_more = trio.Event()
        self._numbers = itertools.count(1)
        self._asked: dict[int, _Question] = {}
        self._is_slow = False
        self._is_rung = False

    def ring(self) -> None:
        """Have the other process hear the news, once for all that there are until it is done."""
        if not self._is_rung:
            self._is_rung = self.send(_BELL, 0, b"")

    def send(self, kind: int, number: int, said: bytes) -> bool:
        """Send something, in its turn; return False, and do not, where too much waits already."""
        is_slow = len(self._unsent) + len(said) > _MOST_UNSENT
        if is_slow != self._is_slow:
            self._is_slow = is_slow
            _logger.warning("another process does not keep up" if is_slow else "the other process keeps up again")
        if is_slow:
            return False
        self._unsent += _HEAD.pack(len(said), kind, number)
        self._unsent += said
        self._has_more.set()
        return True

    async def ask(self, question: bytes) -> bytes | None:
        """Return the answer, if one comes in time."""
        number = next(self._numbers)
        if not self.send(_QUESTION, number, question):
            return None
        asked = self._asked[number] = _Question()
        try:
            with trio.move_on_after(_PATIENCE_SECONDS):
                await asked.answered.wait()
        finally:
            self._asked.pop(number, None)
        return asked.answer

    def take_answer(self, number: int, answer: bytes) -> None:
        """Hand an answer to who asked, if they still wait for it."""
        if (asked := self._asked.get(number)) is not None:
            asked.answer = answer
            asked.answered.set()

    def end(self) -> None:
        """Leave what has been asked without an answer."""
        for asked in self._asked.values():
            asked.answered.set()

    async def write(self) -> None:
        """Send what is to be sent, until the connection ends, which the reader notices."""
        try:
            while True:
                await self._has_more.wait()
                # Who is answered by a commit that is told goes along with it, so that the answer is not the later one.
                await trio.lowlevel.checkpoint()
                self._has_more = trio.Event()
                unsent, self._unsent = self._unsent, bytearray()
                self._is_rung = False
                await self._stream.send_all(unsent)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def read(self, hear: Callable[[int, int, bytes], None]) -> None:
        """Hand over all that comes, until the connection ends."""
        unread = bytearray()
        try:
            while part := await self._stream.receive_some(_READ):
                unread += part
                start = 0
                while len(unread) - start >= _HEAD.size:
                    length, kind, number = _HEAD.unpack_from(unread, start)
                    end = start + _HEAD.size + length
                    if len(unread) < end:
                        break
                    hear(kind, number, bytes(unread[start + _HEAD.size : end]))
                    start = end
                del unread[:start]
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
