"""Names to addresses, as the system looks them up; and names to services, by SRV records."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

import trio

from tricord.federation.addresses import Address
from tricord.federation.errors import HostUnreachable

if TYPE_CHECKING:
    from tricord.federation.srv_records import SrvRecords

_AT_ONCE = 32
LOOKUP_SECONDS = 10.0
_MOST_ADDRESSES = 16

_random = secrets.SystemRandom()


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A host and port that might be connected to; lower priorities first, among equals by chance and weight."""

    priority: int
    host: str
    port: int
    weight: int = 0

    @classmethod
    def at(cls, host: str, port: int) -> Place:
        """Return the one place that there is."""
        return cls(0, host, port)


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
            with trio.fail_after(LOOKUP_SECONDS):
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

            self._records = SrvRecords()
        return await self._records.of(name)


def in_order(places: Iterable[Place]) -> list[Place]:
    """Return places in the order to try them, by priority, and by chance as their weights have it.

    https://www.rfc-editor.org/rfc/rfc2782
    """
    ordered: list[Place] = []
    for _, equals in groupby(sorted(places), key=lambda place: place.priority):
        left = list(equals)
        while left:
            # One more than the weight, so that those of no weight get their turn at all.
            chosen = _random.choices(left, [place.weight + 1 for place in left])[0]
            left.remove(chosen)
            ordered.append(chosen)
    return ordered
