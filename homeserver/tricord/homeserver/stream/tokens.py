"""Positions as clients hold them: `s1_123`, `s1_123_-4` in history that was fetched later, `s1_123t80` amid messages.

A position of sliding sync has what its connection was told behind it, `s1_123~5f3a`; anywhere else it is a position.

A token is a gap between events, the one right after everything up to and including its place. The number after the
`s` is the version of the format.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tricord.protocol.errors import InvalidParam

_TOKEN = re.compile(r"s1_([0-9]{1,18})(?:_(-[0-9]{1,18}))?(?:t([0-9]{1,18}))?(?:~[0-9a-f]{1,16})?")


class Place(NamedTuple):
    """Where something stands in a room: by position, and by rank among what shares one.

    A live event has rank 0. History that was fetched later stands just before the event it leads up to: it has the
    position of that event, and a negative rank.
    """

    position: int
    rank: int = 0


def encode_token(position: int, *, messages_upto: int | None = None) -> str:
    """Return the token that stands right after a position.

    Whoever has messages to their device only up to an earlier one (there were too many to tell) is told so by it.
    """
    return f"s1_{position}" if messages_upto is None else f"s1_{position}t{messages_upto}"


def decode_token(text: str) -> int:
    """Return the position of a token; raise InvalidParam for anything else."""
    return decode_place(text).position


def decode_messages_upto(text: str) -> int | None:
    """Return up to where the holder of a token has the messages to their device; None: up to where they have all."""
    match = _TOKEN.fullmatch(text)
    return int(match[3]) if match is not None and match[3] else None


def encode_place(place: Place) -> str:
    """Return the token that stands right after a place."""
    return f"s1_{place.position}_{place.rank}" if place.rank else encode_token(place.position)


def decode_place(text: str) -> Place:
    """Return the place of a token; raise InvalidParam for anything else."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise InvalidParam("not a token of this server")
    return Place(int(match[1]), int(match[2] or 0))
