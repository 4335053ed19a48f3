"""Several processes that accept from one socket have an equal share of the connections."""

from __future__ import annotations

import mmap
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tricord.homeserver.serving.shares import Share, SharedListener
from tricord.homeserver.serving.sockets import open_socket
from tricord.homeserver.stream.common_memory import SIZE, Connections

_PATIENCE_SECONDS = 60


class Crowd:
    """Clients of two processes, which hold on to their connections until told otherwise."""

    def __init__(self, memory: mmap.mmap, *, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self.held = [Connections(memory, place) for place in range(2)]
        self.alive = [{1}, {0}]
        self._patience_seconds = patience_seconds
        self._socket = open_socket("127.0.0.1:0")
        self._clients: list[trio.SocketStream] = []

    async def accept(self, place: int) -> None:
        share = Share(self.held[place], lambda: self.alive[place], patience_seconds=self._patience_seconds)

        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                with share.held():
                    await stream.receive_some()

        await trio.serve_listeners(serve, [SharedListener(self._socket.dup(), share)])

    async def come(self, count: int) -> None:
        """Open connections at once, and return when all are accepted."""
        expected = sum(self.counts) + count

        async def one() -> None:
            self._clients.append(await trio.open_tcp_stream(*self._socket.getsockname()))

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one)
        await self._until(expected)

    async def go(self, count: int) -> None:
        """Close some connections, whosever they are."""
        random.shuffle(self._clients)
        expected = sum(self.counts) - count
        for _ in range(count):
            await self._clients.pop().aclose()
        await self._until(expected)

    @property
    def counts(self) -> list[int]:
        return [each.count for each in self.held]

    async def _until(self, expected: int) -> None:
        with trio.fail_after(_PATIENCE_SECONDS):
            while sum(self.counts) != expected:  # noqa: ASYNC110  # the memory tells nobody
                await trio.sleep(0.001)

    @asynccontextmanager
    async def served_by(self, *places: int) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            for place in places:
                nursery.start_soon(self.accept, place)
            yield
            nursery.cancel_scope.cancel()
        self._socket.close()


@pytest.fixture
def memory() -> mmap.mmap:
    return mmap.mmap(-1, SIZE)


@pytest.mark.parametrize("count", [2, 8, 32, 100])
async def test_a_burst_is_shared(memory: mmap.mmap, count: int) -> None:
    crowd = Crowd(memory)
    async with crowd.served_by(0, 1):
        await crowd.come(count)
        fewer, more = sorted(crowd.counts)
        assert more <= fewer + fewer // 8 + 1


async def test_who_has_lost_more_gets_more(memory: mmap.mmap) -> None:
    crowd = Crowd(memory)
    async with crowd.served_by(0, 1):
        for _ in range(5):
            await crowd.come(24)
            await crowd.go(16)
        missing = abs(crowd.counts[0] - crowd.counts[1])
        await crowd.come(missing + 16)
        fewer, more = sorted(crowd.counts)
        assert more <= fewer + fewer // 8 + 1


async def test_nobody_is_left_waiting_for_a_process_that_does_not_come(memory: mmap.mmap) -> None:
    crowd = Crowd(memory, patience_seconds=0)
    async with crowd.served_by(0):
        await crowd.come(20)
        assert crowd.counts == [20, 0]


async def test_what_a_dead_process_had_counts_no_longer(memory: mmap.mmap) -> None:
    crowd = Crowd(memory)
    crowd.alive[0].clear()
    async with crowd.served_by(0):
        await crowd.come(20)
        assert crowd.counts == [20, 0]
    assert Connections(memory, 1).count == 0


def test_the_one_with_the_fewest_connections_does_what_one_is_enough_for(memory: mmap.mmap) -> None:
    held = [Connections(memory, place) for place in range(3)]
    alive = {0, 1, 2}

    def share(place: int) -> Share:
        return Share(held[place], lambda: alive - {place})

    def smallest() -> list[int]:
        return [place for place in sorted(alive) if share(place).is_smallest]

    assert smallest() == [0]
    held[0].add(2)
    assert smallest() == [1]
    held[1].add(2)
    held[2].add(1)
    assert smallest() == [2]
    alive.remove(2)
    assert smallest() == [0]
