"""Matrix globs in linear time: `*` is any run of characters, `?` is any one character.

The patterns of filters have no other wildcard than the star (`stars_only`): in those, `?` is itself.

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
_BOUNDARY = re.compile(r"(?<![A-Za-z0-9_])|(?![A-Za-z0-9_])")


class Glob:
    """A pattern for a whole text."""

    __slots__ = ("_first", "_ignore_case", "_last", "_middle", "cost", "pattern")

    def __init__(self, pattern: str, *, ignore_case: bool = False, stars_only: bool = False) -> None:
        self.pattern: Final = pattern
        self._ignore_case = ignore_case
        lowered = pattern.lower() if ignore_case else pattern
        self._first, self._middle, self._last = _segments(lowered, stars_only=stars_only)
        self.cost: Final = 1 if stars_only else _cost(pattern)

    def matches(self, text: str) -> bool:
        """Return whether the pattern covers the whole text."""
        if self._ignore_case:
            text = text.lower()
        if self._last is None:
            return len(text) == self._first.length and self._first.is_at(text, 0)
        last = len(text) - self._last.length
        if last < self._first.length or not self._first.is_at(text, 0) or not self._last.is_at(text, last):
            return False
        place = _after(self._middle, text, self._first.length)
        return place is not None and place <= last


class WordGlob:
    """A pattern for any part of a text that starts and ends at a word boundary, whatever the case.

    https://spec.matrix.org/v1.19/client-server-api/#push-rules (the special case of `content.body`)
    """

    __slots__ = ("_first", "_last", "_middle", "cost", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern: Final = pattern
        self._first, self._middle, self._last = _segments(pattern.lower())
        self.cost: Final = _cost(pattern)

    def matches(self, text: str) -> bool:
        """Return whether some part of the text is covered by the pattern."""
        return self.matches_lowered(text.lower())

    def matches_lowered(self, text: str) -> bool:
        """Do as `matches` for a text that is in lower case already."""
        if self._last is None:
            return any(True for _ in self._first.ends(text, 0, from_word=True, to_word=True))
        place = next(self._first.ends(text, 0, from_word=True), None)
        if place is not None:
            place = _after(self._middle, text, place)
        return place is not None and any(True for _ in self._last.ends(text, place, to_word=True))


class GlobSet:
    """Any of many patterns; the shapes that are usual in long lists cost one look-up for all of them."""

    __slots__ = ("_exact", "_ignore_case", "_others", "_prefixes", "_suffixes")

    def __init__(self, patterns: Iterable[str], *, ignore_case: bool = False, stars_only: bool = False) -> None:
        self._ignore_case = ignore_case
        exact, prefixes, suffixes, others = set(), set(), set(), set()
        for pattern in patterns:
            if ignore_case:
                pattern = pattern.lower()
            if ("?" in pattern and not stars_only) or pattern.count("*") > 1:
                others.add(pattern)
            elif "*" not in pattern:
                exact.add(pattern)
            elif pattern.endswith("*"):
                prefixes.add(pattern[:-1])
            elif pattern.startswith("*"):
                suffixes.add(pattern[1:])
            else:
                others.add(pattern)
        self._exact = frozenset(exact)
        self._prefixes = tuple(prefixes)
        self._suffixes = tuple(suffixes)
        self._others = [Glob(pattern, stars_only=stars_only) for pattern in others]

    def matches(self, text: str) -> bool:
        """Return whether any pattern covers the whole text."""
        if self._ignore_case:
            text = text.lower()
        return (
            text in self._exact
            or text.startswith(self._prefixes)
            or text.endswith(self._suffixes)
            or any(glob.matches(text) for glob in self._others)
        )


def contains_words(lowered_text: str, phrase: str) -> bool:
    """Return whether a text in lower case contains a phrase, taken literally, from word boundary to word boundary."""
    ends = _literal_ends(lowered_text, phrase.lower(), 0, from_word=True, to_word=True)
    return any(True for _ in ends)


class _Segment:
    """What stands between two stars: characters, some of which may be any."""

    __slots__ = ("_is_literal", "_places", "_text", "length")

    def __init__(self, text: str, *, is_literal: bool = False) -> None:
        self._text = text
        self.length: Final = len(text)
        self._is_literal = is_literal or "?" not in text
        self._places: dict[str, int] = {}
        if not self._is_literal:
            anything = sum(1 << place for place, character in enumerate(text) if character == "?")
            self._places = dict.fromkeys(text, anything)
            for place, character in enumerate(text):
                self._places[character] |= 1 << place

    def is_at(self, text: str, start: int) -> bool:
        """Return whether the segment is at one place, where the text has room for it."""
        if self._is_literal:
            return text.startswith(self._text, start)
        part = text[start : start + self.length]
        return all(mine in ("?", theirs) for mine, theirs in zip(self._text, part, strict=True))

    def ends(self, text: str, start: int, *, from_word: bool = False, to_word: bool = False) -> Iterator[int]:
        """Yield where each occurrence ends that starts at `start` or later, perhaps only those at word boundaries."""
        if self._is_literal:
            return _literal_ends(text, self._text, start, from_word=from_word, to_word=to_word)
        return self._stepped_ends(text, start, from_word=from_word, to_word=to_word)

    def _stepped_ends(self, text: str, start: int, *, from_word: bool, to_word: bool) -> Iterator[int]:
        # Bit n says that the segment's first n + 1 characters end here (the Shift-And algorithm).
        places, anything, whole = self._places, self._places["?"], 1 << (self.length - 1)
        begun = 0
        for place in range(start, len(text)):
            begun <<= 1
            if not from_word or _is_boundary(text, place):
                begun |= 1
            begun &= places.get(text[place], anything)
            if begun & whole and (not to_word or _is_boundary(text, place + 1)):
                yield place + 1


def _cost(pattern: str) -> int:
    """Return what a character of text costs with a pattern; 1 if `str.find` does it all."""
    return 64 if "?" in pattern else 1


def _segments(pattern: str, *, stars_only: bool = False) -> tuple[_Segment, list[_Segment], _Segment | None]:
    """Return what comes before the first star, between stars, and after the last star if there is one."""
    first, *others = [_Segment(text, is_literal=stars_only) for text in pattern.split("*")]
    if not others:
        return first, [], None
    return first, [segment for segment in others[:-1] if segment.length], others[-1]


def _after(segments: Iterable[_Segment], text: str, place: int | None) -> int | None:
    """Return where the last of some segments ends, each being in the first place after the one before it."""
    for segment in segments:
        if place is None:
            return None
        place = next(segment.ends(text, place), None)
    return place


def _literal_ends(text: str, literal: str, start: int, *, from_word: bool, to_word: bool) -> Iterator[int]:
    while (place := text.find(literal, start)) >= 0:
        end = place + len(literal)
        if (not from_word or _is_boundary(text, place)) and (not to_word or _is_boundary(text, end)):
            yield end
        if end >= len(text):
            return
        # The next boundary, not just the next character: in `aaaa…` every place is an occurrence, and none may count.
        start = _next_boundary(text, place + 1) if from_word else place + 1
        if to_word:
            start = max(start, _next_boundary(text, end + 1) - len(literal))


def _is_boundary(text: str, place: int) -> bool:
    """Return whether the characters before and after a place are not both of a word."""
    if place in (0, len(text)):
        return True
    return not (_WORD.match(text, place - 1) and _WORD.match(text, place))


def _next_boundary(text: str, place: int) -> int:
    found = _BOUNDARY.search(text, place)
    return found.start() if found else len(text)
