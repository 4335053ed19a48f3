"""The words by which people are found. Pure rules, the same for names and for what is looked for.

A search finds those who have a word beginning with each word of it. Case and accents do not count. Where words are
written without spaces, as in Chinese, Japanese or Thai, a name is also found by what is inside of it.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from tricord.protocol.identifiers import UserId, localpart_of

_RUN = re.compile(r"[^\W_]+")
_MOST_WORDS = 40
_LONGEST_WORD = 64
_MOST_SEARCHED = 8


@dataclass(frozen=True, slots=True)
class Listed:
    """Somebody as the directory knows them."""

    user_id: UserId
    is_local: bool
    display_name: str | None
    avatar_url: str | None
    words: tuple[str, ...]


def listed(user_id: UserId, display_name: object, avatar_url: object, *, is_local: bool) -> Listed:
    """Return how somebody is listed; what is no name counts as none."""
    name = display_name if isinstance(display_name, str) and "\0" not in display_name else None
    avatar = avatar_url if isinstance(avatar_url, str) and "\0" not in avatar_url else None
    words = {user_id.casefold()[:_LONGEST_WORD]: None}
    words |= dict.fromkeys(_words(localpart_of(user_id)) + _words(name or ""))
    return Listed(user_id, is_local, name or None, avatar or None, tuple(words)[:_MOST_WORDS])


def searched(term: str) -> list[str]:
    """Return the words that are looked for, the longest first; somebody must have all of them, or longer ones."""
    term = term.strip()
    if term.startswith("@") and ":" in term:
        return [term.casefold()[:_LONGEST_WORD]]
    words = dict.fromkeys(word[:_LONGEST_WORD] for word in _RUN.findall(_plain(term)))
    return sorted(words, key=len, reverse=True)[:_MOST_SEARCHED]


def _words(text: str) -> list[str]:
    words: list[str] = []
    for run in _RUN.findall(_plain(text[:255])):
        words.append(run[:_LONGEST_WORD])
        if any(unicodedata.category(char) == "Lo" for char in run):
            words += [run[start : start + _LONGEST_WORD] for start in range(1, len(run))]
    return words


def _plain(text: str) -> str:
    """Return text as it is compared: letters that look or sound alike are one."""
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return "".join(char for char in decomposed if unicodedata.category(char) not in ("Mn", "Cs"))
