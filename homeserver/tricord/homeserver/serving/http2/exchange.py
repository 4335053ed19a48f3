"""One request and its answer: the flow of its body, and the patience with who reads the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio
from hypercorn.protocol.events import Body as BodyPart
from hypercorn.protocol.events import Response as ResponseHead

from tricord.homeserver.serving.asgi import Event, Scope
from tricord.homeserver.serving.date import date
from tricord.homeserver.serving.errors import ClientDisconnected, Refused
from tricord.homeserver.serving.limits import Limits


class Carrier(Protocol):
    """What an exchange needs of the protocol that carries it."""

    def read(self, stream_id: int, size: int) -> None:
        """Let the client send as much again."""
        ...

    async def flush(self) -> None:
        """Send what the protocol has to say."""
        ...

    async def stream_send(self, event: Any) -> None:
        """Send a part of an answer, as hypercorn has them."""
        ...

    async def end_answer(self, stream_id: int) -> None:
        """Take note that all of an answer has been handed over. Raises ClientDisconnected."""
        ...


class Exchange:
    """One request and its answer, as ASGI's `receive` and `send`."""

    def __init__(self, protocol: Carrier, limits: Limits, stream_id: int, scope: Scope) -> None:
        self.stream_id = stream_id
        self.scope = scope
        self.body_complete = False
        self.gone = False
        """The client has reset the stream, or the connection has ended."""
        self.ended = False
        """The answer was sent to its end."""
        self.done = False
        """Nobody serves it any more."""
        self.sent = trio.Event()
        self._protocol = protocol
        self._limits = limits
        self._news = trio.Event()
        self._body = bytearray()
        self._body_given = False
        self._begun = 0.0
        self._received = 0
        self._bodiless = scope["method"] == "HEAD"

    def put(self, data: bytes) -> None:
        """Take a part of the body; the client sends no more than the window until it is read."""
        self._body += data
        self._received += len(data)
        self._news.set()

    def complete(self) -> None:
        """Take note that the body is complete."""
        self.body_complete = True
        self._news.set()

    def leave(self) -> None:
        """Take note that the client has gone."""
        self.gone = True
        self._news.set()
        self.sent.set()

    def discard(self) -> int:
        """Drop what was not read, and return how much it was."""
        size = len(self._body)
        self._body.clear()
        return size

    async def receive(self) -> Event:
        """Return the next part of the body, and after it that the client has gone. Raises Refused."""
        if not self._body_given:
            while not self._body and not self.body_complete and not self.gone:
                await self._more_body()
            if not self.gone:
                body = bytes(self._body)
                self._body.clear()
                self._body_given = self.body_complete
                self._protocol.read(self.stream_id, len(body))
                await self._protocol.flush()
                # By now more may have come, and with it the end.
                return {"type": "http.request", "body": body, "more_body": not self._body_given}
        while not self.gone:
            await self._wait()
        return {"type": "http.disconnect"}

    async def _wait(self) -> None:
        self._news = trio.Event()
        await self._news.wait()

    async def _more_body(self) -> None:
        now = trio.current_time()
        if not self._begun:
            self._begun = now
        with trio.CancelScope(deadline=self._limits.body_deadline(self._begun, now, self._received)):
            await self._wait()
            return
        raise Refused(408, "the body took too long")

    async def send(self, event: Event) -> None:
        """Send a part of an answer. Raises ClientDisconnected."""
        if self.gone:
            raise ClientDisconnected
        if event["type"] == "http.response.start":
            status = event["status"]
            self._bodiless = self._bodiless or status in (204, 304)
            headers = [(b"date", date()), *((name.lower(), value) for name, value in event["headers"])]
            await self._protocol.stream_send(
                ResponseHead(stream_id=self.stream_id, status_code=status, headers=headers)
            )
            return
        body = event.get("body", b"")
        if not self._bodiless:
            for start in range(0, len(body), self._limits.send_bytes):
                part = body[start : start + self._limits.send_bytes]
                await self._patiently(self._protocol.stream_send, BodyPart(stream_id=self.stream_id, data=part))
        if not event.get("more_body"):
            await self._protocol.end_answer(self.stream_id)
            await self._patiently(self.sent.wait)
            self.ended = True

    async def _patiently(self, send: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        with trio.CancelScope(deadline=trio.current_time() + self._limits.send_pause_seconds):
            await send(*arguments)
            if not self.gone:
                return
        raise ClientDisconnected
