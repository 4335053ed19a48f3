"""The server is killed between acknowledging messages to devices and telling them: nothing is lost, nothing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.durability.senders import bearer, settled
from tests.servers import server_process

pytestmark = pytest.mark.slow

SENDERS = 8
KILLS = 4


async def test_messages_to_devices_outlive_a_server_that_is_killed(database_url: str, tmp_path: Path) -> None:
    async with server_process(database_url, tmp_path) as server:
        house = await settled(server.url, people=2, rooms=0)
        sender, receiver = house.tokens
        acknowledged: list[str] = []
        heard: list[str] = []
        senders_at_work = SENDERS
        stopping = False

        async with house.http() as http:
            to = (await http.get("/_matrix/client/v3/account/whoami", headers=bearer(receiver))).json()["user_id"]

            async def send(name: str) -> None:
                nonlocal senders_at_work
                number = 0
                while not stopping:
                    text = f"{name}-{number}"
                    path = f"/_matrix/client/v3/sendToDevice/m.note/{text}"
                    body = {"messages": {to: {"*": {"text": text}}}}
                    if await answered(http, "PUT", path, sender, json=body) is not None:
                        acknowledged.append(text)
                        number += 1
                senders_at_work -= 1

            async def listen() -> None:
                since: dict[str, str] = {}
                # What is heard may be ahead of what is acknowledged: the last senders' words count, not their number.
                while senders_at_work or not set(acknowledged) <= set(heard):
                    query = {"timeout": "200", **since}
                    answer = await answered(http, "GET", "/_matrix/client/v3/sync", receiver, params=query)
                    if answer is not None:
                        heard.extend(event["content"]["text"] for event in answer["to_device"]["events"])
                        since["since"] = answer["next_batch"]

            with trio.fail_after(120):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(listen)
                    for number in range(SENDERS):
                        nursery.start_soon(send, f"sender{number}")
                    for _ in range(KILLS):
                        before = len(acknowledged)
                        while len(acknowledged) < before + 3 * SENDERS:  # noqa: ASYNC110  # nobody tells us
                            await trio.sleep(0.01)
                        server.kill()
                        await server.start()
                    stopping = True
        # What was under way when a sender stopped was told, too, if it was committed.
        assert len(heard) == len(set(heard))
        assert set(acknowledged) <= set(heard)
        for number in range(SENDERS):
            own = [text for text in heard if text.startswith(f"sender{number}-")]
            assert own == [f"sender{number}-{n}" for n in range(len(own))]


async def answered(http: httpx.AsyncClient, method: str, path: str, token: str, **options: Any) -> Any:
    """Try once; return the answer, or None if there is none, or none of success."""
    try:
        answer = await http.request(method, path, headers=bearer(token), **options)
    except (httpx.TransportError, trio.BrokenResourceError):
        await trio.sleep(0.02)
        return None
    if answer.status_code == 200:
        return answer.json()
    assert answer.status_code in (502, 503, 504), answer.text
    return None
