"""Positions as clients hold them: `s1_123`, `s1_123_-4` in history that was fetched later, `s1_123t80` amid messages.

Behind it may stand marks of rooms that its holder was not told of: `s1_123x0123456789abcdef_80`, told up to 80 only.
A position of sliding sync has what its connection was told behind it, `s1_123~5f3a`; anywhere else it is a position.

A token is a gap between events, the one right after everything up to and including its place. The number after the
`s` is the version of the format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from tricord.protocol.errors import InvalidParam

# Tokens stand in URLs.
MOST_LEFT_OUT = 50

_LEFT_OUT = re.compile(r"x([0-9a-f]{16})_([0-9]{1,18})")
_TOKEN = re.compile(
    r"s1_([0-9]{1,18})(?:_(-[0-9]{1,18}))?(?:t([0-9]{1,18}))?"
    rf"((?:x[0-9a-f]{{16}}_[0-9]{{1,18}}){{0,{MOST_LEFT_OUT}}})(?:~[0-9a-f]{{1,16}})?"
)


class Place(NamedTuple):
    """Where something stands in a room: by position, and by rank among what shares one.

    A live event has rank 0. History that was fetched later stands just before the event it leads up to: it has the
    position of that event, and a negative rank.
    """

    position: int
    rank: int = 0


def before_stretch(start: int, upto: int) -> Place:
    """Return where reading backwards goes on from a stretch of live events, which begins right after a position.

    History that leads up to the first of them has its position, and was not told with it.
    """
    return Place(start + 1, -1) if start < upto else Place(start)


def encode_token(position: int, *, messages_upto: int | None = None, left_out: Mapping[str, int] | None = None) -> str:
    """Return the token that stands right after a position.

    Whoever has messages to their device only up to an earlier one (there were too many to tell) is told so by it; and
    whoever has some rooms, given by their marks, only up to earlier ones.
    """
    messages = "" if messages_upto is None else f"t{messages_upto}"
    rooms = "".join(f"x{mark}_{after}" for mark, after in left_out.items()) if left_out else ""
    return f"s1_{position}{messages}{rooms}"


def decode_token(text: str) -> int:
    """Return the position of a token; raise InvalidParam for anything else."""
    place = decode_place(text)
    return place.position - 1 if place.rank < 0 else place.position


def decode_messages_upto(text: str) -> int | None:
    """Return up to where the holder of a token has the messages to their device; None: up to where they have all."""
    match = _TOKEN.fullmatch(text) if "t" in text else None
    return int(match[3]) if match is not None and match[3] else None


def decode_left_out(text: str) -> dict[str, int]:
    """Return the marks of the rooms that the holder of a token was not told of, and up to where they were."""
    match = _TOKEN.fullmatch(text) if "x" in text else None
    return {mark: int(after) for mark, after in _LEFT_OUT.findall(match[4])} if match is not None and match[4] else {}


def encode_place(place: Place) -> str:
    """Return the token that stands right after a place."""
    return f"s1_{place.position}_{place.rank}" if place.rank else encode_token(place.position)


def decode_place(text: str) -> Place:
    """Return the place of a token; raise InvalidParam for anything else."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise InvalidParam("not a token of this server")
    return Place(int(match[1]), int(match[2] or 0))
