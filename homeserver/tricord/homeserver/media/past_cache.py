"""Past the cache that the system keeps of files: between the disk and buffers of our own, which are used over again.

To bring new memory into the cache and copy a file there can cost more than to write it. What goes past the cache goes
by whole blocks (`O_DIRECT` in open(2)); not every file system can do that, and macOS has no such thing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Iterator

BLOCK = 4096
"""What the disks and file systems in use take as whole, in places and in lengths."""
BUFFER_BYTES = 1 << 20
LEAST_PAST_CACHE = 1 << 17
"""Less is in the cache before the disk is asked."""
DIRECT = getattr(os, "O_DIRECT", 0)
"""Opens a file past the cache, if this system can do that at all."""
MOST_PAST_CACHE = 8 << 20
"""Of larger files, the cache reads ahead what comes next: that is quicker than one buffer after the other."""

_MOST_BUFFERS = 8
_MOST_UNREAD = 10_000


class PastCache:
    """A few buffers, each as large as what is written at once, for threads to borrow; and what nobody has read yet."""

    def __init__(self, most_buffers: int = _MOST_BUFFERS) -> None:
        self._may_be_lent = threading.Semaphore(most_buffers)
        self._free: list[mmap.mmap] = []
        # The digests of what has been written, the oldest first.
        self._unread: dict[bytes, None] = {}

    @contextlib.contextmanager
    def buffer(self) -> Iterator[memoryview | None]:
        """Lend a buffer; None if all are lent: who waited for one would hold up a thread."""
        if not self._may_be_lent.acquire(blocking=False):
            yield None
            return
        try:
            try:
                buffer = self._free.pop()
            except IndexError:
                buffer = mmap.mmap(-1, BUFFER_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            with memoryview(buffer) as view:
                yield view
            self._free.append(buffer)
        finally:
            self._may_be_lent.release()

    def note_written(self, digest: bytes) -> None:
        """Note that a file has been written past the cache."""
        self._unread[digest] = None
        if len(self._unread) > _MOST_UNREAD:
            with contextlib.suppress(StopIteration, RuntimeError):  # another thread may do the same
                self._unread.pop(next(iter(self._unread)), None)

    def is_unread(self, digest: bytes) -> bool:
        """Whether a file has been written so, and this is asked for the first time since."""
        return self._unread.pop(digest, self) is None

    def let_go(self) -> None:
        """Give back the buffers that nobody uses."""
        self._free.clear()


def go_past_cache(descriptor: int) -> bool:
    """Have what is read from a file and written to it go past the cache; False if it cannot."""
    if not DIRECT:
        return False
    try:
        # Not as the file is opened: where that cannot be, it would be made all the same.
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | DIRECT)
    except OSError:
        return False
    return True


def go_through_cache(descriptor: int) -> None:
    """Have it go through the cache again."""
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~DIRECT)


def write_blocks(descriptor: int, buffer: memoryview, count: int, end: int) -> int:
    """Write what a buffer begins with past the cache; return how much of it, which is not all if that is refused.

    The file ends with these bytes, at `end`, if they do not fill their last block; in the buffer, zeros follow them.
    """
    whole = count + -count % BLOCK
    buffer[count:whole] = bytes(whole - count)
    written = 0
    while written < whole:
        try:
            written += os.write(descriptor, buffer[written:whole])
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            break  # it may want larger blocks
    if written > count:
        os.ftruncate(descriptor, end)
    return min(written, count)
