"""How a request gets to another server: what the client needs of the network, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tricord.federation.errors import PeerUnreachable
from tricord.protocol.identifiers import ServerName


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as it came; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Brings requests to servers by their names."""

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
        """Send a request to a server whose identity has been checked, and return its answer whole.

        `uri` is the path with its query. Raises PeerUnreachable, or PeerAnswerInvalid for an answer that is larger than
        `max_bytes` or no HTTP.
        """
        ...


class NoNetwork:
    """The transport of a server that meets no others."""

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
        """Refuse."""
        del method, uri, headers, content, timeout_seconds, max_bytes
        raise PeerUnreachable(destination, "this server meets no others")
