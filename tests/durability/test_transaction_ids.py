"""A transaction id makes one event, however often and wherever it is sent.

https://spec.matrix.org/v1.19/client-server-api/#transaction-identifiers
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import trio

from tests.durability.senders import ROOMS_ONLY, House, bearer, history, send, settled, texts
from tests.servers import PASSWORD, ServerProcess, server_process
from tricord.clients import Client


async def test_a_repeated_send_finds_its_event_after_a_restart(database_url: str, tmp_path: Path) -> None:
    async with server_process(database_url, tmp_path) as server:
        house = await settled(server.url, people=2, rooms=2)
        token, room = house.tokens[0], house.rooms[0]
        async with house.http() as http:
            sent = [await send(http, token, room, f"text {n}", transaction_id=f"t{n}") for n in range(5)]
            redaction = await _redact(http, token, room, str(sent[0]))
        assert await server.stop() == 0
        await server.start()
        async with house.http() as http:
            again = [await send(http, token, room, "other words", transaction_id=f"t{n}") for n in range(5)]
            assert again == sent
            assert await _redact(http, token, room, str(sent[0])) == redaction
            assert len(await _messages(http, house, room)) == 5

            elsewhere = await send(http, token, house.rooms[1], "text", transaction_id="t0")
            someone_else = await send(http, house.tokens[1], room, "text", transaction_id="t0")
            async with Client(server.url) as other_device:
                await other_device.login("person0", PASSWORD)
                content = {"msgtype": "m.text", "body": "text"}
                by_other_device = await other_device.send(room, "m.room.message", content, transaction_id="t0")
            assert len({sent[0], elsewhere, someone_else, by_other_device}) == 4


async def test_two_processes_asked_at_once_make_one_event(database_url: str, tmp_path: Path) -> None:
    async with server_process(database_url, tmp_path) as server, _second(server) as second:
        house = await settled(server.url, people=3, rooms=2)
        answers: dict[tuple[str, str], list[str | None]] = {}

        async def ask(http: httpx.AsyncClient, token: str, room_id: str, transaction_id: str) -> None:
            answer = await send(http, token, house.rooms[0], transaction_id, transaction_id=transaction_id)
            answers.setdefault((token, transaction_id), []).append(answer)

        async with house.http() as http, httpx.AsyncClient(base_url=second.url, timeout=30) as second_http:
            for round_ in range(10):
                async with trio.open_nursery() as asking:
                    for token in house.tokens:
                        for connection in (http, second_http, http):
                            asking.start_soon(ask, connection, token, house.rooms[0], f"{token[-6:]}-{round_}")
            assert all(len(set(each)) == 1 and len(each) == 3 for each in answers.values())
            said = await _messages(http, house, house.rooms[0])
            assert sorted(event_id for ids in said.values() for event_id in ids) == sorted(
                str(each[0]) for each in answers.values()
            )
            assert said == await _messages(second_http, house, house.rooms[0])


async def test_what_one_process_is_told_those_who_wait_at_the_other_hear(database_url: str, tmp_path: Path) -> None:
    async with server_process(database_url, tmp_path) as server, _second(server) as second:
        house = await settled(server.url, people=1, rooms=1)
        token = house.tokens[0]
        async with house.http() as http, httpx.AsyncClient(base_url=second.url, timeout=30) as second_http:
            answer = await second_http.get("/_matrix/client/v3/sync", params=ROOMS_ONLY, headers=bearer(token))
            since = answer.json()["next_batch"]
            for number in range(5):
                heard: list[str] = []

                async def wait(since: str = since, heard: list[str] = heard) -> None:
                    query = ROOMS_ONLY | {"since": since, "timeout": "20000"}
                    answer = await second_http.get("/_matrix/client/v3/sync", params=query, headers=bearer(token))
                    joined = answer.json()["rooms"]["join"][house.rooms[0]]
                    heard.extend(event["event_id"] for event in joined["timeline"]["events"])
                    heard.append(answer.json()["next_batch"])

                with trio.fail_after(15):
                    async with trio.open_nursery() as waiting:
                        waiting.start_soon(wait)
                        await trio.sleep(0.1)
                        sent = await send(http, token, house.rooms[0], "Hello", transaction_id=f"t{number}")
                *events, since = heard
                assert events == [sent]


@asynccontextmanager
async def _second(first: ServerProcess) -> AsyncIterator[ServerProcess]:
    """Run another process of the same server, on the same database."""
    config_file = first.config_file.with_name("second.toml")
    address = first.url.removeprefix("http://")
    config_file.write_text(first.config_file.read_text().replace(f'"{address}"', '"127.0.0.1:0"'))
    second = ServerProcess(config_file)
    await second.start()
    try:
        yield second
    finally:
        second.kill()


async def _redact(http: httpx.AsyncClient, token: str, room_id: str, event_id: str) -> str:
    path = f"/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/once"
    answer = await http.put(path, json={}, headers=bearer(token))
    assert answer.status_code == 200, answer.text
    redaction: str = answer.json()["event_id"]
    return redaction


async def _messages(http: httpx.AsyncClient, house: House, room_id: str) -> dict[str, list[str]]:
    events = await history(http, house.tokens[0], room_id)
    return texts([event for event in events if "redacted_because" not in event.get("unsigned", {})]) | {
        event["event_id"]: [event["event_id"]]
        for event in events
        if event["type"] == "m.room.message" and "redacted_because" in event.get("unsigned", {})
    }
