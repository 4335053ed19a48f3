"""Services by name, as the name servers of this machine know them."""

from __future__ import annotations

import dns.asyncresolver
import dns.exception
import dns.resolver

from tricord.federation.errors import HostUnreachable
from tricord.federation.places import Place

_MOST_SERVICES = 16
_CACHED_ANSWERS = 10_000


class SrvRecords:
    """Asks for SRV records, and remembers them for as long as they say."""

    def __init__(self, lookup_seconds: float) -> None:
        self._lookup_seconds = lookup_seconds
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def of(self, name: str) -> list[Place]:
        """Return the places of a service, the best first; raise HostUnreachable if that is not known."""
        try:
            resolver = self._resolver = self._resolver or _resolver()
        except dns.resolver.NoResolverConfiguration:
            # A machine without name servers, whose names are in a file: there are no SRV records.
            return []
        try:
            answer = await resolver.resolve(name, "SRV", lifetime=self._lookup_seconds)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError, UnicodeError) as error:
            raise HostUnreachable(f"SRV records of {name} cannot be looked up: {error}") from error
        places = [
            Place(record.priority, record.target.to_text(omit_final_dot=True), record.port, record.weight)
            for record in answer
        ]
        if [place.host for place in places] == ["."]:
            # https://www.rfc-editor.org/rfc/rfc2782: "the service is decidedly not available at this domain".
            raise HostUnreachable(f"{name} says that there is no such service")
        return sorted(places)[:_MOST_SERVICES]


def _resolver() -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver()
    resolver.cache = dns.resolver.LRUCache(_CACHED_ANSWERS)
    return resolver
