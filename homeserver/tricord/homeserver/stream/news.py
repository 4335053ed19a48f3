"""News that the processes of a homeserver leave for each other in their common memory, until somebody reads them.

Each process writes into a ring of its own, and notes how far it has read in those of the others. To leave news costs a
copy, and nobody is woken by it: who is to be woken, and when, is for `siblings.py` to decide. What has not been read by
somebody whom the writer knows is not overwritten; where there is no room for more, the writer is told so.

Not every processor lets others see what it writes in the order in which it has written it. So news have a checksum, and
what is not whole yet is read later: at the latest when somebody is woken for it, since a socket keeps that order.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection, Iterator
from zlib import crc32

MOST_PROCESSES = 64
# A cache line each, so that writers do not slow each other down.
_STRIDE = 8
# The length of what follows, what it is about, and a checksum.
_HEAD = struct.Struct("!IBI")
_HEAD_SIZE = _HEAD.size
_RING = 1 << 19
# So much unread is reason enough to wake a reader; nothing larger is left as one.
_MUCH = _RING // 4

_WRITTEN = MOST_PROCESSES * _STRIDE * 8
_READ = _WRITTEN + MOST_PROCESSES * MOST_PROCESSES * 8
# The rings come last: of those that nobody writes to, no memory is taken.
SIZE = _READ + MOST_PROCESSES * _RING


class News:
    """What one of the processes leaves for the others, and reads of theirs."""

    def __init__(self, memory: mmap.mmap, start: int, place: int, processes: int) -> None:
        whole = memoryview(memory)[start : start + SIZE]
        # Counted in bytes from the very beginning, however often a ring has been filled.
        self._written = whole[:_WRITTEN].cast("q")
        self._read = whole[_WRITTEN:_READ].cast("q")
        self._rings = [whole[_READ + each * _RING : _READ + (each + 1) * _RING] for each in range(processes)]
        self._place = place
        self._own = self._rings[place]
        self._end = place * _STRIDE
        # How far each of the others has read here.
        self._marks = [self._mark(reader, place) for reader in range(processes)]
        self._writers: set[int] = set()

    def begin(self, writer: int) -> None:
        """Read what a process leaves from now on. It must know of it: from others it would be overwritten."""
        self.pass_over(writer)
        self._writers.add(writer)

    def pass_over(self, writer: int) -> None:
        """Leave unread what a process has left until now."""
        self._read[self._mark(self._place, writer)] = self._written[writer * _STRIDE]

    def end(self, writer: int) -> None:
        """Read nothing of a process any more."""
        self._writers.discard(writer)

    def leave(self, topic: int, news: bytes, readers: Collection[int]) -> bool:
        """Leave something for those in some places; return whether there is room for it."""
        written, length = self._written[self._end], len(news)
        end = written + _HEAD_SIZE + length
        if end - written > _MUCH:
            return False
        for reader in readers:
            if end - self._read[self._marks[reader]] > _RING:
                return False
        head = _HEAD.pack(length, topic, _checksum(news, written))
        _put(self._own, written, head + news)
        # Only now can it be seen.
        self._written[self._end] = end
        return True

    def is_much_for(self, reader: int) -> bool:
        """Return whether a reader should be woken to make room."""
        return self._written[self._end] - self._read[self._marks[reader]] > _MUCH

    def has_some_for(self, reader: int) -> bool:
        """Return whether there is something that a reader has not read."""
        return self._written[self._end] > self._read[self._marks[reader]]

    def take(self) -> Iterator[tuple[int, bytes]]:
        """Give all that others have left and that was not read yet, in the order in which each left it."""
        for writer in self._writers:
            written, mark = self._written[writer * _STRIDE], self._mark(self._place, writer)
            ring = self._rings[writer]
            while (at := self._read[mark]) < written:
                length, topic, checksum = _HEAD.unpack(_get(ring, at, _HEAD_SIZE))
                if length > _MUCH:
                    break
                news = _get(ring, at + _HEAD_SIZE, length)
                if _checksum(news, at) != checksum:
                    break
                self._read[mark] = at + _HEAD_SIZE + length
                yield topic, news

    @staticmethod
    def _mark(reader: int, writer: int) -> int:
        return reader * MOST_PROCESSES + writer


def _checksum(news: bytes, at: int) -> int:
    # By its place, too: what has been left there before, when the ring was filled the last time, is whole as well.
    return crc32(news, at & 0xFFFFFFFF)


def _put(ring: memoryview, at: int, data: bytes) -> None:
    at %= _RING
    if (end := at + len(data)) <= _RING:
        ring[at:end] = data
    else:
        ring[at:] = data[: _RING - at]
        ring[: end - _RING] = data[_RING - at :]


def _get(ring: memoryview, at: int, length: int) -> bytes:
    at %= _RING
    first = min(length, _RING - at)
    data = bytes(ring[at : at + first])
    return data if first == length else data + bytes(ring[: length - first])
