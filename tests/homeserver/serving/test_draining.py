"""Stopping: nobody new, who only waits is let go, what is under way ends, and none of it for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from structlog.testing import capture_logs

from tests.homeserver.serving.house import House, Wire, opened, request, settled, wire


@asynccontextmanager
async def stoppable(house: House, *, everything_by_quart: bool, drain_seconds: float = 60) -> AsyncIterator[Stop]:
    """Serve the house until told to stop."""
    stop = Stop()

    async def serve(task_status: trio.TaskStatus[str]) -> None:
        async with opened(house, everything_by_quart=everything_by_quart, drain_seconds=drain_seconds) as address:
            task_status.started(address)
            await stop.wanted.wait()
        stop.done.set()

    async with trio.open_nursery() as nursery:
        stop.address = await nursery.start(serve)
        yield stop
        nursery.cancel_scope.cancel()


class Stop:
    def __init__(self) -> None:
        self.address = ""
        self.wanted = trio.Event()
        self.done = trio.Event()


async def test_idle_connections_end_at_once(house: House, by_quart: bool) -> None:
    async with stoppable(house, everything_by_quart=by_quart) as server:
        async with wire(server.address) as fresh, wire(server.address) as used:
            await used.ask(request("GET", "/address"))
            started = trio.current_time()
            server.wanted.set()
            assert await fresh.to_the_end() == b""
            assert await used.to_the_end() == b""
            await server.done.wait()
        assert trio.current_time() - started < 30


async def test_who_waits_is_told_to_try_again(house: House, by_quart: bool) -> None:
    with capture_logs() as logs:
        async with stoppable(house, everything_by_quart=by_quart) as server, wire(server.address) as client:
            await client.say(request("POST", "/waits", b"{}"))
            await house.started.wait()
            server.wanted.set()
            reply = await client.reply()
            assert (reply.status, reply.headers["retry-after"], reply.headers["connection"]) == (503, "1", "close")
            assert house.cancelled.is_set()
            assert await client.to_the_end() == b""
            await server.done.wait()
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


async def test_what_is_under_way_ends_with_its_answer(house: House, by_quart: bool) -> None:
    async with stoppable(house, everything_by_quart=by_quart) as server, wire(server.address) as client:
        await client.say(request("POST", "/works", b"{}"))
        await house.started.wait()
        server.wanted.set()
        await settled()
        assert not server.done.is_set()
        house.release.set()
        reply = await client.reply()
        assert (reply.status, reply.json, reply.headers["connection"]) == (200, {"worked": True}, "close")
        assert await client.to_the_end() == b""
        await server.done.wait()


async def test_what_does_not_end_is_cut_off(house: House, by_quart: bool) -> None:
    async with stoppable(house, everything_by_quart=by_quart, drain_seconds=0.05) as server:
        async with wire(server.address) as client:
            await client.say(request("POST", "/works", b"{}"))
            await house.started.wait()
            server.wanted.set()
            assert await client.to_the_end() == b""
            await server.done.wait()
        assert house.cancelled.is_set()


async def test_nobody_new_is_let_in(house: House) -> None:
    async with stoppable(house, everything_by_quart=False) as server, wire(server.address) as client:
        await client.say(request("POST", "/works", b"{}"))
        await house.started.wait()
        server.wanted.set()
        await settled()
        with pytest.raises(OSError, match=r"refused|all attempts"):
            await trio.open_tcp_stream(*_host_and_port(server.address))


async def test_a_websocket_is_told_that_the_server_goes_away(house: House) -> None:
    async with stoppable(house, everything_by_quart=False) as server, wire(server.address) as client:
        upgrade = request(
            "GET",
            "/chat",
            b"",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        assert (await client.ask(upgrade)).status == 101
        await house.started.wait()
        await settled()
        server.wanted.set()
        assert b"\x88\x02\x03\xe9" in await _frames(client)


async def _frames(client: Wire) -> bytes:
    while b"\x88" not in client.read:
        await client.more()
    await client.exactly(0)
    while len(client.read) - client.read.index(b"\x88") < 4:
        await client.more()
    return client.read


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.partition(":")
    return host, int(port)
