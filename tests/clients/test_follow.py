"""Following what happens over real sockets: by WebSocket, or by HTTP where there is none."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from tests.clients.either_server import RealServer, real_server
from tests.servers import running_homeserver
from tricord.clients import Client, Delta, Refused, Session, SignedOut
from tricord.clients.testing import PASSWORD, Person
from tricord.protocol.identifiers import DeviceId, RoomId, UserId


class Follower:
    """Somebody who follows, in a task, and what they were told."""

    def __init__(self, client: Client, position: str | None = None) -> None:
        self.client = client
        self.position = position
        self.positions: list[str] = []
        self.texts: list[str] = []
        self._told = trio.Event()

    async def run(self) -> None:
        await self.client.follow(self.take, position=self.position)

    async def take(self, delta: Delta) -> None:
        self.position = delta.position
        self.positions.append(delta.position)
        for room in delta.content.get("rooms", {}).get("join", {}).values():
            events = room.get("timeline", {}).get("events", [])
            self.texts += [event["content"]["body"] for event in events if event["type"] == "m.room.message"]
        self._told.set()
        self._told = trio.Event()

    async def until(self, *texts: str) -> None:
        """Wait until these texts, and no others, have been told."""
        with trio.fail_after(60):
            while len(self.texts) < len(texts):
                await self._told.wait()
        assert self.texts == list(texts)

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run)
            yield
            nursery.cancel_scope.cancel()

    @property
    def by_websocket(self) -> bool:
        return self.client._follower._websocket


async def a_room(server: RealServer) -> tuple[Person, RoomId]:
    alice = await server.user("alice")
    return alice, await alice.create_room()


async def followers_client(server: RealServer, alice: Person, **options: Any) -> Client:
    """Return another session of Alice's."""
    client = Client(server.url, **options)
    await client.login("alice", PASSWORD)
    return client


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
async def test_changes_are_told_as_they_happen(real: RealServer, websocket: bool) -> None:
    alice, room_id = await a_room(real)
    follower = Follower(await followers_client(real, alice, websocket=websocket))
    async with follower.client, follower.following():
        for number in range(5):
            await alice.send_text(room_id, str(number))
            await follower.until(*map(str, range(number + 1)))
    assert follower.by_websocket == websocket
    assert len(set(follower.positions)) == len(follower.positions)


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
async def test_who_goes_on_from_a_position_misses_nothing_and_is_told_nothing_twice(
    real: RealServer, websocket: bool
) -> None:
    alice, room_id = await a_room(real)
    position = None
    told: list[str] = []
    for round_number in range(4):
        follower = Follower(await followers_client(real, alice, websocket=websocket), position)
        await alice.send_text(room_id, f"{round_number} away")
        async with follower.client, follower.following():
            await alice.send_text(room_id, f"{round_number} there")
            with trio.fail_after(60):
                while f"{round_number} there" not in follower.texts:
                    await follower._told.wait()
        told += follower.texts
        position = follower.position
        # The other carrier goes on from there as well.
        websocket = not websocket
    assert told == [f"{number} {where}" for number in range(4) for where in ("away", "there")]


async def test_a_restart_of_the_homeserver_is_survived(database_url: str, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{probe.getsockname()[1]}"
    listeners = [{"bind": bind}]
    async with real_server(database_url, tmp_path, listeners=listeners) as server:
        alice, room_id = await a_room(server)
        session = alice.session
        follower = Follower(await followers_client(server, alice))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follower.run)
        for number in range(2):
            async with (
                real_server(database_url, tmp_path, listeners=listeners) as server,
                Client(server.url, session=session) as again,
            ):
                await again.send_text(room_id, str(number))
                await follower.until(*map(str, range(number + 1)))
        nursery.cancel_scope.cancel()
    assert follower.by_websocket


async def test_a_session_that_is_ended_elsewhere_ends_following_at_once(real: RealServer) -> None:
    alice, _ = await a_room(real)
    client = await followers_client(real, alice)
    told = trio.Event()

    async def take(delta: Delta) -> None:
        told.set()

    async def end() -> None:
        await told.wait()
        await alice.logout_all()

    with trio.fail_after(60), pytest.RaisesGroup(SignedOut):
        async with client, trio.open_nursery() as nursery:
            nursery.start_soon(end)
            await client.follow(take)


@pytest.mark.parametrize("websocket", [True, False], ids=["websocket", "http"])
async def test_tokens_that_are_renewed_meanwhile_do_not_end_following(real: RealServer, websocket: bool) -> None:
    alice, room_id = await a_room(real)
    client = Client(real.url, websocket=websocket)
    await client.login("alice", PASSWORD, refresh_token=True)
    follower = Follower(client)
    async with client, follower.following():
        await alice.send_text(room_id, "before")
        await follower.until("before")
        await client.refresh()
        assert await client.joined_rooms() == [room_id]
        await alice.send_text(room_id, "after")
        await follower.until("before", "after")


async def test_what_the_taker_raises_is_raised_and_is_no_lost_connection(real: RealServer) -> None:
    alice, _ = await a_room(real)

    async def take(delta: Delta) -> None:
        raise OSError("disk full")

    for websocket in (True, False):
        async with await followers_client(real, alice, websocket=websocket) as client:
            with trio.fail_after(60), pytest.raises(OSError, match="disk full"):
                await client.follow(take)


async def test_a_position_of_another_homeserver_is_refused(real: RealServer) -> None:
    alice, _ = await a_room(real)
    for websocket in (True, False):
        async with await followers_client(real, alice, websocket=websocket) as client:
            with trio.fail_after(60), pytest.raises(Refused) as refused:
                await Follower(client, "s1_999999").run()
            assert (refused.value.status, refused.value.errcode) == (400, "M_INVALID_PARAM")


class MovableClock:
    """The time, and what it has been moved by."""

    moved_ms = 0

    def now_ms(self) -> int:
        return int(time.time() * 1000) + self.moved_ms


async def test_an_access_token_that_has_expired_is_renewed_on_the_way(database_url: str, tmp_path: Path) -> None:
    clock = MovableClock()
    async with running_homeserver(database_url, tmp_path, clock=clock) as homeserver:
        kept: list[Session] = []

        async def keep(session: Session) -> None:
            kept.append(session)

        async with (
            Client(homeserver.urls[0]) as alice,
            Client(homeserver.urls[0], on_new_tokens=keep) as client,
        ):
            await alice.register("alice", PASSWORD)
            room_id = await alice.create_room()
            await client.login("alice", PASSWORD, refresh_token=True)
            clock.moved_ms = 366 * 24 * 3600 * 1000
            follower = Follower(client)
            async with follower.following():
                await client.send_text(room_id, "Hello")
                await follower.until("Hello")
        assert len(kept) == 1
        assert kept[0] == client.session
        assert follower.by_websocket


@asynccontextmanager
async def proxy(server: RealServer, refusals: list[bytes]) -> AsyncIterator[str]:
    """Run something between client and homeserver that answers upgrades with `refusals`, the last one for ever.

    An empty refusal lets the upgrade through.
    """
    host, port = server.url.removeprefix("http://").split(":")

    async def pipe(one: trio.SocketStream, other: trio.SocketStream, first: bytes = b"") -> None:
        if first:
            await other.send_all(first)
        async for data in one:
            await other.send_all(data)
        await other.send_eof()

    async def handle(client: trio.SocketStream) -> None:
        first = await client.receive_some()
        if b"upgrade: websocket" in bytes(first).lower():
            refusal = refusals.pop(0) if len(refusals) > 1 else refusals[0]
            if refusal:
                await client.send_all(b"HTTP/1.1 " + refusal + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await client.aclose()
                return
        try:
            async with await trio.open_tcp_stream(host, int(port)) as upstream, trio.open_nursery() as nursery:
                nursery.start_soon(pipe, client, upstream, bytes(first))
                await pipe(upstream, client)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("refusals", "by_websocket"),
    [
        ([b"404 Not Found"], False),
        ([b"400 Bad Request"], False),
        ([b"501 Not Implemented"], False),
        ([b"502 Bad Gateway", b""], True),
        ([b"429 Too Many Requests", b""], True),
    ],
)
async def test_where_the_upgrade_is_refused_for_good_http_takes_over(
    real: RealServer, refusals: list[bytes], by_websocket: bool
) -> None:
    alice, room_id = await a_room(real)
    async with proxy(real, list(refusals)) as url, Client(url, session=alice.session) as client:
        follower = Follower(client)
        async with follower.following():
            for number in range(2):
                await alice.send_text(room_id, str(number))
                await follower.until(*map(str, range(number + 1)))
    assert follower.by_websocket == by_websocket


async def test_a_connection_on_which_nothing_is_heard_is_given_up_and_pongs_count_as_progress() -> None:
    positions: list[Any] = []
    enough = trio.Event()

    async def serve(request: WebSocketRequest) -> None:
        connection = await request.accept()
        positions.append(orjson.loads(await connection.get_message()).get("position"))
        await connection.send_message('{"type": "signed_in", "heartbeat_ms": 30}')
        if len(positions) == 1:
            await connection.send_message('{"type": "delta", "position": "s1"}')
            assert orjson.loads(await connection.get_message()) == {"type": "ping"}
            await connection.send_message('{"type": "pong", "position": "s2"}')
            await connection.send_message('{"type": "something of the future"}')
        else:
            enough.set()
        try:
            while True:
                await connection.get_message()
        except ConnectionClosed:
            return

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, serve, "127.0.0.1", 0, ssl_context=None))
        session = Session(UserId("@a:b"), DeviceId("D"), "token")
        async with Client(f"http://127.0.0.1:{server.port}", session=session) as client:
            follower = Follower(client)
            async with follower.following():
                with trio.fail_after(60):
                    await enough.wait()
        nursery.cancel_scope.cancel()
    assert follower.positions == ["s1"]
    assert positions == [None, "s2"]
