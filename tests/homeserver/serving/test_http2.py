"""HTTP/2: the same answers, the same limits; both ways through the server."""

from __future__ import annotations

import contextlib
from typing import Any

import h2.errors
import h2.exceptions
import h2.settings
import pytest
import trio
from trio.testing import MockClock

from tests.homeserver.serving.house import LARGE, House, opened, settled, wire
from tests.homeserver.serving.http2_client import http2
from tricord.homeserver.serving.http2.exchange import Exchange
from tricord.homeserver.serving.limits import Limits

SHORT = 0.05


async def test_requests_are_answered_on_one_connection(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        for number in range(3):
            stream = await client.ask("POST", "/echo", b'{"n":"%d"}' % number)
            assert (stream.status, stream.json["body"]) == (200, {"n": str(number)})
            assert stream.json["headers"]["host"] == "hs.test"
            assert stream.headers["date"].endswith(" GMT")


async def test_a_waiting_request_holds_up_no_other(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        waiting = await client.start("POST", "/waits")
        await house.started.wait()
        assert (await client.ask("GET", "/address")).status == 200
        house.release.set()
        assert (await client.answer(waiting)).json == {"waited": {}}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "errcode"),
    [
        ("GET", "/nowhere", b"", 404, "M_UNRECOGNIZED"),
        ("GET", "/echo", b"", 405, "M_UNRECOGNIZED"),
        ("POST", "/echo", b'{"a":', 400, "M_NOT_JSON"),
        ("POST", "/echo", b"[]", 400, "M_BAD_JSON"),
        ("POST", "/secret", b"{}", 401, "M_MISSING_TOKEN"),
        ("PUT", "/_matrix/client/v3/rooms/%ff/send/a", b"{}", 400, "M_INVALID_PARAM"),
        ("GET", "/broken", b"", 500, "M_UNKNOWN"),
    ],
)
async def test_refusals_are_those_of_http_1(
    house: House, by_quart: bool, method: str, path: str, body: bytes, status: int, errcode: str
) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        stream = await client.ask(method, path, body)
        assert (stream.status, stream.json["errcode"]) == (status, errcode)
        assert stream.headers["access-control-allow-origin"] == "*"
        assert (await client.ask("OPTIONS", path)).status == 200


async def test_a_body_over_the_limit_is_refused_and_nothing_connection_specific_is_said(
    house: House, by_quart: bool
) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        stream = await client.ask("POST", "/echo", b" " * 1001)
        assert (stream.status, stream.json["errcode"]) == (413, "M_TOO_LARGE")
        assert "connection" not in stream.headers
        assert (await client.ask("GET", "/address")).status == 200


async def test_a_declared_body_over_the_limit_is_refused_unread(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        stream_id = await client.start("POST", "/echo", ("content-length", "1000000000"), end=False)
        stream = await client.answer(stream_id)
        assert stream.status == 413
        while stream.reset is None:
            await client.read()
        assert stream.reset == h2.errors.ErrorCodes.NO_ERROR
        assert (await client.ask("GET", "/address")).status == 200


async def test_an_endless_body_is_cut_off_and_its_neighbours_are_served(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        stream_id = await client.start("POST", "/echo", end=False)
        with contextlib.suppress(h2.exceptions.StreamClosedError):
            for _ in range(10_000):
                await client.send(stream_id, b"x" * 16_384)
        assert client.streams[stream_id].reset == h2.errors.ErrorCodes.NO_ERROR
        assert client.streams[stream_id].status == 413
        assert (await client.ask("GET", "/address")).status == 200


async def test_a_body_is_taken_no_faster_than_it_is_read(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        stream_id = await client.start("POST", "/works", end=False)
        await client.send(stream_id, b"{", end=False)
        await settled()
        unread = [await client.start("POST", "/waits", end=False) for _ in range(20)]
        for other in unread:
            with trio.move_on_after(SHORT / 5):
                await client.send(other, b" " * 65_535)
        assert (await client.ask("GET", "/address")).status == 200


async def test_an_upload_is_handed_on_part_by_part(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        stream = await client.ask("POST", "/upload", b"x" * 3_000_000)
        assert stream.json == {"size": 3_000_000}
        assert house.parts > 10


async def test_trailers_do_not_become_headers(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        stream_id = await client.start("POST", "/echo", end=False)
        await client.send(stream_id, b"{}")
        client.h2.send_headers(stream_id, [("authorization", "Bearer good")], end_stream=True)
        await client.flush()
        assert "authorization" not in (await client.answer(stream_id)).json["headers"]


async def test_head_and_streams_and_large_answers_arrive(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        head = await client.ask("HEAD", "/large")
        assert (head.status, head.headers["content-length"], head.body) == (200, str(LARGE), b"")
        assert (await client.ask("GET", "/streamed")).body == b"one two"
        assert len((await client.ask("GET", "/large")).body) == LARGE


async def test_a_body_that_pauses_is_not_waited_for(house: House, by_quart: bool) -> None:
    limits = Limits(body_pause_seconds=SHORT)
    async with opened(house, everything_by_quart=by_quart, limits=limits) as address, http2(address) as client:
        stream_id = await client.start("POST", "/echo", end=False)
        await client.send(stream_id, b"{")
        stream = await client.answer(stream_id)
        assert stream.status == 408
        assert (await client.ask("GET", "/address")).status == 200


async def test_a_connection_that_begins_no_request_ends(house: House) -> None:
    async with opened(house, limits=Limits(head_seconds=SHORT)) as address, http2(address) as client:
        await client.to_the_end()


async def test_a_head_that_is_never_finished_ends_the_connection(house: House) -> None:
    async with opened(house, limits=Limits(head_seconds=SHORT)) as address, http2(address) as client:
        await client.transport.send_all(b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82")
        await client.to_the_end()


async def test_an_idle_connection_ends(house: House, by_quart: bool) -> None:
    limits = Limits(idle_seconds=SHORT)
    async with opened(house, everything_by_quart=by_quart, limits=limits) as address, http2(address) as client:
        assert (await client.ask("GET", "/address")).status == 200
        await client.to_the_end()


async def test_a_connection_with_a_waiting_request_is_not_idle(
    house: House, by_quart: bool, mock_clock: MockClock
) -> None:
    # Time stands still but where it is moved on.
    limits = Limits(idle_seconds=1, head_seconds=1)
    async with opened(house, everything_by_quart=by_quart, limits=limits) as address, http2(address) as client:
        waiting = await client.start("POST", "/waits")
        await house.started.wait()
        mock_clock.jump(3)
        await settled()
        house.release.set()
        assert (await client.answer(waiting)).status == 200


async def test_who_does_not_read_an_answer_loses_it(house: House, by_quart: bool) -> None:
    limits = Limits(send_pause_seconds=SHORT)
    async with opened(house, everything_by_quart=by_quart, limits=limits) as address, http2(address) as client:
        client.reads = False
        stream = await client.ask("GET", "/large")
        assert stream.reset is not None
        assert len(stream.body) < LARGE


async def test_a_client_that_leaves_lets_go_of_what_only_waits(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address:
        async with http2(address) as client:
            await client.start("POST", "/waits")
            await house.started.wait()
        await house.cancelled.wait()


async def test_a_request_that_is_taken_back_lets_go_of_what_only_waits(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        stream_id = await client.start("POST", "/waits")
        await house.started.wait()
        client.h2.reset_stream(stream_id)
        await client.flush()
        await house.cancelled.wait()
        assert (await client.ask("GET", "/address")).status == 200


async def test_a_client_that_leaves_does_not_stop_a_write(
    house: House, by_quart: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(house, everything_by_quart=by_quart) as address:
        async with http2(address) as client:
            await client.start("POST", "/works")
            await house.started.wait()
        await settled()
        house.release.set()
        await house.finished.wait()
        await settled()
        assert not house.cancelled.is_set()
    assert "failed" not in capsys.readouterr().out


async def test_a_client_that_leaves_within_an_answer_is_forgotten(
    house: House, by_quart: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        client.reads = False
        for path in ("/large", "/streamed", "/large"):
            await client.start("GET", path)
        await client.read()
        await settled()
    assert "failed" not in capsys.readouterr().out


async def test_nobody_is_told_of_a_client_that_leaves_within_its_body(
    house: House, by_quart: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(house, everything_by_quart=by_quart) as address:
        async with http2(address) as client:
            stream_id = await client.start("POST", "/echo", end=False)
            await client.send(stream_id, b"{")
            await settled()
        await settled()
    assert house.served == []
    said = capsys.readouterr().out
    assert "failed" not in said
    assert "500" not in said


async def test_requests_taken_back_by_the_thousand_end_the_connection(house: House) -> None:
    async with opened(house) as address, http2(address) as client:
        begun = []
        with contextlib.suppress(trio.BrokenResourceError, h2.exceptions.ProtocolError):
            for _ in range(5_000):
                stream_id = await client.start("POST", "/works", end=False)
                begun.append(stream_id)
                client.h2.reset_stream(stream_id)
                await client.flush()
        await client.to_the_end()
        assert len(begun) < 5_000
        house.release.set()


async def test_more_requests_at_once_than_agreed_are_refused(house: House) -> None:
    async with opened(house, limits=Limits(streams=3)) as address, http2(address) as client:
        await client.ask("GET", "/address")
        assert client.settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] == 3


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/" + "y" * 40_000, 0, 414),
        ("/address", 200, 431),
        ("http://other.test/address", 0, 400),
        ("address", 0, 400),
        ("/a b", 0, 400),
        ("/\u00e4", 0, 400),
        ("/a#b", 0, 400),
    ],
)
async def test_heads_are_bounded_as_in_http_1(
    house: House, by_quart: bool, path: str, headers: int, status: int
) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, http2(address) as client:
        stream = await client.ask("GET", path, b"", *((f"x-{n}", "y") for n in range(headers)))
        assert stream.status == status
        assert (await client.ask("GET", "/address")).status == 200


@pytest.mark.parametrize("header", ["x" * 70_000, "y"])
async def test_a_head_without_bound_ends_the_connection(house: House, header: str) -> None:
    async with opened(house) as address, http2(address) as client:
        with contextlib.suppress(trio.BrokenResourceError):
            await client.start("GET", "/address", *((f"x-{n}", header) for n in range(5_000 if header == "y" else 1)))
        with contextlib.suppress(trio.BrokenResourceError):
            await client.to_the_end()
    assert house.served == []


async def test_browsers_are_not_invited_to_bring_websockets_here(house: House) -> None:
    async with opened(house) as address, http2(address) as client:
        await client.ask("GET", "/address")
        assert not client.settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL)


async def test_garbage_after_the_preface_ends_only_its_connection(house: House) -> None:
    async with opened(house) as address:
        async with wire(address) as broken:
            await broken.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100)
            await broken.to_the_end()
        async with http2(address) as client:
            assert (await client.ask("GET", "/address")).status == 200


async def test_a_preface_may_come_in_parts(house: House) -> None:
    async with opened(house) as address, wire(address) as split:
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":
            await split.say(bytes([byte]))
            await trio.lowlevel.checkpoint()
        # A SETTINGS frame.
        assert (await split.exactly(4))[3] == 4


async def test_what_comes_while_a_part_is_handed_on_is_not_lost() -> None:
    class Flushing:
        """A protocol that hears the end of the body just when it tells the client to go on."""

        def read(self, _stream_id: int, size: int) -> None:
            if size == 3:
                exchange.put(b"end")
                exchange.complete()

        async def flush(self) -> None:
            await trio.lowlevel.checkpoint()

    protocol: Any = Flushing()
    exchange = Exchange(protocol, Limits(), 1, {"method": "POST"})
    exchange.put(b"one")
    first, second = await exchange.receive(), await exchange.receive()
    assert (first["body"], first["more_body"]) == (b"one", True)
    assert (second["body"], second["more_body"]) == (b"end", False)
