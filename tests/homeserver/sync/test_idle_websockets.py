"""What happens on a WebSocket on which nothing happens, by a clock that jumps ahead."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import orjson
import trio
import trio.testing

from tricord.clients.api.websocket import HEARTBEAT_SECONDS, Close
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.sync.websocket import WebSocketSync
from tricord.protocol.errors import UnknownToken
from tricord.protocol.identifiers import DeviceId, UserId


class Stream:
    """Takes whatever is sent."""

    async def send_all(self, data: bytes | memoryview) -> None:
        pass


@dataclass
class Connection:
    """A connection whose client signs in, and after that says what it is told to, at the times it is told."""

    says: dict[float, dict[str, Any]] = field(default_factory=dict)
    answers_pings: bool = True
    pinged_at: list[float] = field(default_factory=list)
    closed_at: float | None = None
    closed_with: int | None = None
    _stream: Stream = field(default_factory=Stream)
    _stream_lock: trio.StrictFIFOLock = field(default_factory=trio.StrictFIFOLock)
    _signed_in: bool = False

    async def get_message(self) -> str:
        if not self._signed_in:
            self._signed_in = True
            return orjson.dumps({"type": "sign_in", "access_token": "t"}).decode()
        if not self.says:
            await trio.sleep_forever()
        at = min(self.says)
        await trio.sleep_until(at)
        return orjson.dumps(self.says.pop(at)).decode()

    async def ping(self) -> None:
        self.pinged_at.append(trio.current_time())
        if not self.answers_pings:
            await trio.sleep_forever()

    async def aclose(self, code: int, _reason: str) -> None:
        self.closed_at, self.closed_with = trio.current_time(), code


class House:
    """All that a WebSocket needs, with nothing to tell; the token is good until a time."""

    def __init__(self, *, token_ends_at: float = float("inf")) -> None:
        self.token_ends_at = token_ends_at
        self.looked_at: list[float] = []
        self.interrupts: list[Callable[[], None]] = []

    async def serve(self, connection: Connection) -> None:
        house: Any = self
        await WebSocketSync(house, house, house, house, house, house, house).serve(
            connection,  # type: ignore[arg-type]  # as much of one as is needed
            {},
            {},
            "127.0.0.1",
        )

    async def authenticate(self, _token: str, **_whence: str) -> Requester:
        self.looked_at.append(trio.current_time())
        if trio.current_time() >= self.token_ends_at:
            raise UnknownToken("the token has ended")
        return Requester(UserId("@a:hs"), DeviceId("A"), 1, is_guest=False, is_admin=False)

    async def catch_up(self) -> None:
        pass

    async def of(self, *_: object) -> Any:
        return None

    async def checked_position(self, _token: str | None) -> int | None:
        return None

    @contextlib.contextmanager
    def syncing(self, *_: object) -> Iterator[None]:
        yield

    @contextlib.contextmanager
    def when_ended(self, _session_id: int, interrupt: Callable[[], None]) -> Iterator[None]:
        self.interrupts.append(interrupt)
        try:
            yield
        finally:
            self.interrupts.remove(interrupt)

    @contextlib.asynccontextmanager
    async def follow(self, _viewer: object) -> AsyncIterator[House]:
        yield self

    async def next_delta(self, *_: object, **__: object) -> NoReturn:
        await trio.sleep_forever()
        raise AssertionError


async def test_a_silent_client_is_pinged_as_long_as_it_answers(autojump_clock: trio.testing.MockClock) -> None:
    connection, house = Connection(), House()
    with trio.move_on_after(3.5 * HEARTBEAT_SECONDS):
        await house.serve(connection)
    assert connection.pinged_at == [HEARTBEAT_SECONDS, 2 * HEARTBEAT_SECONDS, 3 * HEARTBEAT_SECONDS]


async def test_a_client_that_says_something_is_not_pinged(autojump_clock: trio.testing.MockClock) -> None:
    connection, house = Connection(says={time: {"type": "ping"} for time in (20.0, 40.0, 60.0)}), House()
    with trio.move_on_after(60 + HEARTBEAT_SECONDS - 1):
        await house.serve(connection)
    assert connection.pinged_at == []


async def test_a_client_that_is_gone_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    connection, house = Connection(answers_pings=False), House()
    await house.serve(connection)
    assert (connection.closed_at, connection.closed_with) == (2 * HEARTBEAT_SECONDS, Close.UNHEARD)
    assert connection.pinged_at[0] == HEARTBEAT_SECONDS


async def test_a_token_that_has_grown_too_old_ends_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    talkative = {float(time): {"type": "ping"} for time in range(1, 200, 7)}
    for says in ({}, talkative):
        connection, house = Connection(says=dict(says)), House(token_ends_at=trio.current_time() + 70)
        started = trio.current_time()
        await house.serve(connection)
        assert connection.closed_with == Close.SIGNED_OUT
        assert connection.closed_at is not None
        assert connection.closed_at - started < 140
        assert house.interrupts == []


async def test_a_session_that_ends_ends_the_connection_at_once(autojump_clock: trio.testing.MockClock) -> None:
    connection, house = Connection(), House()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.serve, connection)
        await trio.sleep(7)
        house.token_ends_at = 7
        (interrupt,) = house.interrupts
        interrupt()
    assert (connection.closed_at, connection.closed_with) == (7, Close.SIGNED_OUT)


async def test_an_empty_message_is_none(autojump_clock: trio.testing.MockClock) -> None:
    connection, house = Connection(says={5.0: {}}), House()
    await house.serve(connection)
    assert (connection.closed_at, connection.closed_with) == (5, Close.BAD_MESSAGE)
