"""By which words people are found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.homeserver.accounts.directory_words import listed, searched
from tricord.protocol.identifiers import UserId

BOB = UserId("@bob.smith-2:far.test")


def finds(term: str, name: str | None, user_id: UserId = BOB) -> bool:
    words = listed(user_id, name, None, is_local=False).words
    wanted = searched(term)
    return bool(wanted) and all(any(word.startswith(one) for word in words) for one in wanted)


@pytest.mark.parametrize(
    ("term", "name"),
    [
        ("bob", None),
        ("SMI", None),
        ("@bob", None),
        ("@bob.smith-2:far", None),
        ("smith bob", None),
        ("rob", "Robert"),
        ("jose", "José Ñandú"),
        ("nandu jos", "José Ñandú"),
        ("José", "jose"),
        ("straße", "STRASSE"),
        ("иван", "Иван Петров"),
        ("田中", "田中太郎"),
        ("太郎", "田中太郎"),
        ("สมชาย", "นายสมชาย"),
        ("철수", "김철수"),
        ("ﬁn", "Finn"),
    ],
)
def test_people_are_found_in_any_script(term: str, name: str | None) -> None:
    assert finds(term, name)


@pytest.mark.parametrize(
    ("term", "name"), [("", "x"), ("  ", "x"), ("@", "x"), ("bert", "Robert"), ("bob jones", "Bob")]
)
def test_others_are_not(term: str, name: str) -> None:
    assert not finds(term, name)


@given(st.text(), st.text(max_size=300))
def test_whatever_is_written_there_are_few_and_short_words(term: str, name: str) -> None:
    entry = listed(BOB, name, None, is_local=True)
    assert len(entry.words) <= 40
    for word in (*entry.words, *searched(term)):
        assert 0 < len(word) <= 64
        word.encode()
        assert "\0" not in word
