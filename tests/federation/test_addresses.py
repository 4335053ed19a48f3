from __future__ import annotations

from ipaddress import ip_address

import pytest

from tricord.federation.addresses import AllowedAddresses, final_address

PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2a01:4f8::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:0:7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fe80::1",
    "fe80::1%1",
    "2a01:4f8::1%1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_may_be_called(text: str) -> None:
    assert AllowedAddresses().permits(ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_addresses_that_are_not_public_may_not_be_called_however_they_are_written(text: str) -> None:
    assert not AllowedAddresses().permits(ip_address(text))


@pytest.mark.parametrize("text", ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00::5"])
def test_what_the_operator_allows_may_be_called(text: str) -> None:
    allowed = AllowedAddresses(["127.0.0.0/8", "fd00::/64"])
    assert allowed.permits(ip_address(text))
    assert not allowed.permits(ip_address("10.0.0.1"))
    assert not allowed.permits(ip_address("::1"))


def test_a_mapped_address_ends_where_the_address_in_it_does() -> None:
    assert final_address(ip_address("::ffff:10.0.0.1")) == ip_address("10.0.0.1")
    assert final_address(ip_address("2a01:4f8::1")) == ip_address("2a01:4f8::1")
