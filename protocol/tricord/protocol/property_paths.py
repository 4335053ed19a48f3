r"""Paths into an event: `content.m\.relates_to.rel_type`.

A backslash before a dot or a backslash makes it part of a name; before anything else it stands for itself.
https://spec.matrix.org/v1.19/appendices/#dot-separated-property-paths
"""

from __future__ import annotations

import re

_PIECES = re.compile(r"\\[.\\]|\.|[^\\.]+|\\")


def split_path(path: str) -> tuple[str, ...]:
    """Return the names along a path."""
    names = [""]
    for piece in _PIECES.findall(path):
        if piece == ".":
            names.append("")
        elif len(piece) == 2 and piece[0] == "\\":
            names[-1] += piece[1]
        else:
            names[-1] += piece
    return tuple(names)
