from __future__ import annotations

import contextlib
import gzip
import ssl
import zlib
from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.federation.web import LOOPBACK, Host, ScriptedDns, Seen, hosting, reply
from tricord.federation import egress as module
from tricord.federation.addresses import AllowedAddresses
from tricord.federation.dns import SystemDns
from tricord.federation.egress import Egress
from tricord.federation.errors import AddressRefused, AnswerInvalid, EgressError, HostUnreachable
from tricord.federation.places import Place
from tricord.federation.redirects import Trail
from tricord.federation.route import Route

TLS = ssl.create_default_context()
BOTH = ("https", "http")


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with hosting(Host()) as host:
        yield host


@pytest.fixture
async def dns() -> ScriptedDns:
    return ScriptedDns(hosts={"a.example": [LOOPBACK]})


@pytest.fixture
async def egress(dns: ScriptedDns) -> AsyncIterator[Egress]:
    egress = Egress(dns, AllowedAddresses(["127.0.0.0/8"]), TLS)
    yield egress
    await egress.aclose()


def _packed(body: bytes, _: Seen) -> bytes:
    return reply(body, "Content-Encoding: gzip")


def route_to(*hosts: Host) -> Route:
    places = tuple(Place(number, LOOPBACK, host.port) for number, host in enumerate(hosts))
    return Route("a.example", "a.example", places, "http")


async def ask(egress: Egress, route: Route, method: str = "GET", max_bytes: int = 1000) -> bytes:
    response = await egress.send(route, method, "/x?y", {}, None, timeout_seconds=10, max_bytes=max_bytes)
    return response.body


async def test_a_request_arrives_with_the_name_it_was_sent_to(egress: Egress, host: Host) -> None:
    route = route_to(host)
    response = await egress.send(route, "PUT", "/a%2Fb?c=d", {"X": "y"}, b"{}", timeout_seconds=10, max_bytes=10)
    assert (response.status, response.body) == (200, b"{}")
    seen = host.seen[0]
    assert (seen.method, seen.target, seen.body) == ("PUT", "/a%2Fb?c=d", b"{}")
    assert (seen.headers["host"], seen.headers["x"]) == ("a.example", "y")


async def test_connections_are_kept_for_the_next_request(egress: Egress, host: Host) -> None:
    for _ in range(3):
        await ask(egress, route_to(host))
    assert (host.connections, len(host.seen)) == (1, 3)


async def test_names_do_not_share_connections(egress: Egress, host: Host) -> None:
    for name in ("a.example", "b.example"):
        await ask(egress, Route(name, name, (Place.at(LOOPBACK, host.port),), "http"))
    assert host.connections == 2


async def test_a_kept_connection_that_was_closed_is_made_anew_where_repeating_does_no_harm(
    egress: Egress, host: Host
) -> None:
    def hang_up(_: Seen) -> bytes:
        host.answer = lambda _: reply(b"again")
        raise trio.BrokenResourceError

    await ask(egress, route_to(host))
    host.answer = hang_up
    assert await ask(egress, route_to(host)) == b"again"
    host.answer = hang_up
    with pytest.raises(EgressError):
        await ask(egress, route_to(host), "POST")


async def test_the_next_place_is_tried_where_one_does_not_answer(egress: Egress, host: Host) -> None:
    async with hosting(Host()) as gone:
        pass
    assert await ask(egress, route_to(gone, host)) == b"{}"


async def test_nobody_there_is_unreachable(egress: Egress) -> None:
    async with hosting(Host()) as gone:
        pass
    with pytest.raises(HostUnreachable):
        await ask(egress, route_to(gone))
    with pytest.raises(HostUnreachable):
        await ask(egress, Route("no.example", "no.example", (Place.at("no.example", 1),), "http"))


@pytest.mark.parametrize(
    "name",
    [
        "127.0.0.1",
        "::1",
        "0.0.0.0",  # noqa: S104
        "::",
        "169.254.169.254",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "localhost",
        "localhost.",
    ],
)
async def test_nothing_ever_connects_to_addresses_that_are_not_allowed(name: str) -> None:
    egress = Egress(SystemDns(), AllowedAddresses(), TLS)
    async with hosting(Host(), address="0.0.0.0") as four, hosting(Host(), address="::") as six:  # noqa: S104
        for host in (four, six):
            url = f"http://{f'[{name}]' if ':' in name else name}:{host.port}/"
            with pytest.raises(EgressError):
                await egress.fetch(url, schemes=BOTH, timeout_seconds=10, max_bytes=10)
            route = Route(name, name, (Place.at(name, host.port),), "http")
            with pytest.raises(HostUnreachable):
                await ask(egress, route)
        await trio.sleep(0.01)
        assert (four.connections, six.connections) == (0, 0)


async def test_a_name_with_a_private_address_is_refused(host: Host, dns: ScriptedDns) -> None:
    egress = Egress(dns, AllowedAddresses(), TLS)
    with pytest.raises(AddressRefused):
        await egress.fetch(f"http://a.example:{host.port}/", schemes=BOTH, timeout_seconds=10, max_bytes=10)
    assert host.connections == 0


async def test_a_name_that_changes_its_address_leads_nowhere_else(egress: Egress, host: Host, dns: ScriptedDns) -> None:
    async with hosting(Host(), address="::1") as inside:
        dns.hosts["a.example"] = ["::1"]
        with pytest.raises(AddressRefused):
            await egress.fetch(f"http://a.example:{inside.port}/", schemes=BOTH, timeout_seconds=10, max_bytes=10)
        dns.hosts["a.example"] = ["::1", LOOPBACK]
        await egress.fetch(f"http://a.example:{host.port}/", schemes=BOTH, timeout_seconds=10, max_bytes=10)
        assert inside.connections == 0
        assert dns.asked == ["a.example", "a.example"]


async def test_redirects_are_followed_and_every_step_is_checked(egress: Egress, host: Host) -> None:
    def answer(seen: Seen) -> bytes:
        if seen.target == "/":
            return reply(b"", "Location: /next?a", status=302)
        if seen.target == "/next?a":
            return reply(b"", f"Location: http://[::1]:{host.port}/", status=307)
        return reply(b"not reached")

    host.answer = answer
    url = f"http://a.example:{host.port}/"
    with pytest.raises(AddressRefused):
        await egress.fetch(url, schemes=BOTH, max_redirects=5, timeout_seconds=10, max_bytes=100)
    assert [seen.target for seen in host.seen] == ["/", "/next?a"]
    unfollowed = await egress.fetch(url, schemes=BOTH, timeout_seconds=10, max_bytes=100)
    assert unfollowed.status == 302


@pytest.mark.parametrize(
    "location", ["/", "/a", "ftp://a.example/", "file:///etc/passwd", "http://u:p@a.example/", "//[", "http://"]
)
async def test_redirects_in_circles_or_to_odd_places_are_no_answer(egress: Egress, host: Host, location: str) -> None:
    host.answer = lambda _: reply(b"", f"Location: {location}", status=301)
    with pytest.raises(EgressError):
        await egress.fetch(
            f"http://a.example:{host.port}/", schemes=BOTH, max_redirects=3, timeout_seconds=10, max_bytes=100
        )
    assert len(host.seen) <= 4


async def test_by_default_only_https_is_fetched(egress: Egress, host: Host) -> None:
    with pytest.raises(AnswerInvalid):
        await egress.fetch(f"http://a.example:{host.port}/", timeout_seconds=10, max_bytes=100)
    assert host.connections == 0


async def test_answers_larger_than_allowed_are_not_read(egress: Egress, host: Host) -> None:
    host.answer = lambda _: reply(b"a" * 1000)
    assert len(await ask(egress, route_to(host))) == 1000
    host.answer = lambda _: reply(b"a" * 1001)
    with pytest.raises(AnswerInvalid, match="larger"):
        await ask(egress, route_to(host))


async def test_gzip_is_understood_and_bounded_after_it_was_unpacked(egress: Egress, host: Host) -> None:
    host.answer = lambda _: reply(gzip.compress(b"a" * 1000), "Content-Encoding: gzip")
    assert await ask(egress, route_to(host)) == b"a" * 1000
    for body in (
        gzip.compress(b"a" * 10_000_000),
        gzip.compress(b"abc" * 100)[:-9],
        zlib.compress(b"a"),
        b"a",
    ):
        host.answer = partial(_packed, body)
        with pytest.raises(AnswerInvalid):
            await ask(egress, route_to(host), max_bytes=1 << 20)
    host.answer = lambda _: reply(b"a", "Content-Encoding: br")
    with pytest.raises(AnswerInvalid):
        await ask(egress, route_to(host))


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000, b"\0" * 100])
async def test_what_is_no_http_is_no_answer(egress: Egress, host: Host, answer: bytes) -> None:
    host.answer = lambda _: answer
    with pytest.raises(EgressError):
        await ask(egress, route_to(host))


async def test_a_host_that_hangs_up_without_an_answer_is_unreachable(egress: Egress, host: Host) -> None:
    def hang_up(_: Seen) -> bytes:
        raise trio.BrokenResourceError

    host.answer = hang_up
    with pytest.raises(HostUnreachable):
        await ask(egress, route_to(host))


async def test_an_answer_that_trickles_is_given_up_in_time(egress: Egress, host: Host) -> None:
    async def never(_: Seen) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    host.answer = never
    with pytest.raises(HostUnreachable, match="within"):
        await egress.send(route_to(host), "GET", "/", {}, None, timeout_seconds=0.05, max_bytes=10)
    host.answer = lambda _: reply(b"{}")
    assert await ask(egress, route_to(host)) == b"{}"


async def test_a_route_takes_only_so_many_connections(egress: Egress, host: Host) -> None:
    go_on, many = trio.Event(), trio.Event()

    async def slow(_: Seen) -> bytes:
        if len(host.seen) == module._CONNECTIONS_PER_ROUTE:
            many.set()
        await go_on.wait()
        return reply(b"{}")

    host.answer = slow
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask, egress, route_to(host))
        await many.wait()
        await trio.sleep(0.01)
        assert host.connections == module._CONNECTIONS_PER_ROUTE
        go_on.set()
    assert len(host.seen) == 20
    assert host.connections == module._CONNECTIONS_PER_ROUTE


async def test_connections_that_nobody_uses_are_closed(
    egress: Egress, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_LINES", 1)
    for name in ("a.example", "b.example", "c.example"):
        await ask(egress, Route(name, name, (Place.at(LOOPBACK, host.port),), "http"))
    assert len(egress._lines) == 1


@pytest.mark.parametrize("name", ["a..b", ".", "a" * 64 + ".example", "-", "xn--"])
async def test_names_that_cannot_be_are_unreachable(name: str) -> None:
    egress = Egress(SystemDns(), AllowedAddresses(["0.0.0.0/0"]), TLS)
    with pytest.raises(HostUnreachable):
        await egress.send(
            Route(name, name, (Place.at(name, 1),)), "GET", "/", {}, None, timeout_seconds=10, max_bytes=10
        )


async def test_a_request_that_was_given_up_harms_no_other(egress: Egress, host: Host) -> None:
    begun = trio.Event()

    async def never(_: Seen) -> bytes:
        begun.set()
        await trio.sleep_forever()
        raise AssertionError

    host.answer = never
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, egress, route_to(host))
        await begun.wait()
        nursery.cancel_scope.cancel()
    host.answer = lambda _: reply(b"{}")
    for _ in range(module._CONNECTIONS_PER_ROUTE + 1):
        assert await ask(egress, route_to(host)) == b"{}"


@given(st.text(max_size=60), st.sampled_from(["", "https://", "http://", "//", "https://[", "https://a.example:"]))
def test_any_place_to_be_redirected_to_is_a_url_or_no_answer(text: str, start: str) -> None:
    with contextlib.suppress(AnswerInvalid):
        trail = Trail("https://a.example/", BOTH)
        trail.follow(start + text, max_redirects=1)
        assert trail.route.scheme in BOTH
        assert trail.target.startswith("/")
        module._request(trail.route, "GET", trail.target, {}, None)


async def opened(egress: Egress, route: Route) -> bytes:
    async with egress.open(route, "/file", {}, timeout_seconds=10) as answer:
        assert answer.status == 200
        return b"".join([part async for part in answer.parts])


async def test_a_large_answer_is_given_as_it_comes(egress: Egress, host: Host) -> None:
    data = bytes(range(256)) * 8000
    host.answer = lambda _: reply(data)
    assert await opened(egress, route_to(host)) == data
    assert host.seen[0].headers["accept-encoding"] == "identity"
    # A second one by the same connection, after the first has been read to its end.
    assert await opened(egress, route_to(host)) == data
    assert host.connections == 1


async def test_an_answer_may_be_left_half_read(egress: Egress, host: Host) -> None:
    host.answer = lambda _: reply(b"x" * 2_000_000)
    for _ in range(20):
        async with egress.open(route_to(host), "/file", {}, timeout_seconds=10) as answer:
            assert await anext(answer.parts)
    assert await opened(egress, route_to(host)) == b"x" * 2_000_000


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(gzip.compress(b"x", mtime=0), "Content-Encoding: gzip"), AnswerInvalid),
        (b"no HTTP\r\n\r\n", AnswerInvalid),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", AnswerInvalid),
    ],
)
async def test_a_large_answer_is_checked_as_others_are(
    egress: Egress, host: Host, answer: bytes, error: type[EgressError]
) -> None:
    host.answer = lambda _: answer
    with pytest.raises(error):
        await opened(egress, route_to(host))


async def test_a_url_is_followed_only_where_that_is_permitted(egress: Egress, host: Host, dns: ScriptedDns) -> None:
    dns.hosts["b.example"] = [LOOPBACK]
    there = f"http://b.example:{host.port}/there"
    host.answer = lambda seen: reply(b"it", f"Location: {there}", status=302) if seen.target == "/" else reply(b"it")
    url = f"http://a.example:{host.port}/"
    async with egress.open_url(url, timeout_seconds=10, schemes=BOTH) as answer:
        assert await anext(answer.parts) == b"it"
    with pytest.raises(AddressRefused):
        async with egress.open_url(url, timeout_seconds=10, schemes=BOTH, permits=lambda name: name == "a.example"):
            pass
    assert [seen.target for seen in host.seen] == ["/", "/there", "/"]
    with pytest.raises(AnswerInvalid):
        async with egress.open_url(url, timeout_seconds=10, schemes=BOTH, max_redirects=0):
            pass
