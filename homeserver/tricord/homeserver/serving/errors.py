"""What ends a request before its endpoint has answered.

Exception
├── ClientDisconnected   nobody is left to answer
└── Refused              the bytes are not a request that we take; an answer, and the connection ends
"""

from __future__ import annotations


class ClientDisconnected(Exception):
    """The client went away before its request was complete."""


class Refused(Exception):
    """The bytes are not a request that we take: badly framed, too large or too slow. `status` is the last answer."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
