"""The lengths of HTTP/2 frames, checked as soon as their headers have come.

h2 looks at the length of a frame, up to 16 MiB, only once the frame is complete.
"""

from __future__ import annotations

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client says first: https://www.rfc-editor.org/rfc/rfc9113#section-3.4."""

_LONGEST_FRAME = 16_384
_FRAME_HEADER = 9


class FrameLengths:
    """Follows the frames of a connection."""

    def __init__(self) -> None:
        self._skip = len(HTTP2_PREFACE)
        self._header = b""

    def are_bounded(self, data: bytes) -> bool:
        """Whether all frames that begin in the next bytes are of a length that we have agreed to."""
        at = 0
        while True:
            skipped = min(self._skip, len(data) - at)
            at += skipped
            self._skip -= skipped
            taken = data[at : at + _FRAME_HEADER - len(self._header)]
            self._header += taken
            at += len(taken)
            if len(self._header) < _FRAME_HEADER:
                return True
            self._skip = int.from_bytes(self._header[:3], "big")
            self._header = b""
            if self._skip > _LONGEST_FRAME:
                return False
