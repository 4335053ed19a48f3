"""How much of a request is read, and how long it is waited for: a client that goes beyond is cut off."""

from __future__ import annotations

HEAD_BYTES = 65_536
"""Request line and headers together."""

HEADERS = 128

TARGET_BYTES = 32_768
"""The request target: path and query string."""

HEAD_SECONDS = 10.0
"""From a request's first byte (or the connection's opening) to the end of its headers."""

BODY_PAUSE_SECONDS = 15.0
"""Between two parts of a body."""

IDLE_SECONDS = 75.0
"""Between two requests."""

PIPELINED = 64
"""Requests that one read may bring."""

HANDSHAKE_SECONDS = 10.0
SEND_PAUSE_SECONDS = 60.0
"""For the client to take what it has been sent."""
