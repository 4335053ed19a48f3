"""Images of all kinds, good and bad."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image


def image(kind: str, width: int, height: int, *, mode: str = "RGB", frames: int = 1, **options: Any) -> bytes:
    """Return an image with some colours in it."""
    pictures = []
    for number in range(frames):
        picture = Image.linear_gradient("L").resize((width, height)).convert(mode)
        picture.paste(Image.new(mode, (max(width // 4, 1), max(height // 4, 1))), (number % max(width, 1), 0))
        pictures.append(picture)
    output = io.BytesIO()
    if frames > 1:
        options |= {"save_all": True, "append_images": pictures[1:], "duration": 80}
    pictures[0].save(output, kind, **options)
    return output.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def png_bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """Return a small file with an image of so many black and white pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    row = b"\0" * (1 + width // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif_of_many_frames(frames: int = 10_000) -> bytes:
    """Return a GIF of tiny frames."""
    head = b"GIF89a" + struct.pack("<HHBBB", 50, 50, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"\x21\xf9\x04\x04\x05\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return head + frame * frames + b"\x3b"


def huge_webp() -> bytes:
    """Return a WebP that says to be as large as there are any."""
    data = bytearray(image("WEBP", 8, 8, lossless=True))
    # VP8L: a byte of signature, then 14 bits each of width and height less one.
    at = data.index(b"VP8L") + 9
    bits = int.from_bytes(data[at : at + 4], "little") & ~0xFFFFFFF | 16_382 | 16_382 << 14
    data[at : at + 4] = bits.to_bytes(4, "little")
    return bytes(data)
