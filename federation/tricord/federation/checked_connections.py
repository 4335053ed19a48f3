"""Connecting to hosts that somebody else named, only to addresses that were checked.

httpcore asks for a connection to a host and a port. Whatever those are, it gets one to a place of the route, at the
very address that was looked up and found to be allowed.
"""

from __future__ import annotations

from collections.abc import Iterable

import httpcore
import trio

from tricord.federation.addresses import AllowedAddresses, final_address
from tricord.federation.dns import Dns
from tricord.federation.errors import AddressRefused, HostUnreachable
from tricord.federation.places import in_order
from tricord.federation.route import Route


class CheckedConnections(httpcore.AsyncNetworkBackend):
    """Connects to the places of a route, to addresses that were checked."""

    def __init__(self, route: Route, dns: Dns, allowed: AllowedAddresses) -> None:
        self._route = route
        self._dns = dns
        self._allowed = allowed
        self._backend = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the interface is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first place that answers, whatever host and port are named."""
        del host, port
        reason: Exception | None = None
        for place in in_order(self._route.places):
            try:
                addresses = await self._dns.addresses(place.host)
            except HostUnreachable as error:
                reason = error
                continue
            for address in addresses:
                if not self._allowed.permits(address):
                    reason = reason or AddressRefused(f"{place.host} is in a network that requests may not go to")
                    continue
                end = final_address(address) if address.version == 6 and address.ipv4_mapped else address
                try:
                    return await self._backend.connect_tcp(str(end), place.port, timeout, local_address, socket_options)
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                    reason = error
        raise reason or HostUnreachable(f"{self._route.host_header} has no address")

    async def sleep(self, seconds: float) -> None:
        """Wait between attempts."""
        await trio.sleep(seconds)
