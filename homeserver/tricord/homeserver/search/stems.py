"""Stems of words, so that one form of a word finds the others.

Nobody says in which language they write. A word is therefore found by itself and by its stem in each of a few
languages; a stem that is wrong for the language of a text does no more harm than an odd match. PostgreSQL itself brings
the stemmers along.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.search import stems_of

_MOST_REMEMBERED = 50_000


class Stems:
    """Knows the stems of words; those asked for last without asking the database."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, frozenset[str]] = OrderedDict()

    async def of(self, tx: Transaction, words: Collection[str]) -> dict[str, frozenset[str]]:
        """Return each word with its stems, itself included."""
        found: dict[str, frozenset[str]] = {}
        unknown: list[str] = []
        for word in set(words):
            if (known := self._known.get(word)) is None:
                unknown.append(word)
            else:
                # Taken now: while this asks for the others, somebody else may have it forgotten.
                found[word] = known
                self._known.move_to_end(word)
        if unknown:
            read = {word: frozenset((word, *stems)) for word, stems in await stems_of(tx, unknown)}
            found |= read
            self._known.update(read)
            while len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)
        return found
