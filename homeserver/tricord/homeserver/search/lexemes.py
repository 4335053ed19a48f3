"""How words stand in PostgreSQL's index, and how the index is asked.

A text becomes a `tsvector`: its words and their stems with their positions, and marks without any: `#r7` for the room
whose number is 7, `#b`, `#n` or `#t` for a body, a name or a topic. No word begins with `#`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import Enum

from tricord.homeserver.search.words import Run, pieces

# More rooms than these are left to the table.
_MOST_ROOMS = 500


class Kind(Enum):
    """What kind of text something is, by its mark."""

    BODY = "#b"
    NAME = "#n"
    TOPIC = "#t"


def vector(room_nid: int, kind: Kind, words: Iterable[str], stems: Mapping[str, frozenset[str]]) -> str:
    """Return a text as the index holds it."""
    positions: dict[str, list[int]] = {}
    for position, word in enumerate(words, 1):
        for lexeme in stems.get(word, (word,)):
            at = positions.setdefault(lexeme, [])
            # PostgreSQL keeps no more of one lexeme.
            if len(at) < 255:
                at.append(position)
    lexemes = [f"'{lexeme}':{','.join(map(str, at))}" for lexeme, at in positions.items()]
    return " ".join((f"'#r{room_nid}'", f"'{kind.value}'", *lexemes))


def words_query(wanted: Sequence[Run], stems: Mapping[str, frozenset[str]]) -> str:
    """Return the question for all of some words, each in any form."""
    forms = (_unspaced(run.text) if run.is_unspaced else _any_of(stems.get(run.text, (run.text,))) for run in wanted)
    return "&".join(forms)


def full_query(words: str, room_nids: Collection[int], kinds: Collection[Kind]) -> str:
    """Return the question for words in some rooms and kinds of text."""
    parts = [f"({words})", _any_of(kind.value for kind in kinds)]
    if len(room_nids) <= _MOST_ROOMS:
        parts.append(_any_of(f"#r{nid}" for nid in room_nids))
    return "&".join(parts)


def _any_of(lexemes: Iterable[str]) -> str:
    return "(" + "|".join(_quoted(lexeme) for lexeme in sorted(lexemes)) + ")"


def _unspaced(run: str) -> str:
    if len(run) == 1:
        return f"{_quoted(run)}:*"
    return "(" + "<->".join(_quoted(pair) for pair in pieces(run)[:-1]) + ")"


def _quoted(lexeme: str) -> str:
    # Words have letters, digits and signs in them, nothing that ends a quotation.
    return f"'{lexeme}'"
