"""A house of people, one of whom is not let in, and what must still hold after each attack on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import trio
from structlog.processors import format_exc_info
from structlog.testing import capture_logs
from trio_websocket import WebSocketConnection, open_websocket_url

from tests.memory import memory_kib
from tests.servers import AUTHORITIES, PASSWORD, running_homeserver
from tricord.clients.api.websocket import PATH as WEBSOCKET_PATH
from tricord.homeserver.app import Homeserver


@dataclass
class Somebody:
    """A user on a device, who sends whatever bytes they like."""

    http: httpx.AsyncClient
    user_id: str
    device_id: str
    access_token: str
    sent: int = field(default=0)

    async def request(
        self, method: str, path: str, body: Any = None, *, content: bytes | None = None, **options: Any
    ) -> httpx.Response:
        """Call an endpoint; `path` is what comes after `/_matrix/client`, or all of it."""
        if content is None and (body is not None or method in ("POST", "PUT")):
            content = orjson.dumps({} if body is None else body)
        url = path if path.startswith(("/_", "/.")) else f"/_matrix/client{path}"
        headers = {"Authorization": f"Bearer {self.access_token}"} | options.pop("headers", {})
        return await self.http.request(method, url, content=content, headers=headers, **options)

    async def granted(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.request(method, path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(
        self, method: str, path: str, body: Any = None, *, content: bytes | None = None
    ) -> tuple[int, str]:
        answer = await self.request(method, path, body, content=content)
        assert answer.status_code >= 400, answer.text
        return answer.status_code, answer.json()["errcode"]

    async def create_room(self, **wanted: Any) -> str:
        return str((await self.granted("POST", "/v3/createRoom", wanted))["room_id"])

    async def say(self, room_id: str, text: str) -> str:
        self.sent += 1
        content = {"msgtype": "m.text", "body": text}
        answer = await self.granted("PUT", f"/v3/rooms/{room_id}/send/m.room.message/s{self.sent}", content)
        return str(answer["event_id"])

    async def sync(self, since: str | None = None, **query: Any) -> Any:
        query = {"timeout": 0} | ({} if since is None else {"since": since}) | query
        answer = await self.request("GET", "/v3/sync", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @asynccontextmanager
    async def websocket(self, **sign_in: Any) -> AsyncIterator[WebSocketConnection]:
        url = str(self.http.base_url).rstrip("/").replace("http", "ws", 1) + WEBSOCKET_PATH
        async with open_websocket_url(url) as socket:
            first = {"type": "sign_in", "access_token": self.access_token, **sign_in}
            await socket.send_message(orjson.dumps(first).decode())
            yield socket


@dataclass
class House:
    """A homeserver, the people on it, and two rooms that Alice and Bob share."""

    homeserver: Homeserver
    http: httpx.AsyncClient
    """Of nobody: without an access token."""
    alice: Somebody
    bob: Somebody
    outsider: Somebody
    room: str
    old_room: str
    """Of version 11: its event ids are not its room id's kin."""
    secrets: set[str]
    """What must never be in a log."""
    stack: AsyncExitStack

    async def somebody(self, name: str, **how: Any) -> Somebody:
        """Register somebody."""
        body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}, **how}
        answer = (await self.http.post("/_matrix/client/v3/register", json=body)).json()
        return await self._signed_in(answer)

    async def login(self, name: str, **how: Any) -> Somebody:
        """Sign somebody in on a new device."""
        identifier = {"type": "m.id.user", "user": name}
        body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD, **how}
        return await self._signed_in((await self.http.post("/_matrix/client/v3/login", json=body)).json())

    async def _signed_in(self, answer: Any) -> Somebody:
        self.secrets |= {answer[name] for name in ("access_token", "refresh_token") if name in answer}
        http = await self.stack.enter_async_context(_client(self.homeserver))
        return Somebody(http, answer["user_id"], answer["device_id"], answer["access_token"])


def _client(homeserver: Homeserver) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=100)
    return httpx.AsyncClient(verify=AUTHORITIES, base_url=homeserver.urls[0], timeout=20, limits=limits)


@asynccontextmanager
async def inhabited_house(database_url: str, folder: Path, **settings: Any) -> AsyncIterator[House]:
    """Open a house; when it is left, everything must be as well as before."""
    with capture_logs(processors=[format_exc_info]) as logs:
        async with AsyncExitStack() as stack:
            homeserver = await stack.enter_async_context(running_homeserver(database_url, folder, **settings))
            nobody: Any = None
            http = await stack.enter_async_context(_client(homeserver))
            house = House(homeserver, http, nobody, nobody, nobody, "", "", {PASSWORD}, stack)
            house.alice = await house.somebody("alice")
            house.bob = await house.somebody("bob")
            house.outsider = await house.somebody("outsider")
            house.room = await _shared_room(house, "12")
            house.old_room = await _shared_room(house, "11")
            memory = memory_kib()
            yield house
            await _check_well(house)
            assert (grown := memory_kib() - memory) < 64 * 1024, grown
    told = orjson.dumps(logs, default=repr).decode()
    failures = [entry for entry in logs if entry["log_level"] in ("error", "critical") or "exception" in entry]
    assert not failures, "\n".join(str(entry.get("exception", entry)) for entry in failures)
    assert not [secret for secret in house.secrets if secret in told]


async def _shared_room(house: House, version: str) -> str:
    room = await house.alice.create_room(preset="private_chat", room_version=version, invite=[house.bob.user_id])
    await house.bob.granted("POST", f"/v3/rooms/{room}/join")
    return room


async def _check_well(house: House) -> None:
    """The server answers, and two who behave still talk: over `/sync` and over the WebSocket."""
    with trio.fail_after(60):
        assert (await house.http.get("/_matrix/client/versions")).status_code == 200
    ann, ben = await house.somebody("ann"), await house.somebody("ben")
    room = await ann.create_room(preset="public_chat")
    await ben.granted("POST", f"/v3/rooms/{room}/join")
    since = (await ben.sync())["next_batch"]
    async with ben.websocket(position=since) as socket:
        with trio.fail_after(60):
            said = await ann.say(room, "still well")
            told = await ben.sync(since, timeout=30_000)
            assert [event["event_id"] for event in told["rooms"]["join"][room]["timeline"]["events"]] == [said]
            while said not in await socket.get_message():
                pass


@asynccontextmanager
async def empty_house(database_url: str, folder: Path, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Open a house where nobody lives yet, for settings that do not let people simply move in."""
    async with running_homeserver(database_url, folder, **settings) as homeserver, _client(homeserver) as http:
        yield http
