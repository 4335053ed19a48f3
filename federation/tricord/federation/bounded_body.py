"""The body of an answer that is taken whole: decoded, and bounded after that."""

from __future__ import annotations

import zlib

from tricord.federation.errors import AnswerInvalid


class BoundedBody:
    """A body as it comes, decoded, and never larger than it may be."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        if encoding not in ("identity", "gzip", "x-gzip", ""):
            raise AnswerInvalid(f"the answer is encoded as {encoding[:50]!r}, which was not asked for")
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16) if "gzip" in encoding else None
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._begun = False

    def feed(self, chunk: bytes) -> None:
        """Take in a part of the body."""
        self._begun = True
        if self._decoder is not None:
            try:
                # One byte more than there may be tells that there is more.
                chunk = self._decoder.decompress(chunk, self._max_bytes - self._size + 1)
            except zlib.error as error:
                raise AnswerInvalid("the answer is not the gzip that it says it is") from error
        self._size += len(chunk)
        if self._size > self._max_bytes:
            raise AnswerInvalid(f"the answer is larger than {self._max_bytes} bytes")
        self._parts.append(chunk)

    def whole(self) -> bytes:
        """Return the body after its last part."""
        if self._decoder is not None and self._begun and not self._decoder.eof:
            raise AnswerInvalid("the answer is not the gzip that it says it is")
        return b"".join(self._parts)
