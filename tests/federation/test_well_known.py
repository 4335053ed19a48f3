from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from tricord.federation.errors import HostUnreachable
from tricord.federation.transport import Fetch, Response
from tricord.federation.well_known import WellKnown, lifetime_seconds, read_document

HOUR = 3600


@dataclass
class ScriptedWeb:
    """Documents by their URLs, and what was asked for."""

    answers: dict[str, Response] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    before: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint

    async def open(self) -> Fetch:
        return self

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_seconds: float,
        max_bytes: int,
        max_redirects: int = 0,
    ) -> Response:
        assert (method, headers, content) == ("GET", None, None)
        assert (timeout_seconds, max_bytes, max_redirects) == (10, 50 << 10, 5)
        self.asked.append(url)
        await self.before()
        if url not in self.answers:
            raise HostUnreachable(url)
        return self.answers[url]

    def says(self, host: str, body: bytes, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[f"https://{host}/.well-known/matrix/server"] = Response(status, named, body)


@pytest.fixture
def web() -> ScriptedWeb:
    return ScriptedWeb()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"[]",
        b"{}",
        b'{"m.server":1}',
        b'{"m.server":""}',
        b'{"m.server":"a b"}',
        b'{"m.server":"a.example:0"}',
        b'{"m.server":"a.example:70000"}',
        b'{"m.server":"https://a.example"}',
        b"[" * 10_000,
    ],
)
def test_a_document_that_names_no_server_is_none(body: bytes) -> None:
    assert read_document(Response(200, {}, body)) is None


def test_only_a_document_with_status_200_counts() -> None:
    assert read_document(Response(200, {}, b'{"m.server":"a.example:80","more":1}')) == "a.example:80"
    assert read_document(Response(404, {}, b'{"m.server":"a.example:80"}')) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 24 * HOUR),
        ({"cache-control": "public, max-age=7200"}, 7200),
        ({"cache-control": "max-age=7200", "age": "3600"}, 3600),
        ({"cache-control": "max-age=9999999999"}, 48 * HOUR),
        ({"cache-control": "no-store"}, 60),
        ({"cache-control": "max-age=0"}, 60),
        ({"cache-control": "max-age=x"}, 24 * HOUR),
        ({"date": "Mon, 01 Jan 2024 00:00:00 GMT", "expires": "Mon, 01 Jan 2024 02:00:00 GMT"}, 7200),
        ({"date": "Mon, 01 Jan 2024 00:00:00 GMT", "expires": "0"}, 60),
        ({"expires": "Mon, 01 Jan 2024 02:00:00 GMT"}, 24 * HOUR),
    ],
)
def test_answers_count_as_long_as_their_headers_say_within_limits(headers: dict[str, str], seconds: int) -> None:
    assert lifetime_seconds(headers) == seconds


async def test_a_document_is_asked_for_once_in_its_time(web: ScriptedWeb, autojump_clock: MockClock) -> None:
    web.says("a.example", b'{"m.server":"b.example"}')
    known = WellKnown(web)
    for hours in (0, 10, 9):
        await trio.sleep(hours * HOUR)
        assert await known.delegated("A.example") == "b.example"
    assert len(web.asked) == 1
    await trio.sleep(HOUR)
    web.says("a.example", b'{"m.server":"c.example"}')
    assert await known.delegated("a.example") == "c.example"


async def test_all_who_ask_at_once_share_one_request(web: ScriptedWeb, autojump_clock: MockClock) -> None:
    web.says("a.example", b'{"m.server":"b.example"}')

    async def slowly() -> None:
        await trio.sleep(1)

    web.before = slowly
    known = WellKnown(web)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(known.delegated, "a.example")
    assert len(web.asked) == 1


async def test_a_host_without_document_is_asked_again_after_an_hour(
    web: ScriptedWeb, autojump_clock: MockClock
) -> None:
    web.says("a.example", b"not found", status=404)
    known = WellKnown(web)
    for minutes in (0, 30, 29):
        await trio.sleep(minutes * 60)
        assert await known.delegated("a.example") is None
    assert len(web.asked) == 1
    await trio.sleep(60)
    await known.delegated("a.example")
    assert len(web.asked) == 2


async def test_a_host_that_does_not_answer_is_asked_ever_more_rarely(
    web: ScriptedWeb, autojump_clock: MockClock
) -> None:
    known = WellKnown(web)
    for _ in range(24 * 60):
        assert await known.delegated("a.example") is None
        await trio.sleep(60)
    assert 24 < len(web.asked) < 35


async def test_an_answer_is_kept_while_its_host_is_away_until_its_time_is_over(
    web: ScriptedWeb, autojump_clock: MockClock
) -> None:
    web.says("a.example", b'{"m.server":"b.example"}')
    known = WellKnown(web)
    await known.delegated("a.example")
    web.says("a.example", b"", status=503)
    for _ in range(23):
        await trio.sleep(HOUR)
        assert await known.delegated("a.example") == "b.example"
    await trio.sleep(HOUR)
    assert await known.delegated("a.example") is None
