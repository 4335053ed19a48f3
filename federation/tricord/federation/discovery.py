"""From a server name to where its server is.

https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names
"""

from __future__ import annotations

from collections.abc import Mapping

from tricord.federation.dns import Dns
from tricord.federation.errors import HostUnreachable
from tricord.federation.places import Place
from tricord.federation.route import Route
from tricord.federation.server_names import is_ip_literal, split_server_name
from tricord.federation.well_known import WellKnown
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import ServerName

DEFAULT_PORT = 8448


class Discovery:
    """Finds servers by their names."""

    def __init__(self, dns: Dns, well_known: WellKnown, overrides: Mapping[str, str] | None = None) -> None:
        """`overrides` are addresses of servers that are not to be looked up, by their names."""
        self._dns = dns
        self._well_known = well_known
        self._overrides = {name: split_server_name(place) for name, place in (overrides or {}).items()}

    async def route(self, server_name: ServerName) -> Route:
        """Return where to connect for a server, and who must be there; raise HostUnreachable.

        The numbers are those of the specification.
        """
        try:
            host, port = split_server_name(server_name)
        except InvalidParam as error:
            raise HostUnreachable(error.message) from error
        if (override := self._overrides.get(server_name)) is not None:
            return Route(host, server_name, (Place.at(override[0], override[1] or port or DEFAULT_PORT),))
        if is_ip_literal(host) or port is not None:  # 1, 2
            return Route(host, server_name, (Place.at(host, port or DEFAULT_PORT),))
        delegated = await self._well_known.delegated(host)  # 3
        if delegated is None:
            return await self._by_service(host)  # 4, 5, 6
        delegated_host, delegated_port = split_server_name(delegated)
        if is_ip_literal(delegated_host) or delegated_port is not None:  # 3.1, 3.2
            return Route(delegated_host, delegated, (Place.at(delegated_host, delegated_port or DEFAULT_PORT),))
        return await self._by_service(delegated_host)  # 3.3, 3.4, 3.5

    async def _by_service(self, host: str) -> Route:
        """Return the route by SRV records of a host, or else to its default port.

        Whatever host the records name, it is the one that was asked for that must have the certificate.
        """
        places = await self._dns.services(f"_matrix-fed._tcp.{host}")
        if not places:
            places = await self._dns.services(f"_matrix._tcp.{host}")
        return Route(host, host, tuple(sorted(places)) or (Place.at(host, DEFAULT_PORT),))
