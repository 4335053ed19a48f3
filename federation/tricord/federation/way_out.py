"""The way out, opened by who goes first.

`egress.py` needs a whole HTTP client and the system's certificate authorities, which a server that asks nobody anything
does without.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tricord.federation.addresses import AllowedAddresses
from tricord.federation.dns import Dns
from tricord.federation.late import Late
from tricord.federation.route import Route
from tricord.federation.transport import OpenResponse, Response

if TYPE_CHECKING:
    from tricord.federation.egress import Egress


class WayOut:
    """An `Egress` from the first request on."""

    def __init__(self, dns: Dns, allowed: AllowedAddresses, trusted_ca: Path | None = None) -> None:
        """Take the authorities of a PEM file beside the system's. Raises OSError if it holds none."""
        # Read now, while there is somebody to be told.
        tls = None if trusted_ca is None else tls_context(trusted_ca)

        def load() -> Egress:
            from tricord.federation.egress import Egress

            return Egress(dns, allowed, tls or tls_context())

        self._egress = Late(load)

    async def load(self) -> None:
        """Return once it is open."""
        await self._egress.get()

    async def send(
        self,
        route: Route,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        *,
        timeout_seconds: float,
        max_bytes: int,
    ) -> Response:
        """Send a request, as `Egress.send` does."""
        egress = await self._egress.get()
        return await egress.send(
            route, method, target, headers, content, timeout_seconds=timeout_seconds, max_bytes=max_bytes
        )

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_seconds: float,
        max_bytes: int,
        max_redirects: int = 0,
        schemes: Iterable[str] = ("https",),
    ) -> Response:
        """Send a request to a URL, as `Egress.fetch` does."""
        egress = await self._egress.get()
        return await egress.fetch(
            url,
            method=method,
            headers=headers,
            content=content,
            timeout_seconds=timeout_seconds,
            max_bytes=max_bytes,
            max_redirects=max_redirects,
            schemes=schemes,
        )

    @contextlib.asynccontextmanager
    async def open(
        self, route: Route, target: str, headers: Mapping[str, str], *, timeout_seconds: float
    ) -> AsyncIterator[OpenResponse]:
        """Ask for something that may be large, as `Egress.open` does."""
        egress = await self._egress.get()
        async with egress.open(route, target, headers, timeout_seconds=timeout_seconds) as response:
            yield response

    @contextlib.asynccontextmanager
    async def open_url(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float,
        max_redirects: int = 3,
        schemes: Iterable[str] = ("https",),
        permits: Callable[[str], bool] = lambda _host: True,
    ) -> AsyncIterator[OpenResponse]:
        """Ask for what is at a URL, as `Egress.open_url` does."""
        egress = await self._egress.get()
        async with egress.open_url(
            url,
            headers=headers,
            timeout_seconds=timeout_seconds,
            max_redirects=max_redirects,
            schemes=schemes,
            permits=permits,
        ) as response:
            yield response

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
