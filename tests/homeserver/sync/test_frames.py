"""Writing frames straight to the socket, read by a client that knows nothing of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import WebSocketConnection, WebSocketRequest, open_websocket, serve_websocket

from tricord.homeserver.sync.frames import GIVE_UP_SECONDS, PATIENCE_SECONDS, FellBehind, FrameWriter, Gone, text_frame


@asynccontextmanager
async def conversation(
    serve: Callable[[WebSocketConnection], Awaitable[None]],
) -> AsyncIterator[WebSocketConnection]:
    async def handle(request: WebSocketRequest) -> None:
        await serve(await request.accept())

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, handle, "127.0.0.1", 0, None)
        async with open_websocket("127.0.0.1", server.port, "/", use_ssl=False, max_message_size=100_000_000) as client:
            yield client
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 3_000_000])
async def test_a_message_of_any_size_arrives(size: int) -> None:
    async def serve(connection: WebSocketConnection) -> None:
        writer = FrameWriter(connection)
        await writer.send(b"x" * size)
        await writer.send(b"the next one")

    async with conversation(serve) as client:
        assert await client.get_message() == "x" * size
        assert await client.get_message() == "the next one"


async def test_pongs_do_not_land_inside_of_a_message() -> None:
    async def serve(connection: WebSocketConnection) -> None:
        writer = FrameWriter(connection)
        for _ in range(20):
            await writer.send(b"x" * 1_000_000)

    async with conversation(serve) as client, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(client.ping)
        for _ in range(20):
            assert await client.get_message() == "x" * 1_000_000


async def test_a_slow_reader_is_noticed_and_a_gone_one_given_up(mock_clock: MockClock) -> None:
    mock_clock.rate = 1
    fell_behind, gone = trio.Event(), trio.Event()

    async def serve(connection: WebSocketConnection) -> None:
        writer = FrameWriter(connection)
        while not gone.is_set():
            try:
                await writer.send(b"x" * 1_000_000)
            except FellBehind:
                fell_behind.set()
            except Gone:
                gone.set()

    with trio.fail_after(PATIENCE_SECONDS + GIVE_UP_SECONDS + 60):
        async with conversation(serve) as client:
            await wait_all_tasks_blocked(0.01)
            mock_clock.jump(PATIENCE_SECONDS + 1)
            while not fell_behind.is_set():
                await client.get_message()
            await wait_all_tasks_blocked(0.01)
            assert not gone.is_set()
            mock_clock.jump(GIVE_UP_SECONDS + 1)
            await gone.wait()


def test_a_frame_is_what_rfc_6455_says() -> None:
    assert text_frame(b"Hello") == bytes.fromhex("810548656c6c6f")
    assert text_frame(b"x" * 256)[:4] == bytes.fromhex("817e0100")
    assert text_frame(b"x" * 65_536)[:10] == bytes.fromhex("817f0000000000010000")
