"""The transport of the real network: a server is found by its name, and spoken to by HTTPS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import trio

from tricord.federation.addresses import AllowedAddresses
from tricord.federation.discovery import Discovery
from tricord.federation.dns import SystemDns
from tricord.federation.egress import Egress, tls_context
from tricord.federation.errors import AnswerInvalid, HostUnreachable, PeerAnswerInvalid, PeerUnreachable
from tricord.federation.transport import Response
from tricord.federation.well_known import WellKnown
from tricord.protocol.identifiers import ServerName


class HttpsTransport:
    """Brings requests to servers over the network."""

    def __init__(self, discovery: Discovery, egress: Egress) -> None:
        self._discovery = discovery
        self._egress = egress

    @classmethod
    def on_this_machine(
        cls,
        *,
        allowed_addresses: Iterable[str] = (),
        address_overrides: Mapping[str, str] | None = None,
        trusted_ca: Path | None = None,
    ) -> HttpsTransport:
        """Return the transport that uses the machine's own resolver and certificate authorities, and these settings."""
        dns = SystemDns()
        egress = Egress(dns, AllowedAddresses(allowed_addresses), tls_context(trusted_ca))
        return cls(Discovery(dns, WellKnown(egress), address_overrides), egress)

    async def send(
        self,
        destination: ServerName,
        method: str,
        uri: str,
        headers: Mapping[str, str],
        content: bytes | None,
        *,
        timeout_seconds: float,
        max_bytes: int,
    ) -> Response:
        """Send a request to a server, and return its answer whole."""
        try:
            with trio.move_on_after(timeout_seconds):
                route = await self._discovery.route(destination)
                return await self._egress.send(
                    route, method, uri, headers, content, timeout_seconds=timeout_seconds, max_bytes=max_bytes
                )
        except HostUnreachable as error:
            raise PeerUnreachable(destination, str(error)) from error
        except AnswerInvalid as error:
            raise PeerAnswerInvalid(destination, str(error)) from error
        raise PeerUnreachable(destination, f"has not answered within {timeout_seconds:.0f} s")

    async def aclose(self) -> None:
        """Close every connection."""
        await self._egress.aclose()
