"""SIGTERM while people send and wait: the server ends soon and well, and nobody is in doubt about what they sent."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import trio

from tests.durability.senders import ROOMS_ONLY, House, bearer, history, send, settled, texts
from tests.servers import server_process

SENDERS = 20
# It drains for eight seconds; the rest is for machines that are slow.
STOPS_WITHIN_SECONDS = 30
# Less than that: nothing is left to drain.
TELLS_WITHIN_SECONDS = 7


@pytest.mark.parametrize("embedded", [False, True], ids=["PostgreSQL elsewhere", "embedded PostgreSQL"])
async def test_what_was_answered_is_there_and_what_was_not_is_not(
    database_url: str, tmp_path: Path, embedded: bool
) -> None:
    acknowledged: dict[str, list[str]] = {}
    async with server_process("" if embedded else database_url, tmp_path) as server:
        house = await settled(server.url, people=2, rooms=1)
        async with house.http() as http, trio.open_nursery() as sending:
            for number in range(SENDERS):
                sending.start_soon(_send_until_refused, http, house, number, acknowledged)
            with trio.fail_after(60):
                while len(acknowledged) < 5 * SENDERS:  # noqa: ASYNC110  # nobody tells us
                    await trio.sleep(0.01)
            with trio.fail_after(STOPS_WITHIN_SECONDS):
                assert await server.stop() == 0
        await server.start()
        async with house.http() as http:
            assert texts(await history(http, house.tokens[1], house.rooms[0])) == acknowledged


async def test_those_who_wait_are_told_to_come_back(database_url: str, tmp_path: Path) -> None:
    answers: list[httpx.Response] = []

    async def wait(
        http: httpx.AsyncClient, token: str, since: str, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        async def note(event: str, _info: object) -> None:
            if event == "http11.send_request_body.complete":
                task_status.started()

        query = ROOMS_ONLY | {"since": since, "timeout": "30000"}
        answers.append(
            await http.get("/_matrix/client/v3/sync", params=query, headers=bearer(token), extensions={"trace": note})
        )

    async with server_process(database_url, tmp_path) as server:
        house = await settled(server.url, people=1, rooms=1)
        token = house.tokens[0]
        async with house.http() as http:
            first = await http.get("/_matrix/client/v3/sync", params=ROOMS_ONLY, headers=bearer(token))
            since = first.json()["next_batch"]
            async with trio.open_nursery() as waiting:
                for _ in range(10):
                    await waiting.start(wait, http, token, since)
                # Who comes last is accepted last.
                async with house.http() as later:
                    assert (await later.get("/_matrix/client/versions")).status_code == 200
                assert answers == []
                with trio.fail_after(TELLS_WITHIN_SECONDS):
                    assert await server.stop() == 0
    # A client asks again, the next time elsewhere.
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(503, "1")] * 10
    assert all(answer.json()["errcode"] == "M_UNKNOWN" for answer in answers)


@pytest.mark.slow
async def test_connections_that_say_nothing_or_half_a_request_do_not_hold_it_up(
    database_url: str, tmp_path: Path
) -> None:
    async with server_process(database_url, tmp_path) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        async with await trio.open_tcp_stream(host, int(port)), await trio.open_tcp_stream(host, int(port)) as half:
            await half.send_all(b"PUT /_matrix/client/v3/rooms/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            await trio.sleep(0.1)
            with trio.fail_after(STOPS_WITHIN_SECONDS):
                assert await server.stop() == 0


async def _send_until_refused(
    http: httpx.AsyncClient, house: House, number: int, acknowledged: dict[str, list[str]]
) -> None:
    token = house.tokens[number % len(house.tokens)]
    for count in range(100_000):
        text = f"sender{number}-{count}"
        try:
            event_id = await send(http, token, house.rooms[0], text, transaction_id=text)
        except httpx.TransportError:
            return
        if event_id is None:
            return
        acknowledged[text] = [event_id]
