"""The `Date` of answers, written once a second."""

from __future__ import annotations

import time
from email.utils import formatdate

_second = 0
_text = b""


def date() -> bytes:
    """Return the time as HTTP writes it (RFC 9110, section 6.6.1)."""
    global _second, _text  # noqa: PLW0603  # a memo of one value
    second = int(time.time())
    if second != _second:
        _text = formatdate(second, usegmt=True).encode()
        _second = second
    return _text
