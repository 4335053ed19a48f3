"""Who calls, behind proxies of ours, proxies of others, and people who pretend to be behind some."""

from __future__ import annotations

import pytest

from tests.homeserver.serving.house import House, opened, request, wire
from tricord.homeserver.serving.client_address import ClientAddresses

TRUSTED = ("127.0.0.0/8", "10.0.0.0/8", "fd00::/8")


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1, 10.0.0.2,127.0.0.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.1", ["2001:DB8::0001"], "2001:db8::1"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("10.0.0.1", ["::ffff:10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, "], "10.0.0.1"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_not_a_proxy_of_ours(
    peer: str, forwarded: list[str], expected: str
) -> None:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    assert ClientAddresses(TRUSTED).of(peer, headers) == expected


def test_without_trusted_proxies_nobody_speaks_for_others() -> None:
    assert ClientAddresses().of("127.0.0.1", [(b"x-forwarded-for", b"198.51.100.1")]) == "127.0.0.1"


@pytest.mark.parametrize(("trusted", "expected"), [((), "127.0.0.1"), (("127.0.0.1/32",), "198.51.100.1")])
async def test_handlers_are_told_who_calls(
    house: House, by_quart: bool, trusted: tuple[str, ...], expected: str
) -> None:
    async with (
        opened(house, everything_by_quart=by_quart, trusted_proxies=trusted) as address,
        wire(address) as client,
    ):
        reply = await client.ask(request("GET", "/address", b"", "X-Forwarded-For: 6.6.6.6, 198.51.100.1"))
        assert reply.json == {"address": expected}
