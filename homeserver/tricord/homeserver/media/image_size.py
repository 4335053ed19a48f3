"""How large an image is, by what stands at its beginning: nothing is decoded.

https://www.w3.org/TR/png-3/#11IHDR, https://www.w3.org/Graphics/GIF/spec-gif89a.txt (18),
https://www.w3.org/Graphics/JPEG/itu-t81.pdf (B.2.2), https://www.rfc-editor.org/rfc/rfc9649#section-2
"""

from __future__ import annotations

import struct

HEAD_BYTES = 256 << 10
"""How much of an image is looked at. What cameras write before the size of a JPEG is less."""

# Those that begin a frame, among them all that are used.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def image_size(head: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG, JPEG, GIF or WebP image; None if they are not found."""
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", head, 16)
        elif head.startswith((b"GIF87a", b"GIF89a")):
            width, height = struct.unpack_from("<HH", head, 6)
        elif head.startswith(b"\xff\xd8"):
            width, height = _of_jpeg(head)
        elif head[8:12] == b"WEBP":
            width, height = _of_webp(head)
        else:
            return None
    except (struct.error, IndexError):
        return None
    return (width, height) if width and height else None


def _of_jpeg(head: bytes) -> tuple[int, int]:
    at = 2
    while True:
        if head[at] != 0xFF:
            return 0, 0
        kind = head[at + 1]
        if kind == 0xFF:  # a byte that fills
            at += 1
        elif kind == 0x01 or 0xD0 <= kind <= 0xD8:  # those have no length
            at += 2
        elif kind in _FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        else:
            at += 2 + max(struct.unpack_from(">H", head, at + 2)[0], 2)


def _of_webp(head: bytes) -> tuple[int, int]:
    kind = head[12:16]
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF
