"""Clients that are slow, silent or gone: how long they are waited for, and what becomes of their requests."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.homeserver.serving.house import LARGE, House, opened, request, settled, wire
from tricord.homeserver.serving.limits import Limits

SHORT = 0.05


async def test_a_slow_head_is_not_waited_for(house: House, by_quart: bool) -> None:
    limits = Limits(head_seconds=SHORT)
    async with opened(house, everything_by_quart=by_quart, limits=limits) as address, wire(address) as client:
        reply = await client.ask(b"GET /address HTTP/1.1\r\nHost:")
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        assert await client.to_the_end() == b""


async def test_bytes_that_trickle_do_not_buy_time(house: House) -> None:
    async with opened(house, limits=Limits(head_seconds=SHORT)) as address, wire(address) as client:
        await client.say(b"GET /address HTTP/1.1\r\nX: ")
        while not client.read:
            await client.say(b"y")
            with trio.move_on_after(SHORT / 5):
                await client.more()
        assert (await client.reply()).status == 408


async def test_who_says_nothing_is_left_without_a_word(house: House) -> None:
    async with opened(house, limits=Limits(head_seconds=SHORT)) as address, wire(address) as client:
        assert await client.to_the_end() == b""


async def test_an_idle_connection_ends_without_a_word(house: House, by_quart: bool) -> None:
    limits = Limits(idle_seconds=SHORT)
    async with opened(house, everything_by_quart=by_quart, limits=limits) as address, wire(address) as client:
        assert (await client.ask(request("GET", "/address"))).status == 200
        assert await client.to_the_end() == b""


@pytest.mark.parametrize("target", ["/echo", "/upload"])
async def test_a_body_that_pauses_is_not_waited_for(house: House, by_quart: bool, target: str) -> None:
    limits = Limits(body_pause_seconds=SHORT)
    async with opened(house, everything_by_quart=by_quart, limits=limits) as address, wire(address) as client:
        reply = await client.ask(request("POST", target, b"", "Content-Length: 100") + b"{")
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        assert await client.to_the_end() == b""


@pytest.mark.parametrize("target", ["/upload", "/poured"])
async def test_what_little_has_come_of_a_long_body_buys_time(house: House, target: str) -> None:
    limits = Limits(body_pause_seconds=2, body_seconds=60)
    async with opened(house, limits=limits) as address, wire(address) as client:
        await client.say(request("POST", target, b"", "Content-Length: 1000000") + bytes(100_000))
        with trio.fail_after(60):
            while house.uploaded < 100_000:  # noqa: ASYNC110  # nothing else tells
                await trio.sleep(SHORT)
        reply = await client.ask(bytes(900_000))
        assert (reply.status, reply.json["size"]) == (200, 1_000_000)


@pytest.mark.parametrize("target", ["/upload", "/poured"])
async def test_a_body_that_trickles_is_not_waited_for(house: House, target: str) -> None:
    limits = Limits(body_seconds=SHORT, linger_seconds=SHORT)
    async with opened(house, limits=limits) as address, wire(address) as client:
        await client.say(request("POST", target, b"", "Content-Length: 200000"))
        reply = None
        while reply is None:
            await client.say(b"x")
            with trio.move_on_after(SHORT / 5):
                reply = await client.reply()
        assert reply.status == 408


def test_a_large_body_gets_the_time_that_it_needs() -> None:
    limits = Limits()
    assert limits.body_deadline(begun=100, now=129, received=0) == 130
    assert limits.body_deadline(begun=100, now=129, received=100 * limits.slowest_body) == 144
    assert limits.body_deadline(begun=100, now=300, received=100 * limits.slowest_body) == 230


async def test_who_does_not_send_the_rest_of_a_refused_body_is_left(house: House) -> None:
    limits = Limits(body_pause_seconds=SHORT)
    async with opened(house, limits=limits) as address, wire(address) as client:
        assert (await client.ask(request("POST", "/secret", b"", "Content-Length: 100"))).status == 401
        assert await client.to_the_end() == b""


async def test_who_does_not_read_an_answer_is_left(house: House, by_quart: bool, mock_clock: MockClock) -> None:
    mock_clock.rate = 1
    limits = Limits(send_pause_seconds=10, idle_seconds=10)
    async with opened(house, everything_by_quart=by_quart, limits=limits) as address, wire(address) as client:
        await client.say(request("GET", "/large"))
        await trio.lowlevel.wait_readable(client.stream.socket)
        await settled()
        mock_clock.jump(11)
        await settled()
        assert 0 < len(await client.to_the_end()) < LARGE


async def test_who_reads_slowly_but_steadily_gets_the_whole_answer(house: House, by_quart: bool) -> None:
    limits = Limits(send_pause_seconds=1)
    async with opened(house, everything_by_quart=by_quart, limits=limits) as address, wire(address) as client:
        await client.say(request("GET", "/large"))
        while len(client.read) < LARGE:
            await client.more()
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("sent", [b"", b'{"a":'])
async def test_nobody_is_told_of_a_client_that_leaves_within_its_body(
    house: House, by_quart: bool, sent: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(house, everything_by_quart=by_quart) as address:
        async with wire(address) as client:
            await client.say(request("POST", "/echo", b"", "Content-Length: 100") + sent)
            await settled()
        await settled()
        async with wire(address) as client:
            await client.say(request("POST", "/upload", b"", "Content-Length: 100") + sent)
            await house.started.wait()
        await settled()
    assert house.served == []
    said = capsys.readouterr().out
    assert "failed" not in said
    assert "500" not in said


async def test_a_client_that_leaves_lets_go_of_what_only_waits(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address:
        async with wire(address) as client:
            await client.say(request("POST", "/waits", b'{"a":1}'))
            await house.started.wait()
            assert not house.cancelled.is_set()
        await house.cancelled.wait()


async def test_a_client_that_leaves_does_not_stop_a_write(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address:
        async with wire(address) as client:
            await client.say(request("POST", "/works", b"{}"))
            await house.started.wait()
        await settled()
        house.release.set()
        await house.finished.wait()
        assert not house.cancelled.is_set()


async def test_the_body_of_what_waits_may_come_late(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        head, _, body = request("POST", "/waits", b'{"a":1}').partition(b"\r\n\r\n")
        await client.say(head + b"\r\n\r\n" + body[:3])
        await settled()
        await client.say(body[3:])
        await house.started.wait()
        house.release.set()
        assert (await client.reply()).json == {"waited": {"a": 1}}


async def test_what_is_sent_ahead_while_one_waits_is_served_next(house: House, by_quart: bool) -> None:
    async with opened(house, everything_by_quart=by_quart) as address, wire(address) as client:
        await client.say(request("POST", "/waits", b'{"a":1}'))
        await house.started.wait()
        await client.say(request("POST", "/echo", b'{"n":"ahead"}'))
        await settled()
        assert not house.cancelled.is_set()
        house.release.set()
        assert (await client.reply()).json == {"waited": {"a": 1}}
        assert (await client.reply()).json["body"] == {"n": "ahead"}


async def test_a_hundred_slow_clients_stop_nobody(house: House) -> None:
    async with opened(house) as address, trio.open_nursery() as nursery:

        async def dawdle(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            async with wire(address) as slow:
                await slow.say(b"GET /address HTTP/1.1\r\n")
                task_status.started()
                await trio.sleep_forever()

        for _ in range(100):
            await nursery.start(dawdle)
        async with wire(address) as client:
            assert (await client.ask(request("GET", "/address"))).status == 200
        nursery.cancel_scope.cancel()
