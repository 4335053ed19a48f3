"""Requests on one HTTP/1.1 connection, said byte by byte; both ways through the server."""

from __future__ import annotations

import contextlib
import socket

import pytest
import trio

from tests.homeserver.serving.house import LARGE, House, opened, request, wire
from tricord.homeserver.serving.limits import Limits

JSON = b'{"n":"%d"}'


async def test_requests_follow_each_other_on_a_connection(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        for number in range(3):
            reply = await client.ask(request("POST", "/echo", JSON % number))
            assert (reply.status, reply.json["body"]) == (200, {"n": str(number)})
            assert "connection" not in reply.headers
            assert reply.headers["date"].endswith(" GMT")
            assert reply.headers["content-type"] == "application/json"


async def test_pipelined_requests_are_answered_in_their_order(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        await client.say(b"".join(request("POST", "/echo", JSON % number) for number in range(20)))
        answered = [(await client.reply()).json["body"]["n"] for _ in range(20)]
        assert answered == [str(number) for number in range(20)]


async def test_what_is_sound_is_answered_before_what_is_not(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        await client.say(request("POST", "/echo", JSON % 1) + b"no such thing\r\n\r\n")
        assert (await client.reply()).status == 200
        assert (await client.reply()).status == 400
        assert await client.to_the_end() == b""


async def test_a_request_may_come_in_single_bytes(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        client.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request("POST", "/echo", JSON % 1):
            await client.say(bytes([byte]))
            await trio.lowlevel.checkpoint()
        assert (await client.reply()).json["body"] == {"n": "1"}


async def test_a_chunked_body_is_read(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        head = request("POST", "/echo", b"", "Transfer-Encoding: chunked")
        reply = await client.ask(head + b'4;a=b\r\n{"n"\r\n4\r\n:"1"\r\n1\r\n}\r\n0\r\n\r\n')
        assert reply.json["body"] == {"n": "1"}


async def test_trailers_do_not_become_headers(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        head = request("POST", "/echo", b"", "Transfer-Encoding: chunked")
        await client.say(head + b"2\r\n{}\r\n0\r\nAuthorization: Bearer good\r\nX-Late: 1\r\n\r\n")
        first = await client.reply()
        second = await client.ask(request("POST", "/echo", b"{}"))
        assert "x-late" not in first.json["headers"]
        assert "authorization" not in first.json["headers"]
        assert set(second.json["headers"]) == {"host", "content-length"}


async def test_white_space_around_a_value_is_not_of_it(house: House) -> None:
    async with opened(house) as address, wire(address) as client:
        reply = await client.ask(request("POST", "/echo", b"{}", "X-A: \t b c \t"))
        assert reply.json["headers"]["x-a"] == "b c"


async def test_a_client_that_expects_100_continue_is_told_so(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        head, _, body = request("POST", "/echo", JSON % 1, "Expect: 100-continue").partition(b"\r\n\r\n")
        assert (await client.ask(head + b"\r\n\r\n")).status == 100
        assert (await client.ask(body)).json["body"] == {"n": "1"}


async def test_a_client_that_expects_100_continue_is_refused_before_it_sends(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        head = request("POST", "/echo", b"", "Expect: 100-continue", "Content-Length: 1001")
        reply = await client.ask(head)
        assert (reply.status, reply.errcode) == (413, "M_TOO_LARGE")
        assert reply.headers["connection"] == "close"
        assert await client.to_the_end() == b""


async def test_other_expectations_fail(house: House) -> None:
    async with opened(house) as address, wire(address) as client:
        assert (await client.ask(request("POST", "/echo", b"{}", "Expect: miracles"))).status == 417


async def test_http_1_0_closes_unless_asked_not_to(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address:
        async with wire(address) as client:
            reply = await client.ask(request("POST", "/echo", b"{}", version="1.0"))
            assert reply.headers["connection"] == "close"
            assert await client.to_the_end() == b""
        async with wire(address) as client:
            keep = request("POST", "/echo", b"{}", "Connection: keep-alive", version="1.0", host="X: y")
            for _ in range(2):
                reply = await client.ask(keep)
                assert (reply.status, reply.headers["connection"]) == (200, "keep-alive")


async def test_a_stream_is_chunked_and_for_http_1_0_ends_with_the_connection(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        reply = await client.ask(request("GET", "/streamed"))
        assert (reply.body, reply.framing) == (b"one two", "chunked")
        reply = await client.ask(request("GET", "/streamed", version="1.0"))
        assert (reply.body, reply.framing) == (b"one two", "close")


@pytest.mark.parametrize("target", ["/address", "/streamed", "/large", "/nowhere"])
async def test_head_says_what_get_would_and_nothing_more(house: House, by_quart: bool, target: str) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        got = await client.ask(request("GET", target))
        head = await client.ask(request("HEAD", target), head_only=True)
        assert head.status == got.status
        assert head.headers.get("content-length") == got.headers.get("content-length")
        again = await client.ask(request("GET", "/address"))
        assert again.status == 200


async def test_a_large_answer_arrives_whole(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        reply = await client.ask(request("GET", "/large"))
        assert len(reply.body) == LARGE


async def test_close_is_kept(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        reply = await client.ask(request("POST", "/echo", b"{}", "Connection: close"))
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert await client.to_the_end() == b""


async def test_after_a_refusal_a_small_body_is_read_away_and_the_connection_goes_on(
    house: House, by_quart: bool
) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        head, _, body = request("POST", "/secret", b'{"n":"x"}').partition(b"\r\n\r\n")
        reply = await client.ask(head + b"\r\n\r\n")
        assert (reply.status, reply.errcode) == (401, "M_MISSING_TOKEN")
        assert "connection" not in reply.headers
        reply = await client.ask(body + request("POST", "/echo", JSON % 2))
        assert reply.json["body"] == {"n": "2"}
        assert house.served == ["2"]


async def test_after_a_refusal_a_large_body_is_not_waited_for(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        reply = await client.ask(request("POST", "/secret", b"", "Content-Length: 500000000"))
        assert (reply.status, reply.headers["connection"]) == (401, "close")
        assert await client.to_the_end() == b""


async def test_a_declared_body_over_the_limit_is_refused_unread(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        reply = await client.ask(request("POST", "/echo", b"", "Content-Length: 1000000000"))
        assert (reply.status, reply.errcode, reply.headers["connection"]) == (413, "M_TOO_LARGE", "close")


async def test_an_endless_chunked_body_is_cut_off(house: House, by_quart: bool) -> None:
    limits = Limits(linger_seconds=0.05, linger_bytes=1 << 20)
    async with opened(house, everything_by_quart=by_quart, limits=limits) as address, wire(address) as client:
        await client.say(request("POST", "/echo", b"", "Transfer-Encoding: chunked"))
        sent = 0
        with contextlib.suppress(trio.BrokenResourceError):
            while sent < 1 << 30:
                await client.say((b"400\r\n" + b"x" * 1024 + b"\r\n") * 100)
                sent += 100 << 10
        assert sent < 1 << 30


async def test_an_upload_is_handed_on_part_by_part(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        await client.say(request("POST", "/upload", b"", "Content-Length: 3000000"))
        for _ in range(3):
            await client.say(b"x" * 1_000_000)
        assert (await client.reply()).json == {"size": 3_000_000}
        assert house.parts > 10


async def test_a_request_follows_a_long_body_at_once_or_later(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        for number in (1, 2):
            await client.say(request("POST", "/upload", bytes(3 << 20)) + request("POST", "/echo", JSON % 1))
            assert (await client.reply()).json["size"] == number * (3 << 20)
            assert (await client.reply()).json["body"] == {"n": "1"}
            assert (await client.ask(request("POST", "/echo", JSON % 2))).json["body"] == {"n": "2"}


async def test_a_long_body_may_come_in_single_bytes(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        client.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await client.say(request("POST", "/upload", b"", "Content-Length: 100500"))
        for part in [b"a" * 50_000, *[b"b"] * 500, b"c" * 50_000]:
            await client.say(part)
            await trio.lowlevel.checkpoint()
        assert (await client.reply()).json["size"] == 100_500


async def test_who_goes_away_within_a_long_body_is_noticed(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        await client.say(request("POST", "/upload", b"", "Content-Length: 10000000") + b"a")
        await house.started.wait()
    # The server has ended, which it does after its connections.
    assert house.uploaded <= 1
