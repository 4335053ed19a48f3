"""What texts are found by."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from tricord.homeserver.search.lexemes import Kind, vector, words_query
from tricord.homeserver.search.words import LONGEST_WORD, folded, runs, words


def indexed(text: str) -> list[str]:
    return [word for word, _ in words(text)]


def test_words_are_compared_without_case_width_and_accents() -> None:
    assert indexed("Crème BRÛLÉE, \uff46\uff55\uff4c\uff4c \u01c5") == ["creme", "brulee", "full", "dz"]


def test_what_belongs_to_a_letter_stays() -> None:
    assert indexed("й ё") == ["й", "ё"]
    assert indexed("हिन्दी") == ["हिन्दी"]
    assert folded("が") == "が"


def test_what_has_no_spaces_is_cut_into_pairs() -> None:
    assert indexed("去北京 ok") == ["去北", "北京", "京", "ok"]
    assert indexed("한국어") == ["한국", "국어", "어"]


def test_long_words_and_texts_are_cut() -> None:
    assert indexed("x" * 1000) == ["x" * LONGEST_WORD]
    assert len(indexed("字" * 100_000)) <= 5_000


def test_a_text_becomes_a_vector_and_a_search_a_question() -> None:
    stems = {"teas": frozenset({"teas", "tea"})}
    assert vector(7, Kind.BODY, ["teas", "北京", "teas"], stems).split(" ")[:2] == ["'#r7'", "'#b'"]
    assert "'tea':1,3" in vector(7, Kind.BODY, ["teas", "北京", "teas"], stems)
    assert words_query(list(runs("teas 北京人 茶")), stems) == "('tea'|'teas')&('北京'<->'京人')&'茶':*"


@given(st.text())
def test_any_text_has_words_that_stand_in_quotation_marks(text: str) -> None:
    for word in indexed(text):
        assert word
        assert len(word) <= LONGEST_WORD
        assert not set(word) & set("'\\\0#: \t\n&|!()<>*")


@given(st.text(), st.text(), st.text())
def test_a_part_of_what_has_no_spaces_is_among_its_pairs(before: str, part: str, after: str) -> None:
    sought = [run for run in runs(folded(part)) if run.is_unspaced and len(run.text) > 1]
    assume(folded(before) + folded(part) + folded(after) == folded(before + part + after))
    pairs = {word for word, is_unspaced in words(before + part + after) if is_unspaced}
    for run in sought:
        assert {run.text[n : n + 2] for n in range(len(run.text) - 1)} <= pairs
