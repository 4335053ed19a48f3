"""`multipart/mixed` as it comes: what a file of another server is wrapped in.

https://www.rfc-editor.org/rfc/rfc2046#section-5.1
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from tricord.federation.errors import AnswerInvalid

_LONGEST_HEAD = 16 << 10
_LONGEST_BOUNDARY = 200


class MultipartReader:
    """Reads one part after the other, and holds no more of them than has just come. Raises AnswerInvalid."""

    def __init__(self, content_type: str, chunks: AsyncIterator[bytes]) -> None:
        from email.message import Message

        header = Message()
        header["content-type"] = content_type
        boundary = header.get_boundary()
        if header.get_content_type() != "multipart/mixed" or not boundary or len(boundary) > _LONGEST_BOUNDARY:
            raise AnswerInvalid("the answer is not multipart/mixed with a boundary")
        try:
            self._delimiter = b"\r\n--" + boundary.encode("ascii")
        except UnicodeError:
            raise AnswerInvalid("the boundary of the answer is not ASCII") from None
        self._chunks = chunks
        # The first delimiter may open the whole, without a line before it.
        self._buffer = bytearray(b"\r\n")

    async def next_part(self) -> Mapping[str, str]:
        """Go on to the next part, and return its headers, their names in lower case."""
        skipped = 0
        async for rest in self.body():
            skipped += len(rest)
            if skipped > _LONGEST_HEAD:
                raise AnswerInvalid("there is more between the parts of the answer than there may be")
        del self._buffer[: len(self._delimiter)]
        while len(self._buffer) < 2:
            await self._read()
        if self._buffer.startswith(b"--"):
            raise AnswerInvalid("the answer has too few parts")
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _LONGEST_HEAD:
                raise AnswerInvalid("the headers of a part of the answer are too long")
            await self._read()
        head = bytes(self._buffer[:end])
        # A part without any bytes is followed by the line break of its delimiter right away.
        del self._buffer[: end + 4]
        return _headers(head)

    async def body(self) -> AsyncIterator[bytes]:
        """Return what is left of the part, as it comes."""
        kept = len(self._delimiter) - 1
        while (end := self._buffer.find(self._delimiter)) < 0:
            if len(self._buffer) > kept:
                piece = bytes(self._buffer[:-kept])
                del self._buffer[:-kept]
                yield piece
            await self._read()
        if end:
            piece = bytes(self._buffer[:end])
            del self._buffer[:end]
            yield piece

    async def _read(self) -> None:
        chunk = await anext(self._chunks, b"")
        if not chunk:
            raise AnswerInvalid("the answer ends before its last part does")
        self._buffer += chunk


def part_head(boundary: str, headers: Mapping[str, str]) -> bytes:
    """Return what stands before the bytes of a part; `headers` are in ASCII."""
    lines = [f"--{boundary}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("ascii")


def _headers(head: bytes) -> dict[str, str]:
    # The first line is the rest of the delimiter's, which is blank.
    headers = {}
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise AnswerInvalid("a header of a part of the answer is none")
        headers[name.strip().lower()] = value.strip()
    return headers
