"""How much of a request is read, and how long it is waited for: a client that goes beyond is cut off."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of every connection of a listener. HTTP/1.1 and HTTP/2 keep the same ones."""

    head_bytes: int = 65_536
    """Request line and headers together; trailers, and the framing of a chunked body, too."""
    headers: int = 128
    target_bytes: int = 32_768
    """The request target: path and query string."""
    pipelined: int = 64
    """Requests that one read may bring."""
    unread_body_bytes: int = 65_536
    """What is left of a body that nobody read, and is read away so that the connection can go on."""

    handshake_seconds: float = 10
    head_seconds: float = 10
    """From a request's first byte (or the connection's opening) to the end of its headers."""
    body_pause_seconds: float = 15
    """Between two parts of a body."""
    body_seconds: float = 30
    """For a body as a whole; `slowest_body` adds to it what a large one needs."""
    slowest_body: float = 8_192
    """Bytes a second."""
    idle_seconds: float = 75
    """Between two requests."""
    send_pause_seconds: float = 60
    """For the client to take `send_bytes` of its answer."""
    send_bytes: int = 65_536
    linger_seconds: float = 2
    """After an answer to a request that was not read to its end, for the client to read it."""

    linger_bytes: int = 16 << 20

    streams: int = 100
    """Requests at once on one HTTP/2 connection."""
    resets: int = 200
    """Requests that one HTTP/2 connection may take back, beyond as many as it let us answer."""

    def body_deadline(self, begun: float, now: float, received: float) -> float:
        """Return until when the next part of a body must have come."""
        return min(now + self.body_pause_seconds, begun + self.body_seconds + received / self.slowest_body)
