"""The way out, opened by who goes first.

`egress.py` needs a whole HTTP client and the system's certificate authorities, which a server that asks nobody anything
does without.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from tricord.federation.addresses import AllowedAddresses
from tricord.federation.dns import Dns
from tricord.federation.late import Late

if TYPE_CHECKING:
    from tricord.federation.egress import Egress


class WayOut:
    """Keeps an `Egress`, from the first request on."""

    def __init__(self, dns: Dns, allowed: AllowedAddresses, trusted_ca: Path | None = None) -> None:
        """Take the authorities of a PEM file beside the system's. Raises OSError if it holds none."""
        # Read now, while there is somebody to be told.
        tls = None if trusted_ca is None else tls_context(trusted_ca)

        def load() -> Egress:
            from tricord.federation.egress import Egress

            return Egress(dns, allowed, tls or tls_context())

        self._egress = Late(load)

    async def open(self) -> Egress:
        """Return what sends requests."""
        return await self._egress.get()

    async def aclose(self) -> None:
        """Close every connection."""
        egress = self._egress.if_loaded
        if egress is not None:
            await egress.aclose()


def tls_context(trusted_ca: Path | None = None) -> ssl.SSLContext:
    """Return what certificates are checked by: the system's authorities, and further ones from a PEM file."""
    context = ssl.create_default_context()
    if trusted_ca is not None:
        context.load_verify_locations(trusted_ca)
    return context
