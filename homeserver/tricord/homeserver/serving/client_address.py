"""Who calls: the peer of the connection, or the one for whom a proxy of ours speaks."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Iterable, Sequence

from tricord.homeserver.serving.call import Header

_MOST_HOPS = 64

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ClientAddresses:
    """Knows the networks of reverse proxies whose `X-Forwarded-For` is believed."""

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        self._trusted = [ipaddress.ip_network(network) for network in trusted_proxies]
        # The same few proxies and clients come again and again.
        self._normal: Callable[[str], tuple[str, bool]] = functools.lru_cache(4096)(self._normalised)

    def of(self, peer: str, headers: Sequence[Header]) -> str:
        """Return who calls: the rightmost address that is not a proxy of ours.

        What stands further left was written by that address, and says what it likes.
        """
        if not peer:
            return ""
        address, trusted = self._normal(peer)
        if not trusted:
            return address
        # Several headers of the name are one list, in their order.
        hops = [hop for name, value in headers if name == b"x-forwarded-for" for hop in value.split(b",")]
        for hop in reversed(hops[-_MOST_HOPS:]):
            given = _address(hop.strip().decode("latin1"))
            if given is None:
                return address  # the proxy does not know either, or hides it
            address, trusted = self._normal(str(given))
            if not trusted:
                return address
        return address

    def _normalised(self, text: str) -> tuple[str, bool]:
        ip = _address(text)
        if ip is None:
            return text, False
        return str(ip), any(ip in network for network in self._trusted)


def _address(text: str) -> Address | None:
    """Return the address in the forms that proxies write: with a port or without, IPv6 in brackets or without."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A listener on [::] sees IPv4 peers so.
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip
