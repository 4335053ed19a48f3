"""Which addresses requests may go to that somebody else caused: public ones, and those that the operator allows.

An IPv6 address that stands for an IPv4 address is judged as the latter, since that is where packets end up.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# All that is routed today; everything else is for special purposes, or for later.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")

# https://www.iana.org/assignments/iana-ipv4-special-registry, and what newer Pythons know of it that older ones do not.
_SPECIAL_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
# https://www.iana.org/assignments/iana-ipv6-special-registry, as far as it is in 2000::/3: Teredo and other protocols
# (2001::/23), documentation, 6to4 (which hides an IPv4 address), direct delegation of AS112, segment routing.
_SPECIAL_V6 = tuple(
    map(
        IPv6Network,
        ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "3ffe::/16"),
    )
)


class AllowedAddresses:
    """Says which addresses may be connected to."""

    def __init__(self, networks: Iterable[str | Network] = ()) -> None:
        self._networks = tuple(ip_network(network) for network in networks)

    def permits(self, address: Address) -> bool:
        """Return whether a connection to the address may be made."""
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            return False
        end = final_address(address)
        return any(end in network for network in self._networks) or _is_public(end)


def final_address(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, by mapping or by NAT64; else the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in _SPECIAL_V4)
    return address in _GLOBAL_UNICAST and address.is_global and not any(address in network for network in _SPECIAL_V6)
