"""A sweep over the endpoints for clients: what is served answers, and examples get the answers that are described."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.homeserver.answers import key_of
from tests.servers import PASSWORD, running_homeserver
from tricord.homeserver.specification import EndpointRow, endpoint_tables

_FILE = Path(__file__).parents[1] / "vectors" / "requests.json"
EXAMPLES: dict[str, Any] = {key: value for key, value in json.loads(_FILE.read_text()).items() if key[0] != "_"}
_PARAMETER = re.compile(r"\{(\w+)\}")
# The text describes no refusal of these, and the examples cannot be done here.
_NOT_DONE = {
    # Nobody has the token, or the password.
    "POST /_matrix/client/v3/login": 403,
    "POST /_matrix/client/v3/refresh": 401,
    # Keys of somebody else's device, with a signature that is none.
    "POST /_matrix/client/v3/keys/upload": 400,
    # Only for bridges.
    "PUT /_matrix/client/v3/directory/list/appservice/{}/{}": 403,
}


def rows() -> list[EndpointRow]:
    [table] = [table for table in endpoint_tables() if table.api == "Client-Server API"]
    return table.rows


class Sweep:
    """Asks as people who have just come, each in a room of their own."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._numbers = count()
        self._values: dict[str, str] | None = None

    async def newcomer(self) -> dict[str, str]:
        """Register somebody, and return what paths name: them, their room, what is in it."""
        name = f"user{next(self._numbers)}"
        body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        session = (await self._http.post("/_matrix/client/v3/register", json=body)).json()
        self._http.headers["Authorization"] = f"Bearer {session['access_token']}"
        created = await self._http.post("/_matrix/client/v3/createRoom", json={"preset": "public_chat"})
        room = created.json()["room_id"]
        path = f"/_matrix/client/v3/rooms/{quote(room)}/send/m.room.message/t"
        event = (await self._http.put(path, json={"msgtype": "m.text", "body": "Hello"})).json()["event_id"]
        return {
            "userId": session["user_id"],
            "deviceId": session["device_id"],
            "serverName": "hs.test",
            "roomId": room,
            "roomIdOrAlias": room,
            "roomAlias": f"#{name}:hs.test",
            "eventId": event,
            "eventType": "m.room.message",
            "stateKey": "",
            "txnId": "txn",
            "type": "org.example.type",
            "keyName": "displayname",
            "tag": "m.favourite",
            "receiptType": "m.read",
            "kind": "content",
            "ruleId": "nocake",
        }

    async def ask(self, row: EndpointRow, body: Any = None) -> httpx.Response:
        """Call an endpoint as somebody new."""
        if self._values is None or row.method != "GET":
            # Who has acted may have signed out, or left.
            self._values = await self.newcomer()
        values = self._values
        path = _PARAMETER.sub(lambda found: quote(values.get(found[1], "x"), safe=""), row.path)
        # What waits for something to happen must not.
        query: dict[str, Any] = {"timeout": 0, "timeout_ms": 0}
        if "/room_keys/keys" in row.path:
            [backup] = EXAMPLES["POST /_matrix/client/v3/room_keys/version"]["bodies"]
            query |= (await self._http.post("/_matrix/client/v3/room_keys/version", json=backup)).json()
        return await self._http.request(row.method, path, params=query, json=_here(body, values))


def _here(value: Any, values: dict[str, str]) -> Any:
    """Return an example with what it names elsewhere named as it is here."""
    if isinstance(value, dict):
        return {key: _here(one, values) for key, one in value.items()}
    if isinstance(value, list):
        return [_here(one, values) for one in value]
    if isinstance(value, str) and value[:1] in ("!", "$"):
        return values["roomId" if value[0] == "!" else "eventId"]
    return value


@pytest.fixture
async def sweep(database_url: str, tmp_path: Path) -> AsyncIterator[Sweep]:
    async with (
        running_homeserver(database_url, tmp_path, server_name="hs.test") as homeserver,
        httpx.AsyncClient(base_url=homeserver.urls[0], timeout=60) as http,
    ):
        yield Sweep(http)


async def test_what_is_served_answers_and_what_is_not_is_unrecognized(sweep: Sweep) -> None:
    wrong = []
    for row in rows():
        answer = await sweep.ask(row, None if row.method == "GET" else {})
        # 405: another method is served there.
        unrecognized = answer.status_code in (404, 405) and "M_UNRECOGNIZED" in answer.text
        if unrecognized is bool(row.served) or answer.status_code >= 500:
            wrong.append(f"{row.method} {row.path}: {answer.status_code} {answer.text[:100]}")
    assert not wrong, "\n".join(wrong)


async def test_every_example_gets_an_answer_that_is_described(sweep: Sweep) -> None:
    wrong = []
    for row in rows():
        key = key_of(row.method, row.path)
        if not row.served or key not in EXAMPLES:
            continue
        described = {200, *EXAMPLES[key]["statuses"], _NOT_DONE.get(key, 200)}
        for body in EXAMPLES[key]["bodies"]:
            answer = await sweep.ask(row, body)
            if answer.status_code not in described:
                wrong.append(f"{key}: {answer.status_code} {answer.text[:150]} to {json.dumps(body)[:200]}")
    assert not wrong, "\n".join(wrong)


def test_every_endpoint_with_an_example_is_in_the_table() -> None:
    assert EXAMPLES.keys() - {key_of(row.method, row.path) for row in rows()} == set()
