"""Requests that two readers could read differently, or that are too large, are refused and the connection closed."""

from __future__ import annotations

import pytest

from tests.homeserver.serving.house import House, opened, request, wire
from tricord.homeserver.serving.errors import Refused
from tricord.homeserver.serving.http1.framing import Reader
from tricord.homeserver.serving.limits import Limits

MARKER = request("POST", "/echo", b'{"n":"smuggled"}')
CHUNKED = "Transfer-Encoding: chunked"
TE = request("POST", "/echo", b"", CHUNKED)

DOUBTFUL = {
    "a length and chunks": request("POST", "/echo", b"", "Content-Length: 5", CHUNKED) + b"0\r\n\r\n" + MARKER,
    "chunks and a length": request("POST", "/echo", b"", CHUNKED, "Content-Length: 5") + b"0\r\n\r\n" + MARKER,
    "two lengths": request("POST", "/echo", b"", "Content-Length: 2", "Content-Length: 60") + b"{}" + MARKER,
    "the same length twice": request("POST", "/echo", b"", "Content-Length: 2", "Content-Length: 2") + b"{}" + MARKER,
    "a list of lengths": request("POST", "/echo", b"", "Content-Length: 2, 2") + b"{}" + MARKER,
    "a signed length": request("POST", "/echo", b"", "Content-Length: +2") + b"{}" + MARKER,
    "a negative length": request("POST", "/echo", b"", "Content-Length: -2") + b"{}" + MARKER,
    "a length of 30 digits": request("POST", "/echo", b"", "Content-Length: " + "9" * 30) + MARKER,
    "a length without digits": request("POST", "/echo", b"", "Content-Length: ") + MARKER,
    "another encoding": request("POST", "/echo", b"", "Transfer-Encoding: xchunked") + MARKER,
    "two encodings": request("POST", "/echo", b"", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n" + MARKER,
    "chunked twice": request("POST", "/echo", b"", CHUNKED, CHUNKED) + b"0\r\n\r\n" + MARKER,
    "identity": request("POST", "/echo", b"", "Transfer-Encoding: identity") + MARKER,
    "a vertical tab": request("POST", "/echo", b"", "Transfer-Encoding:\x0bchunked") + b"0\r\n\r\n" + MARKER,
    "chunks in HTTP/1.0": request("POST", "/echo", b"", CHUNKED, version="1.0") + b"0\r\n\r\n" + MARKER,
    "a folded line": request("POST", "/echo", b"", "X: a\r\n b") + MARKER,
    "a folded encoding": request("POST", "/echo", b"", "Transfer-Encoding:\r\n chunked") + b"0\r\n\r\n" + MARKER,
    "a space before the colon": request("POST", "/echo", b"", "Transfer-Encoding : chunked") + b"0\r\n\r\n" + MARKER,
    "a space before the name": request("POST", "/echo", b"", " X: a") + MARKER,
    "no name": request("POST", "/echo", b"", ": a") + MARKER,
    "no colon": request("POST", "/echo", b"", "X") + MARKER,
    "a bare LF": request("POST", "/echo", b"", "X: a\nContent-Length: 0") + MARKER,
    "only bare LF": request("POST", "/echo").replace(b"\r\n", b"\n") + MARKER,
    "a bare CR": request("POST", "/echo", b"", "X: a\rContent-Length: 0") + MARKER,
    "a NUL": request("POST", "/echo", b"", "X: a\0b") + MARKER,
    "a control character": request("POST", "/echo", b"", "X: a\x01b") + MARKER,
    "no Host": request("POST", "/echo", host="X: y") + MARKER,
    "two Hosts": request("POST", "/echo", b"", "Host: other") + MARKER,
    "a URL": request("POST", "http://other.test/echo") + MARKER,
    "an authority": request("CONNECT", "other.test:443") + MARKER,
    "no path": request("POST", "echo") + MARKER,
    "a fragment": request("POST", "/echo#a") + MARKER,
    "a byte that is not ASCII": request("POST", "/ech\xf6") + MARKER,
    "a control character in the target": request("POST", "/echo\x7f") + MARKER,
    "a small method": request("post", "/echo") + MARKER,
    "an unknown method": request("FROB", "/echo") + MARKER,
    "HTTP/0.9": b"GET /echo\r\n\r\n" + MARKER,
    "HTTP/1.2": request("POST", "/echo", version="1.2") + MARKER,
    "HTTP/2.0 as text": request("POST", "/echo", version="2.0") + MARKER,
    "HTTP/3": request("POST", "/echo", version="3.0") + MARKER,
    "a negative chunk": TE + b"-1\r\nx\r\n0\r\n\r\n" + MARKER,
    "a chunk in C": TE + b"0x2\r\n{}\r\n0\r\n\r\n" + MARKER,
    "a chunk of 20 digits": TE + b"f" * 20 + b"\r\n{}\r\n0\r\n\r\n" + MARKER,
    "a chunk with a space": TE + b"2 \r\n{}\r\n0\r\n\r\n" + MARKER,
    "a chunk with a bare LF": TE + b"2\n{}\r\n0\r\n\r\n" + MARKER,
    "an extension with a bare LF": TE + b"2;a\nb\r\n{}\r\n0\r\n\r\n" + MARKER,
    "a chunk that is longer": TE + b"2\r\n{}}\r\n0\r\n\r\n" + MARKER,
    "a length in the trailers": TE + b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n" + MARKER,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60),
}


@pytest.mark.parametrize("case", DOUBTFUL)
async def test_what_could_be_read_differently_is_refused_and_nothing_after_it_is_run(
    house: House, by_quart: bool, case: str
) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        reply = await client.ask(DOUBTFUL[case])
        assert reply.status in (400, 505)
        assert reply.headers["connection"] == "close"
        assert reply.errcode == "M_UNKNOWN"
        assert await client.to_the_end() == b""
        assert "smuggled" not in house.served


TOO_LARGE = {
    "many headers": (request("GET", "/address", b"", *(f"X-{n}: y" for n in range(10_000))), 431),
    "more headers than we count": (request("GET", "/address", b"", *(f"X-{n}: y" for n in range(128))), 431),
    "one large value": (request("GET", "/address", b"", "X: " + "y" * (1 << 20)), 431),
    "one large name": (request("GET", "/address", b"", "x" * (1 << 20) + ": y"), 431),
    "a large name that does not end": (b"GET /address HTTP/1.1\r\n" + b"x" * (1 << 20), 431),
    "a large value that does not end": (b"GET /address HTTP/1.1\r\nX: " + b"x" * (1 << 20), 431),
    "a large target": (request("GET", "/address?" + "y" * 65_536), 414),
    "a target that does not end": (b"GET /" + b"y" * (1 << 20), 414),
    "a large method": (b"G" * (1 << 20), 400),
    "large trailers": (TE + b"0\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n", 431),
    "a large trailer that does not end": (TE + b"0\r\nX: " + b"y" * (1 << 20), 400),
    "many trailers": (TE + b"0\r\n" + b"X: y\r\n" * 100_000 + b"\r\n", 431),
    "a large extension": (TE + b"2;" + b"y" * (1 << 20), 400),
    "many requests": (request("GET", "/address") * 500, 400),
}


@pytest.mark.parametrize("case", TOO_LARGE)
async def test_heads_and_framing_have_a_bound(house: House, case: str) -> None:
    data, status = TOO_LARGE[case]
    reader = Reader(Limits())
    fed = 0
    for start in range(0, len(data), 65_536):
        reader.feed(data[start : start + 65_536])
        fed += len(data[start : start + 65_536])
        if reader.refusal is not None:
            break
    assert isinstance(reader.refusal, Refused)
    assert fed <= 4 * 65_536
    assert reader.refusal.status in (status, 400)


@pytest.mark.parametrize("case", ["many headers", "one large value", "a large target", "a target that does not end"])
async def test_who_sends_too_large_a_head_is_told_so(house: House, by_quart: bool, case: str) -> None:
    data, status = TOO_LARGE[case]
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        reply = await client.ask(data)
        assert (reply.status, reply.headers["connection"]) == (status, "close")
        assert await client.to_the_end() == b""


def test_small_chunks_are_not_mistaken_for_framing_without_end() -> None:
    reader = Reader(Limits())
    reader.feed(TE)
    for _ in range(40):
        reader.feed(b"1\r\nx\r\n" * 10_000)
    assert reader.refusal is None
