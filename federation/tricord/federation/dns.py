"""Names to addresses, as the system looks them up; and names to services, by SRV records."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

import trio

from tricord.federation.addresses import Address
from tricord.federation.errors import HostUnreachable
from tricord.federation.places import Place

if TYPE_CHECKING:
    from tricord.federation.srv_records import SrvRecords

_AT_ONCE = 32
_LOOKUP_SECONDS = 10.0
_MOST_ADDRESSES = 16


class Dns(Protocol):
    """What is asked of the domain name system."""

    async def addresses(self, host: str) -> list[Address]:
        """Return the addresses of a host, in the order to try them; raise HostUnreachable if there are none."""
        ...

    async def services(self, name: str) -> list[Place]:
        """Return the places that SRV records name, none if there are none; raise HostUnreachable if it is not known."""
        ...


class SystemDns:
    """Asks as the system is set up to: addresses by its resolver, SRV records of its name servers."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(_AT_ONCE)
        self._records: SrvRecords | None = None

    async def addresses(self, host: str) -> list[Address]:
        """Return the addresses of a host."""
        try:
            return [ip_address(host)]
        except ValueError:
            pass  # a name, then
        try:
            with trio.fail_after(_LOOKUP_SECONDS):
                found = await trio.to_thread.run_sync(
                    lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM),
                    abandon_on_cancel=True,
                    limiter=self._limiter,
                )
        except (OSError, UnicodeError, trio.TooSlowError) as error:
            raise HostUnreachable(f"{host} has no address: {error}") from error
        texts = dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)
        return [ip_address(text) for text in list(texts)[:_MOST_ADDRESSES]]

    async def services(self, name: str) -> list[Place]:
        """Return the places that SRV records name."""
        if self._records is None:
            # Loaded when the first server is looked for: a server that meets none does without.
            from tricord.federation.srv_records import SrvRecords

            self._records = SrvRecords(_LOOKUP_SECONDS)
        return await self._records.of(name)
