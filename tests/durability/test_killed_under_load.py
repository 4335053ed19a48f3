"""The server is killed while people send: what it acknowledged is there, once, and in an order that everybody sees."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.durability.senders import House, Reader, Sender, history, settled, texts
from tests.servers import ServerProcess, server_process

pytestmark = pytest.mark.slow

SENDERS = 20
_PATIENCE_SECONDS = 60


async def test_nothing_is_lost_or_doubled_when_the_server_is_killed_ten_times(
    database_url: str, tmp_path: Path
) -> None:
    async with server_process(database_url, tmp_path) as server:
        house = await settled(server.url, people=4, rooms=3)
        await _kill_under_load(server, house, times=10)


async def test_nothing_is_lost_when_the_server_is_killed_with_its_own_postgresql(tmp_path: Path) -> None:
    async with server_process("", tmp_path) as server:
        house = await settled(server.url, people=2, rooms=2)
        await _kill_under_load(server, house, times=2)


async def test_nothing_is_lost_or_doubled_when_one_of_two_processes_is_killed(
    database_url: str, tmp_path: Path
) -> None:
    async with server_process(database_url, tmp_path, processes=2) as server:
        house = await settled(server.url, people=4, rooms=1)

        async def kill_one() -> None:
            assert server.process is not None
            children = _children(server.process.pid)
            os.kill(secrets.choice(children), signal.SIGKILL)
            with trio.fail_after(_PATIENCE_SECONDS):
                while len(set(_children(server.process.pid)) | set(children)) < 3:  # noqa: ASYNC110  # nobody tells us
                    await trio.sleep(0.05)

        await _under_load(house, kill_one, times=3)


async def _kill_under_load(server: ServerProcess, house: House, *, times: int) -> None:
    async def kill() -> None:
        server.kill()
        await server.start()

    await _under_load(house, kill, times=times)


async def _under_load(house: House, kill: Callable[[], Awaitable[None]], *, times: int) -> None:
    senders = [
        Sender(f"sender{number}", house.tokens[number % len(house.tokens)], house.rooms[number % len(house.rooms)])
        for number in range(SENDERS)
    ]
    reader = Reader(house.tokens[0])
    async with house.http() as http:
        async with trio.open_nursery() as following:
            following.start_soon(reader.run, http)
            async with trio.open_nursery() as sending:
                for sender in senders:
                    sending.start_soon(sender.run, http)
                for _ in range(times):
                    before = _count(senders)
                    with trio.fail_after(_PATIENCE_SECONDS):
                        while _count(senders) < before + SENDERS:  # noqa: ASYNC110  # nobody tells us
                            await trio.sleep(0.01)
                    await trio.sleep(secrets.randbelow(200) / 1000)
                    await kill()
                for sender in senders:
                    sender.stopping = True
            following.cancel_scope.cancel()

        await reader.once(http)
        await reader.once(http)
        for room_id in house.rooms:
            events = await history(http, house.tokens[-1], room_id)
            acknowledged = {
                text: [event_id]
                for sender in senders
                if sender.room_id == room_id
                for text, event_id in sender.acknowledged.items()
            }
            assert texts(events) == acknowledged
            followed = [event["event_id"] for event in reader.timelines[room_id]]
            assert followed == [event["event_id"] for event in events]
            for sender in senders:
                own = [text for text in texts(events) if text.startswith(f"{sender.name}-")]
                assert own == [text for text in sender.acknowledged if sender.room_id == room_id]


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text(encoding="utf-8").split()]


def _count(senders: list[Sender]) -> int:
    return sum(len(sender.acknowledged) for sender in senders)
