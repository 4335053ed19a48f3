"""Long bodies that are put straight into the buffer of a handler: whole, in pieces, too slowly, or not at all."""

from __future__ import annotations

import hashlib
import os
import socket
import struct

import httpx
import pytest
import trio
from structlog.testing import capture_logs

from tests.authority import Authority
from tests.homeserver.serving.house import BUFFER, House, opened, request, wire
from tests.homeserver.serving.house import Wire as Client
from tricord.homeserver.serving.limits import Limits

SHORT = 0.05
LONG = 3_000_000


def of(data: bytes) -> dict[str, object]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("size", [1, 65_536, 131_071, 131_072, BUFFER, BUFFER + 1, LONG])
async def test_what_is_sent_is_what_is_read(house: House, by_quart: bool, size: int) -> None:
    data = os.urandom(size)
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        for _ in range(2):
            house.uploaded = 0
            assert (await client.ask(request("POST", "/poured", data))).json == of(data)


async def test_a_long_body_comes_in_as_few_parts_as_the_buffer_lets_it(house: House) -> None:
    async with opened(house) as address, wire(address) as client:
        await client.ask(request("POST", "/poured", bytes(LONG)))
    assert house.parts < 20


async def test_a_body_whose_length_nobody_says_is_read(house: House, by_quart: bool) -> None:
    data = os.urandom(LONG)
    parts = [data[at : at + 99_999] for at in range(0, LONG, 99_999)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        head = request("POST", "/poured", b"", "Transfer-Encoding: chunked")
        assert (await client.ask(head + chunks + b"0\r\n\r\n")).json == of(data)
        assert (await client.ask(request("GET", "/address"))).status == 200


async def test_requests_follow_at_once_or_later(house: House, by_quart: bool) -> None:
    data = os.urandom(LONG)
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        for _ in range(2):
            house.uploaded = 0
            await client.say(request("POST", "/poured", data) + request("POST", "/echo", b'{"n":"1"}'))
            assert (await client.reply()).json == of(data)
            assert (await client.reply()).json["body"] == {"n": "1"}
            assert (await client.ask(request("POST", "/echo", b'{"n":"2"}'))).json["body"] == {"n": "2"}


async def test_single_bytes_are_put_together(house: House, by_quart: bool) -> None:
    data = os.urandom(200_500)
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        client.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await client.say(request("POST", "/poured", b"", f"Content-Length: {len(data)}"))
        for part in [data[:100_000], *[data[at : at + 1] for at in range(100_000, 100_500)], data[100_500:]]:
            await client.say(part)
            await trio.lowlevel.checkpoint()
        assert (await client.reply()).json == of(data)


async def test_who_waits_to_be_told_is_told_to_send(house: House, by_quart: bool) -> None:
    data = os.urandom(LONG)
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        head = request("POST", "/poured", b"", f"Content-Length: {LONG}", "Expect: 100-continue")
        assert (await client.ask(head)).status == 100
        assert (await client.ask(data)).json == of(data)


@pytest.mark.parametrize("sent", [0, 1, 200_000])
async def test_a_body_that_pauses_is_not_waited_for(house: House, by_quart: bool, sent: int) -> None:
    limits = Limits(body_pause_seconds=SHORT)
    async with opened(house, everything_by_quart=by_quart, limits=limits) as address, wire(address) as client:
        reply = await client.ask(request("POST", "/poured", b"", f"Content-Length: {LONG}") + bytes(sent))
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        assert await client.to_the_end() == b""
    assert house.uploaded <= sent


@pytest.mark.parametrize("sent", [1, 500_000])
async def test_who_goes_away_is_noticed(house: House, by_quart: bool, sent: int) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        await client.say(request("POST", "/poured", b"", f"Content-Length: {LONG}") + bytes(sent))
        await house.started.wait()
    # The server has ended, which it does after its connections.
    assert house.uploaded <= sent


@pytest.mark.parametrize(("path", "length"), [("/poured", LONG), ("/upload", LONG), ("/upload", 1000), ("/echo", 1000)])
async def test_who_breaks_off_is_no_fault_of_ours(house: House, by_quart: bool, path: str, length: int) -> None:
    with capture_logs() as logs:
        async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
            head = request("POST", path, b"", f"Content-Length: {length}", "Expect: 100-continue")
            assert (await client.ask(head)).status == 100
            await client.say(b"{")
            # Without an end, as by a device that loses its network.
            client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert [entry for entry in logs if entry["log_level"] == "error"] == []


async def test_below_tls_the_same_is_read(house: House, authority: Authority) -> None:
    data, tls = os.urandom(LONG), authority.certify("127.0.0.1")
    async with opened(house, tls=tls) as address, wire(address) as plain:
        client = Client(trio.SSLStream(plain.stream, authority.trusted(), server_hostname="127.0.0.1"))
        assert (await client.ask(request("POST", "/poured", data))).json == of(data)
        assert (await client.ask(request("GET", "/address"))).status == 200


async def test_by_http_2_the_same_is_read(house: House, authority: Authority) -> None:
    data, tls = os.urandom(LONG), authority.certify("127.0.0.1")
    async with (
        opened(house, tls=tls) as address,
        httpx.AsyncClient(base_url=f"https://{address}", http1=False, http2=True, verify=authority.trusted()) as http,
    ):
        answer = await http.post("/poured", content=data)
        assert (answer.http_version, answer.json()) == ("HTTP/2", of(data))
