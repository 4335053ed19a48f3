"""What the C library keeps is given back; each test in a process of its own, since the settings are for all of it."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

_HAS_GLIBC = hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
pytestmark = pytest.mark.skipif(not _HAS_GLIBC, reason="only glibc can be told")

_BEGINNING = """
import ctypes
import threading
from tricord.homeserver import heap

heap.keep_one_heap()
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]

class Told(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

library.mallinfo2.restype = Told

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def filled(size):
    block = library.malloc(size)
    ctypes.memset(block, 1, size)
    return block
"""


def _run(rest: str) -> None:
    command = [sys.executable, "-c", _BEGINNING + rest]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_free_between_blocks_in_use_goes_back_every_minute() -> None:
    _run("""
import trio
import trio.testing

blocks = [filled(8_000) for _ in range(8_000)]
full = resident()
for number, block in enumerate(blocks):
    if number % 100:
        library.free(block)
assert resident() > full - (16 << 20), "the heap gives back of itself what is free in the middle: no need for us"

async def until_given_back():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.give_back_memory)
        while resident() > full - (32 << 20):
            # The first wait lets a minute pass: nobody else has anything to do. The second is for the thread.
            await trio.sleep(60)
            await trio.to_thread.run_sync(lambda: None)
        nursery.cancel_scope.cancel()

trio.run(until_given_back, clock=trio.testing.MockClock(autojump_threshold=0))
""")


def test_a_large_block_goes_back_at_once_and_the_next_one_too() -> None:
    _run("""
for _ in range(3):
    before = library.mallinfo2().arena
    block = filled(20 << 20)
    during = resident()
    assert library.mallinfo2().arena < before + (1 << 20), "it is among the small ones"
    library.free(block)
    assert resident() < during - (19 << 20)
""")


def test_threads_share_one_heap() -> None:
    _run("""
def in_a_thread():
    kept.append([filled(1_000) for _ in range(10_000)])

kept = []
threads = [threading.Thread(target=in_a_thread) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with open("/proc/self/maps") as file:
    (line,) = [line for line in file if line.endswith("[heap]\\n")]
start, end = (int(part, 16) for part in line.split()[0].split("-"))
assert all(start <= block < end for blocks in kept for block in blocks)
""")
