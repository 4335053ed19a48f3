"""Parts of a file, as HTTP asks for them: how players of video and audio jump.

https://www.rfc-editor.org/rfc/rfc9110#section-14
"""

from __future__ import annotations

import re

_ONE_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII | re.IGNORECASE)


class RangeNotSatisfiable(Exception):
    """The part lies outside of the file."""


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return where the asked part begins and where it ends, exclusively; None for the whole file.

    What is no range, or several, may be answered with the whole file. Raises RangeNotSatisfiable.
    """
    found = _ONE_RANGE.fullmatch(header or "")
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        # The last so many bytes.
        start, end = max(size - int(found[2]), 0), size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= end:
        raise RangeNotSatisfiable
    return start, end
