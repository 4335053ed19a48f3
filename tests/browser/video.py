"""A video of our own making, as large as is wanted: key frames that Pillow encodes (a WebP is one), in a WebM.

https://www.matroska.org/technical/elements.html
"""

from __future__ import annotations

import io
import struct

from PIL import Image

_FRAMES_PER_SECOND = 10
_CLUSTER_FRAMES = _FRAMES_PER_SECOND


def webm(seconds: int, width: int, height: int) -> bytes:
    """Return a video whose colours wander over noise, which is hard to compress."""
    # Whose like comes again every second, so that they are quickly made.
    frames = [_key_frame(number, width, height) for number in range(_FRAMES_PER_SECOND)] * seconds
    clusters = []
    for first in range(0, len(frames), _CLUSTER_FRAMES):
        blocks = [
            _element(0xA3, b"\x81" + struct.pack(">hB", number * 1000 // _FRAMES_PER_SECOND, 0x80) + frame)
            for number, frame in enumerate(frames[first : first + _CLUSTER_FRAMES])
        ]
        start = first * 1000 // _FRAMES_PER_SECOND
        clusters.append((start, _element(0x1F43B675, _number(0xE7, start) + b"".join(blocks))))
    info = _element(
        0x1549A966,
        _number(0x2AD7B1, 1_000_000)
        + _element(0x4489, struct.pack(">d", seconds * 1000))
        + _element(0x4D80, b"tests")
        + _element(0x5741, b"tests"),
    )
    shape = _element(0xE0, _number(0xB0, width) + _number(0xBA, height))
    track = _number(0xD7, 1) + _number(0x73C5, 1) + _number(0x83, 1) + _element(0x86, b"V_VP8") + shape
    tracks = _element(0x1654AE6B, _element(0xAE, track))
    # Where each second begins, so that a player can jump there without having read what is before.
    length = len(_cues(clusters, 0))
    cues = _cues(clusters, len(info) + len(tracks) + length)
    head = (
        _number(0x4286, 1)
        + _number(0x42F7, 1)
        + _number(0x42F2, 4)
        + _number(0x42F3, 8)
        + _element(0x4282, b"webm")
        + _number(0x4287, 2)
        + _number(0x4285, 2)
    )
    segment = info + tracks + cues + b"".join(cluster for _, cluster in clusters)
    return _element(0x1A45DFA3, head) + _element(0x18538067, segment)


def _key_frame(number: int, width: int, height: int) -> bytes:
    noise = Image.effect_noise((width, height), 60)
    colour = Image.new("L", (width, height), number * 25)
    output = io.BytesIO()
    Image.merge("RGB", (noise, colour, noise)).save(output, "WEBP", quality=75, method=0)
    data = output.getvalue()
    at = data.index(b"VP8 ")
    size: int = struct.unpack("<I", data[at + 4 : at + 8])[0]
    return data[at + 8 : at + 8 + size]


def _cues(clusters: list[tuple[int, bytes]], before: int) -> bytes:
    points, position = b"", before
    for start, cluster in clusters:
        place = _element(0xB7, _number(0xF7, 1) + _element(0xF1, struct.pack(">Q", position)))
        points += _element(0xBB, _element(0xB3, struct.pack(">Q", start)) + place)
        position += len(cluster)
    return _element(0x1C53BB6B, points)


def _element(name: int, data: bytes) -> bytes:
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + (len(data) | 1 << 56).to_bytes(8, "big") + data


def _number(name: int, value: int) -> bytes:
    return _element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))
