"""From a text to the words that it is found by.

Letters are compared without case, width and, in Latin and Greek, accents. What is written without spaces (Chinese,
Japanese, Thai, …) or with endings that grow onto words (Korean) is cut into pairs of neighbouring characters: so any
part of such a text is found, with no dictionary. The last character of a run stands alone, so that each character
begins one of the pieces, and one alone is found as their beginning.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

LONGEST_WORD = 64
# PostgreSQL counts positions up to here.
_MOST_WORDS = 5_000
_MOST_CHARACTERS = 40_000

_UNSPACED_CHARACTERS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # kana, and what is written among them
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u1100-\u11ff\uac00-\ud7af"  # Hangul
)
# Vowels and other signs that belong to the letter before them, which Python does not count as letters.
_SIGNS = "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0dff"
_LETTER = f"[^\\W_{_UNSPACED_CHARACTERS}]"
_RUN = re.compile(f"([{_UNSPACED_CHARACTERS}]+)|({_LETTER}(?:{_LETTER}+|[{_SIGNS}]+)*)")
_ACCENT = re.compile("([\u0041-\u03ff])[\u0300-\u036f]+")


class Run(NamedTuple):
    """A word, or a stretch of characters without spaces."""

    text: str
    is_unspaced: bool
    start: int
    """Where it stands in the folded text."""


def folded(text: str) -> str:
    """Return a text without what does not count: case, width, accents."""
    text = unicodedata.normalize("NFKD", text[:_MOST_CHARACTERS])
    return unicodedata.normalize("NFC", _ACCENT.sub(r"\1", text)).casefold()


def runs(text: str) -> Iterator[Run]:
    """Go through the words of a folded text, and its stretches without spaces."""
    for match in _RUN.finditer(text):
        if match[1] is not None:
            yield Run(match[1], is_unspaced=True, start=match.start())
        else:
            yield Run(match[2][:LONGEST_WORD], is_unspaced=False, start=match.start())


def pieces(run: str) -> list[str]:
    """Cut a stretch without spaces into pairs, and the last character."""
    return [run[number : number + 2] for number in range(len(run))]


def words(text: str) -> list[tuple[str, bool]]:
    """Return what a text is indexed by, in order, and of each whether it is a piece of what has no spaces."""
    found: list[tuple[str, bool]] = []
    for unspaced, word in _RUN.findall(folded(text)):
        if word:
            found.append((word[:LONGEST_WORD], False))
        else:
            found += [(piece, True) for piece in pieces(unspaced)]
        if len(found) >= _MOST_WORDS:
            break
    return found[:_MOST_WORDS]
