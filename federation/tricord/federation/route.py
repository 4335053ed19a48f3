"""Where a request goes."""

from __future__ import annotations

from dataclasses import dataclass

from tricord.federation.places import Place


@dataclass(frozen=True, slots=True)
class Route:
    """Where to connect for a request, and who must be there."""

    name: str
    """The host name or IP address that the certificate must be for, without port or brackets."""
    host_header: str
    places: tuple[Place, ...]
    scheme: str = "https"
    for_files: bool = False
    """Connections of their own, so that large answers hold up no small ones."""
