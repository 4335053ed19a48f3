"""How large images are, told by their beginnings."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.homeserver.media.images import image
from tricord.homeserver.media.image_size import image_size


@pytest.mark.parametrize(
    "data",
    [
        image("PNG", 300, 20),
        image("JPEG", 300, 20),
        image("JPEG", 300, 20, progressive=True, comment=b"x" * 60_000),
        image("GIF", 300, 20, frames=3),
        image("WEBP", 300, 20),
        image("WEBP", 300, 20, lossless=True),
        image("WEBP", 300, 20, mode="RGBA", frames=3),
    ],
)
def test_the_size_is_found(data: bytes) -> None:
    assert image_size(data[:65_536]) == Image.open(io.BytesIO(data)).size == (300, 20)


@given(
    st.binary(max_size=100), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8", b"RIFF____WEBPVP8 "])
)
def test_anything_has_a_size_or_none(data: bytes, magic: bytes) -> None:
    found = image_size(magic + data)
    assert found is None or min(found) > 0
