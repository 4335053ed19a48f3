"""A small application on a real socket, and a client that says exactly the bytes it is told."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import trio
import trio.testing
from pydantic import Field
from trio_websocket import WebSocketConnection

from tricord.clients.endpoint import Authentication, Endpoint, Model
from tricord.homeserver.media.pouring import poured
from tricord.homeserver.serving.application import Application
from tricord.homeserver.serving.call import Answer, Call, Requester, Route, WebSocketRoute
from tricord.homeserver.serving.dispatch import Dispatcher
from tricord.homeserver.serving.limits import Limits
from tricord.homeserver.serving.server import Listener, listening
from tricord.protocol.errors import UnknownToken
from tricord.protocol.identifiers import DeviceId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject

PATIENCE_SECONDS = 60
LARGE = 8 << 20
BUFFER = 300_007


class Open(Endpoint):
    authentication = Authentication.NONE
    hot = True


class Echo(Open):
    method = "POST"
    path = "/echo"
    max_body = 1000


class Where(Open):
    method = "PUT"
    path = "/_matrix/client/v3/rooms/{room_id}/send/{event_type}"


class Address(Open):
    method = "GET"
    path = "/address"


class Shaped(Open):
    method = "POST"
    path = "/shaped"

    class Body(Model):
        name: str
        size: int = Field(0, ge=0)


class Secret(Endpoint):
    method = "POST"
    path = "/secret"
    hot = True
    max_body = 1000


class Waits(Open):
    method = "POST"
    path = "/waits"
    cancel_on_disconnect = True


class Works(Open):
    method = "POST"
    path = "/works"


class Upload(Open):
    method = "POST"
    path = "/upload"
    body_kind = "stream"
    max_body = 1 << 30


class Poured(Open):
    method = "POST"
    path = "/poured"
    body_kind = "stream"
    max_body = 1 << 30


class Large(Open):
    method = "GET"
    path = "/large"


class Streamed(Open):
    method = "GET"
    path = "/streamed"


class Signed(Endpoint):
    method = "GET"
    path = "/signed"
    authentication = Authentication.SIGNED_REQUEST
    hot = True


class Broken(Open):
    method = "GET"
    path = "/broken"


class House:
    """The handlers, and what befell them."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.started = trio.Event()
        self.release = trio.Event()
        self.finished = trio.Event()
        self.cancelled = trio.Event()
        self.uploaded = 0
        self.parts = 0

    def routes(self) -> list[Route]:
        return [
            Route(Echo, self.echo),
            Route(Where, self.where),
            Route(Address, self.address),
            Route(Shaped, self.shaped),
            Route(Secret, self.echo),
            Route(Waits, self.waits),
            Route(Works, self.works),
            Route(Upload, self.upload),
            Route(Poured, self.poured),
            Route(Large, self.large),
            Route(Streamed, self.streamed),
            Route(Signed, self.signed),
            Route(Broken, self.broken),
        ]

    async def echo(self, call: Call[Any, Any]) -> JsonObject:
        self.served.append(call.body.get("n", "echo"))
        return {"body": call.body, "headers": dict(call.headers)}

    async def where(self, call: Call[Any, Any]) -> JsonObject:
        return dict(call.path)

    async def address(self, call: Call[Any, Any]) -> JsonObject:
        return {"address": call.client_address}

    async def shaped(self, call: Call[Any, Any]) -> JsonObject:
        return {"name": call.body.name}

    async def waits(self, call: Call[Any, Any]) -> JsonObject:
        self.started.set()
        try:
            await self.release.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        return {"waited": call.body}

    async def works(self, _call: Call[Any, Any]) -> JsonObject:
        self.started.set()
        try:
            await self.release.wait()
        except trio.Cancelled:
            self.cancelled.set()
            raise
        self.finished.set()
        return {"worked": True}

    async def upload(self, call: Call[Any, Any]) -> JsonObject:
        self.started.set()
        assert call.stream is not None
        async for part in call.stream:
            self.uploaded += len(part)
            self.parts += 1
        return {"size": self.uploaded}

    async def poured(self, call: Call[Any, Any]) -> JsonObject:
        """Read the body by a buffer that is not of a size with anything."""
        self.started.set()
        known, buffer = hashlib.sha256(), memoryview(bytearray(BUFFER))
        source = poured(call.received())
        while await source.more():
            count = await source.into(buffer)
            known.update(buffer[:count])
            self.uploaded += count
            self.parts += 1
        return {"size": self.uploaded, "sha256": known.hexdigest()}

    async def large(self, _call: Call[Any, Any]) -> Answer:
        return Answer(b"x" * LARGE, headers=((b"content-type", b"text/plain"),))

    async def streamed(self, _call: Call[Any, Any]) -> Answer:
        async def parts() -> AsyncIterator[bytes]:
            yield b"one "
            yield b""
            yield b"two"

        return Answer(parts(), headers=((b"content-type", b"text/plain"),))

    async def signed(self, call: Call[Any, Any]) -> JsonObject:
        return {"uri": call.origin}

    async def origin_of(self, method: str, uri: str, authorization: Sequence[str], body: Any) -> ServerName:  # noqa: ARG002
        """Return, instead of a server, the URI that it would have signed."""
        return ServerName(uri)

    async def broken(self, _call: Call[Any, Any]) -> JsonObject:
        raise RuntimeError("a fault of ours")

    async def authenticate(
        self,
        token: str,
        *,
        client_address: str,  # noqa: ARG002
        user_agent: str,  # noqa: ARG002
        locked_users_too: bool = False,  # noqa: ARG002
    ) -> Requester:
        if token != "good":
            raise UnknownToken("nobody has this token")
        return Requester(UserId("@alice:hs.test"), DeviceId("A"), 1, is_guest=False, is_admin=False)

    async def chat(self, connection: WebSocketConnection, query: Any, headers: Any, client_address: str) -> None:  # noqa: ARG002
        self.started.set()
        await connection.send_message(orjson.dumps({"query": query, "address": client_address}).decode())
        while True:
            await connection.send_message(await connection.get_message())


@asynccontextmanager
async def opened(
    house: House,
    *,
    limits: Limits | None = None,
    everything_by_quart: bool = False,
    trusted_proxies: Sequence[str] = (),
    tls: Path | None = None,
    drain_seconds: float = 8,
    more_routes: Sequence[Route] = (),
) -> AsyncIterator[str]:
    """Serve the house, and give the address: host:port. `tls` is a file with a certificate and its key."""
    application = Application(
        Dispatcher([*house.routes(), *more_routes], house, peers=house),
        trusted_proxies=trusted_proxies,
        everything_by_quart=everything_by_quart,
    )
    websockets = {b"/chat": WebSocketRoute("/chat", house.chat, largest_message=1000)}
    listener = Listener("127.0.0.1:0", application, websockets, tls, tls, limits or Limits())
    with trio.fail_after(PATIENCE_SECONDS):
        async with listening([listener], drain_seconds=drain_seconds) as urls:
            yield urls[0].partition("://")[2]


class Reply:
    """An answer as it came."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes, framing: str) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.framing = framing

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def errcode(self) -> str:
        return str(self.json["errcode"])


class Wire:
    """A connection on which exactly what is told is said."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.read = b""

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def ask(self, data: bytes, *, head_only: bool = False) -> Reply:
        await self.say(data)
        return await self.reply(head_only=head_only)

    async def more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise EOFError(self.read)
        self.read += data

    async def until(self, end: bytes) -> bytes:
        while end not in self.read:
            await self.more()
        found, _, self.read = self.read.partition(end)
        return found

    async def exactly(self, size: int) -> bytes:
        while len(self.read) < size:
            await self.more()
        found, self.read = self.read[:size], self.read[size:]
        return found

    async def reply(self, *, head_only: bool = False) -> Reply:
        lines = (await self.until(b"\r\n\r\n")).decode("latin1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
        if head_only or status in (100, 101, 204, 304):
            return Reply(status, headers, b"", "none")
        if "content-length" in headers:
            return Reply(status, headers, await self.exactly(int(headers["content-length"])), "length")
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await self.until(b"\r\n"), 16):
                body += await self.exactly(size)
                await self.until(b"\r\n")
            await self.until(b"\r\n")
            return Reply(status, headers, body, "chunked")
        return Reply(status, headers, await self.to_the_end(), "close")

    async def to_the_end(self) -> bytes:
        """Return all that comes until the server closes."""
        try:
            while True:
                await self.more()
        except (EOFError, trio.BrokenResourceError):
            rest, self.read = self.read, b""
            return rest


@asynccontextmanager
async def wire(address: str) -> AsyncIterator[Wire]:
    host, _, port = address.partition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        yield Wire(stream)


def request(
    method: str, target: str, body: bytes = b"", *headers: str, version: str = "1.1", host: str = "Host: hs.test"
) -> bytes:
    """Write a request; a body brings its length."""
    lines = [f"{method} {target} HTTP/{version}", host, *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin1") + b"\r\n\r\n" + body


async def settled() -> None:
    """Let the tasks of this process do what they can without waiting."""
    for _ in range(3):
        await trio.testing.wait_all_tasks_blocked(0.005)
