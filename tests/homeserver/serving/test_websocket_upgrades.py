"""Upgrades: to a WebSocket where there is one, and to nothing else."""

from __future__ import annotations

import orjson
import pytest
import trio
from trio_websocket import ConnectionClosed, connect_websocket_url, open_websocket_url

from tests.authority import Authority
from tests.homeserver.serving.house import House, opened, request, settled, wire
from tricord.homeserver.serving.limits import Limits

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
HANDSHAKE = (*UPGRADE, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
JSON = b'{"n":"a"}'


async def test_a_websocket_is_opened_and_told_who_it_is(house: House) -> None:
    async with (
        opened(house, trusted_proxies=["127.0.0.1"]) as address,
        open_websocket_url(
            f"ws://{address}/chat?a=1&a=2", extra_headers=[(b"X-Forwarded-For", b"198.51.100.1")]
        ) as websocket,
    ):
        hello = orjson.loads(await websocket.get_message())
        assert hello == {"query": {"a": ["1", "2"]}, "address": "198.51.100.1"}
        await websocket.send_message("hello")
        assert await websocket.get_message() == "hello"


async def test_a_websocket_is_opened_by_tls_from_a_client_that_speaks_http_2_too(
    house: House, authority: Authority
) -> None:
    context = authority.trusted("http/1.1")
    async with (
        opened(house, tls=authority.certify("127.0.0.1")) as address,
        open_websocket_url(f"wss://{address}/chat", ssl_context=context) as websocket,
    ):
        await websocket.get_message()
        await websocket.send_message("hello")
        assert await websocket.get_message() == "hello"


async def test_a_message_beyond_the_limit_ends_the_websocket(house: House) -> None:
    async with opened(house) as address, trio.open_nursery() as nursery:
        websocket = await connect_websocket_url(nursery, f"ws://{address}/chat")
        await websocket.get_message()
        await websocket.send_message("x" * 1001)
        with pytest.raises(ConnectionClosed):
            await websocket.get_message()
        nursery.cancel_scope.cancel()


async def test_who_does_not_await_the_handshake_is_refused(house: House) -> None:
    frame = b"\x81\x85\x00\x00\x00\x00hello"
    async with opened(house) as address, wire(address) as client:
        assert (await client.ask(request("GET", "/chat", b"", *HANDSHAKE) + frame)).status == 400


async def test_a_websocket_may_follow_other_requests(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        await client.say(request("POST", "/echo", JSON) * 2 + request("GET", "/chat", b"", *HANDSHAKE))
        assert (await client.reply()).json["body"] == {"n": "a"}
        assert (await client.reply()).json["body"] == {"n": "a"}
        assert (await client.reply()).status == 101


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ((*UPGRADE, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), b"", 426),
        ((*UPGRADE, "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), b"", 426),
        ((*UPGRADE, "Sec-WebSocket-Version: 13"), b"", 400),
        ((*UPGRADE, "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: short"), b"", 400),
        (HANDSHAKE, b"a body", 400),
        ((*HANDSHAKE, "Transfer-Encoding: chunked"), b"", 400),
    ],
)
async def test_a_handshake_that_is_none_is_refused_quietly(
    house: House, headers: tuple[str, ...], body: bytes, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(house) as address, wire(address) as client:
        reply = await client.ask(request("GET", "/chat", body, *headers))
        assert (reply.status, reply.headers["connection"]) == (status, "close")
        assert not house.started.is_set()
    assert "failed" not in capsys.readouterr().out


async def test_without_an_upgrade_there_is_no_such_endpoint(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        assert (await client.ask(request("GET", "/chat"))).status == 404
        assert (await client.ask(request("GET", "/chat", b"", "Upgrade: websocket"))).status == 404
        assert (await client.ask(request("POST", "/chat", b"{}", *HANDSHAKE))).status == 404


@pytest.mark.parametrize(
    "headers",
    [
        ("Connection: Upgrade", "Upgrade: frobnicate"),
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        ("Connection: Upgrade", "Upgrade: TLS/1.0"),
        HANDSHAKE,
    ],
)
async def test_other_upgrades_are_ignored_and_the_body_read(
    house: House, by_quart: bool, headers: tuple[str, ...]
) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        await client.say(request("POST", "/echo", JSON, *headers) + request("POST", "/echo", b'{"n":"b"}'))
        assert (await client.reply()).json["body"] == {"n": "a"}
        assert (await client.reply()).json["body"] == {"n": "b"}
        head, _, body = request("POST", "/echo", JSON, *headers).partition(b"\r\n\r\n")
        await client.say(head + b"\r\n\r\n")
        await settled()
        assert (await client.ask(body)).json["body"] == {"n": "a"}
        chunked = request("POST", "/echo", b"", *headers, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n"
        assert (await client.ask(chunked)).json["body"] == {}
        assert (await client.ask(request("GET", "/address"))).status == 200


async def test_what_is_hidden_behind_an_upgrade_is_not_taken_for_a_request(house: House) -> None:
    smuggled = request("POST", "/echo", b'{"n":"smuggled"}')
    async with opened(house, limits=Limits(head_seconds=0.05)) as address, wire(address) as client:
        await client.say(request("POST", "/echo", smuggled, "Connection: Upgrade", "Upgrade: h2c"))
        assert (await client.reply()).status == 400
        await settled()
        assert house.served == []
