"""The answer to a request over HTTP/1.1, as it comes in; its end is found for little, where its length is told."""

from __future__ import annotations

import re

import httptools

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_STATUS = slice(9, 12)  # HTTP/1.1 200 OK


class Refused(Exception):
    """An answer of 400 or above."""


class Answer:
    """One answer, after which nothing comes that was not asked for."""

    __slots__ = ("_missing", "_parser", "_parts", "_unread", "is_whole", "size", "status")

    def __init__(self) -> None:
        self.is_whole = False
        self.status = 0
        self.size = 0
        """How many bytes have come, those of the head counted."""
        self._unread = b""
        self._parts: list[bytes] = []
        # How much of the body is still to come, where that is known.
        self._missing = 0
        self._parser: httptools.HttpResponseParser | None = None

    def feed(self, data: bytes) -> None:
        """Take in what has come."""
        self.size += len(data)
        if self._parser is not None:
            self._parser.feed_data(data)
            self.status = self._parser.get_status_code()
        elif self.status:
            self._take(data)
        else:
            self._begin(self._unread + data)

    def body(self) -> bytes:
        """Return the body, as far as it has come."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _begin(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._unread = data
        elif (found := _LENGTH.search(data, 0, end + 2)) is not None and not data.startswith(b"HTTP/1.1 1"):
            self.status = int(data[_STATUS])
            self._missing = int(found[1])
            self._take(data[end + 4 :])
        else:
            self._parser = httptools.HttpResponseParser(self)
            self._parser.feed_data(data)
            self.status = self._parser.get_status_code()

    def _take(self, data: bytes) -> None:
        self._parts.append(data)
        self._missing -= len(data)
        self.is_whole = self._missing <= 0

    def on_body(self, part: bytes) -> None:
        """Take a part of the body, from httptools."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """Note the end, from httptools."""
        self.is_whole = True
