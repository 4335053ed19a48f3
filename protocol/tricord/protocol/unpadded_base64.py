"""Base64 as Matrix writes it: without padding. Reading takes both alphabets, with or without padding.

https://spec.matrix.org/v1.19/appendices/#unpadded-base64
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64encode
from typing import Any

from tricord.protocol.errors import BadJson

_TO_STANDARD = str.maketrans("-_", "+/")


def encode_base64(data: bytes) -> str:
    """Encode in the standard alphabet."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").decode()


def encode_url_safe_base64(data: bytes) -> str:
    """Encode in the alphabet that URLs can hold."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode_base64(text: Any) -> bytes:
    """Decode a foreign value, or raise BadJson if it is not base64."""
    if not isinstance(text, str):
        raise BadJson("base64 is a string")
    text = text.rstrip("=").translate(_TO_STANDARD)
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError as error:
        raise BadJson(f"not base64: {error}") from error
