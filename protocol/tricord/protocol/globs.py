"""Matrix globs in linear time: `*` is any run of characters, `?` is any one character.

A pattern is cut at its stars into segments of fixed length. The first segment has one place where it can be, so has the
last; each one between takes the first place it finds, and never has to be moved again, because what follows a star may
as well start later. So there is no backtracking for a hostile pattern to provoke: a segment without `?` is found by
`str.find`, one with `?` by stepping through the text with a bit for each of its characters.

https://spec.matrix.org/v1.19/appendices/#glob-style-matching
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

_WORD = re.compile(r"[A-Za-z0-9_]")
_WORD_BOUNDARY = re.compile(r"(?<![A-Za-z0-9_])|(?![A-Za-z0-9_])")


class Glob:
    """A pattern for a whole text."""

    __slots__ = ("_first", "_ignore_case", "_last", "_middle", "pattern")

    def __init__(self, pattern: str, *, ignore_case: bool = False) -> None:
        self.pattern: Final = pattern
        self._ignore_case = ignore_case
        segments = [_Segment(text) for text in _folded(pattern, ignore_case).split("*")]
        self._first = segments[0]
        self._last = segments[-1] if len(segments) > 1 else None
        self._middle = [segment for segment in segments[1:-1] if segment.length]

    def matches(self, text: str) -> bool:
        """Return whether the pattern covers the whole text."""
        text = _folded(text, self._ignore_case)
        if self._last is None:
            return len(text) == self._first.length and self._first.is_at(text, 0)
        last = len(text) - self._last.length
        if last < self._first.length or not self._first.is_at(text, 0) or not self._last.is_at(text, last):
            return False
        place = self._first.length
        for segment in self._middle:
            end = next(segment.ends(text, place), None)
            if end is None:
                return False
            place = end
        return place <= last


class WordGlob:
    """A pattern for any part of a text that starts and ends at a word boundary, whatever the case.

    A boundary is wherever two neighbours are not both of `A-Z a-z 0-9 _`.
    https://spec.matrix.org/v1.19/client-server-api/#conditions-1 (the special case of `content.body`)
    """

    __slots__ = ("_first", "_last", "_middle", "cost", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern: Final = pattern
        segments = [_Segment(text) for text in pattern.lower().split("*")]
        self._first = segments[0]
        self._last = segments[-1] if len(segments) > 1 else None
        self._middle = [segment for segment in segments[1:-1] if segment.length]
        self.cost: Final = max(segment.cost for segment in segments)
        """How much one character of text costs, compared with a pattern without `?`."""

    def matches(self, text: str) -> bool:
        """Return whether some part of the text is covered by the pattern."""
        return self.matches_lowered(text.lower())

    def matches_lowered(self, text: str) -> bool:
        """Do as `matches` for a text that is in lower case already."""
        if self._last is None:
            return any(_is_boundary(text, end) for end in self._first.ends(text, 0, at_words=True))
        place: int | None = next(self._first.ends(text, 0, at_words=True), None)
        for segment in self._middle:
            if place is None:
                return False
            place = next(segment.ends(text, place), None)
        if place is None:
            return False
        # The end of the text is a boundary, and `ends` yields a last segment that is empty once only.
        return not self._last.length or any(_is_boundary(text, end) for end in self._last.ends(text, place))


def contains_words(lowered_text: str, phrase: str) -> bool:
    """Return whether a text in lower case contains a phrase, taken literally, from word boundary to word boundary."""
    phrase = phrase.lower()
    place = lowered_text.find(phrase)
    while place >= 0:
        if _is_boundary(lowered_text, place) and _is_boundary(lowered_text, place + len(phrase)):
            return True
        place = lowered_text.find(phrase, _next_boundary(lowered_text, place + 1))
    return False


class GlobSet:
    """Any of many patterns; the shapes that are usual in long lists cost one look-up for all of them."""

    __slots__ = ("_exact", "_ignore_case", "_others", "_prefixes", "_suffixes")

    def __init__(self, patterns: Iterable[str], *, ignore_case: bool = False) -> None:
        self._ignore_case = ignore_case
        exact, prefixes, suffixes, others = set(), set(), set(), set()
        for pattern in patterns:
            pattern = _folded(pattern, ignore_case)
            if "?" in pattern or "*" in pattern[1:-1]:
                others.add(pattern)
            elif "*" not in pattern:
                exact.add(pattern)
            elif pattern.endswith("*"):
                (prefixes if pattern[0] != "*" or pattern == "*" else others).add(pattern.removesuffix("*"))
            else:
                suffixes.add(pattern.removeprefix("*"))
        self._exact = frozenset(exact)
        self._prefixes = tuple(prefixes)
        self._suffixes = tuple(suffixes)
        self._others = [Glob(pattern) for pattern in others]

    def matches(self, text: str) -> bool:
        """Return whether any pattern covers the whole text."""
        text = _folded(text, self._ignore_case)
        return (
            text in self._exact
            or text.startswith(self._prefixes)
            or text.endswith(self._suffixes)
            or any(glob.matches(text) for glob in self._others)
        )


class _Segment:
    """What stands between two stars: characters, some of which may be any."""

    __slots__ = ("_literal", "_places", "_text", "cost", "length")

    def __init__(self, text: str) -> None:
        self._text = text
        self.length: Final = len(text)
        self._literal = "?" not in text
        self.cost: Final = 1 if self._literal else 64
        self._places: dict[str, int] = {}
        if not self._literal:
            anywhere = sum(1 << place for place, character in enumerate(text) if character == "?")
            self._places = {character: anywhere for character in text}
            for place, character in enumerate(text):
                self._places[character] |= 1 << place

    def is_at(self, text: str, start: int) -> bool:
        """Return whether the segment is at one place, where it is known to have room."""
        if self._literal:
            return text.startswith(self._text, start)
        part = text[start : start + self.length]
        return all(mine in ("?", theirs) for mine, theirs in zip(self._text, part, strict=True))

    def ends(self, text: str, start: int, *, at_words: bool = False) -> Iterator[int]:
        """Yield where each occurrence that starts at `start` or later ends; `at_words`: only those at a boundary."""
        if self._literal:
            return self._literal_ends(text, start, at_words)
        return self._stepped_ends(text, start, at_words)

    def _literal_ends(self, text: str, start: int, at_words: bool) -> Iterator[int]:
        place = text.find(self._text, start)
        while place >= 0:
            if not at_words or _is_boundary(text, place):
                yield place + self.length
            if place >= len(text):
                return
            place = text.find(self._text, _next_boundary(text, place + 1) if at_words else place + 1)

    def _stepped_ends(self, text: str, start: int, at_words: bool) -> Iterator[int]:
        # Bit n says that the segment's first n + 1 characters end here (the Shift-And algorithm).
        places, anywhere, found = self._places, self._places["?"], 1 << (self.length - 1)
        partial = 0
        for place in range(start, len(text)):
            partial <<= 1
            if not at_words or _is_boundary(text, place):
                partial |= 1
            character = text[place]
            partial &= places.get(character, anywhere) if character != "?" else anywhere
            if partial & found:
                yield place + 1


def _folded(text: str, ignore_case: bool) -> str:
    return text.lower() if ignore_case else text


def _is_boundary(text: str, place: int) -> bool:
    if place in (0, len(text)):
        return True
    return not (_WORD.match(text, place - 1) and _WORD.match(text, place))


def _next_boundary(text: str, place: int) -> int:
    found = _WORD_BOUNDARY.search(text, place)
    return found.start() if found else len(text)
