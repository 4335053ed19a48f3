"""The `Date` of answers, written once a second."""

from __future__ import annotations

import time

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_second = 0
_text = b""


def date() -> bytes:
    """Return the time as HTTP writes it (RFC 9110, section 6.6.1)."""
    global _second, _text  # noqa: PLW0603  # a memo of one value
    second = int(time.time())
    if second != _second:
        _text = written(second).encode()
        _second = second
    return _text


def written(seconds: int) -> str:
    """Return a time as HTTP writes it, whatever language the operator's system speaks."""
    at = time.gmtime(seconds)
    day = f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year}"
    return f"{day} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
