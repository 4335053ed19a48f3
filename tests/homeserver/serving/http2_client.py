"""An HTTP/2 client on h2 that does exactly what it is told, well or ill."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import orjson
import trio

from tests.homeserver.serving.house import wire

Headers = list[tuple[str, str]]


class Stream:
    """What came back on one stream."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.headers[":status"])

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Http2Client:
    """One connection."""

    def __init__(self, stream: Any) -> None:
        self.transport = stream
        self.reads = True
        self.streams: dict[int, Stream] = {}
        self.closed = False
        self.settings: dict[int, int] = {}
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)

    async def flush(self) -> None:
        await self.transport.send_all(self.h2.data_to_send())

    async def start(self, method: str, path: str, *headers: tuple[str, str], end: bool = True) -> int:
        """Send the head of a request, and return its stream."""
        stream_id = self.h2.get_next_available_stream_id()
        self.streams[stream_id] = Stream()
        pseudo = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "hs.test")]
        self.h2.send_headers(stream_id, [*pseudo, *headers], end_stream=end)
        await self.flush()
        return stream_id

    async def send(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Send a part of a body, as flow control allows."""
        while data:
            room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size, len(data))
            if room:
                self.h2.send_data(stream_id, data[:room])
                data = data[room:]
                await self.flush()
            elif not await self.read():
                return
        if end:
            self.h2.end_stream(stream_id)
            await self.flush()

    async def read(self) -> bool:
        """Take in what comes next; False at the end."""
        try:
            data = await self.transport.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            self.closed = True
            return False
        for event in self.h2.receive_data(data):
            stream = self.streams.get(getattr(event, "stream_id", None) or 0)
            if isinstance(event, h2.events.RemoteSettingsChanged):
                self.settings.update({code: change.new_value for code, change in event.changed_settings.items()})
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.closed = True
            elif stream is None:
                continue
            elif isinstance(event, h2.events.ResponseReceived):
                stream.headers = {str(name): str(value) for name, value in event.headers or ()}
            elif isinstance(event, h2.events.DataReceived):
                stream.body += event.data or b""
                if self.reads:
                    self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            elif isinstance(event, h2.events.StreamEnded):
                stream.ended = True
            elif isinstance(event, h2.events.StreamReset):
                stream.reset = int(event.error_code or 0)
        if not self.closed:
            await self.flush()
        return not self.closed

    async def answer(self, stream_id: int) -> Stream:
        """Read until a stream has ended, one way or the other."""
        stream = self.streams[stream_id]
        while not stream.ended and stream.reset is None and await self.read():
            pass
        return stream

    async def ask(self, method: str, path: str, body: bytes = b"", *headers: tuple[str, str]) -> Stream:
        stream_id = await self.start(method, path, *headers, end=not body)
        if body:
            await self.send(stream_id, body, end=True)
        return await self.answer(stream_id)

    async def to_the_end(self) -> None:
        """Read until the connection has ended."""
        while await self.read():
            pass


@asynccontextmanager
async def http2(address: str) -> AsyncIterator[Http2Client]:
    """Connect, knowing that HTTP/2 is spoken."""
    async with wire(address) as connection:
        client = Http2Client(connection.stream)
        client.h2.initiate_connection()
        await client.flush()
        yield client
