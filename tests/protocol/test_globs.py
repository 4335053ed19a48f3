from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.protocol.globs import Glob, GlobSet, WordGlob, contains_words

patterns = st.text("aB?*. ", max_size=8)
texts = st.text("aAbB?. _é", max_size=12)


def covers(pattern: str, text: str, any_one: str = "?") -> bool:
    """Say what a glob means, as slow as it comes."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(covers(pattern[1:], text[start:], any_one) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in (any_one, text[0]) and covers(pattern[1:], text[1:], any_one)


def is_boundary(text: str, place: int) -> bool:
    def is_word(character: str) -> bool:
        return re.fullmatch("[A-Za-z0-9_]", character) is not None

    return place in (0, len(text)) or not (is_word(text[place - 1]) and is_word(text[place]))


@given(patterns, texts)
def test_a_glob_covers_the_whole_text(pattern: str, text: str) -> None:
    assert Glob(pattern).matches(text) == covers(pattern, text)
    assert Glob(pattern, ignore_case=True).matches(text) == covers(pattern.lower(), text.lower())


@given(patterns, texts)
def test_of_stars_only_a_question_mark_is_itself(pattern: str, text: str) -> None:
    for glob in (Glob(pattern, stars_only=True), GlobSet([pattern], stars_only=True)):
        assert glob.matches(text) == covers(pattern, text, any_one="")


@given(st.lists(patterns, max_size=4), texts, st.booleans())
def test_a_set_of_globs_is_any_of_them(several: list[str], text: str, ignore_case: bool) -> None:
    any_of_them = any(Glob(pattern, ignore_case=ignore_case).matches(text) for pattern in several)
    assert GlobSet(several, ignore_case=ignore_case).matches(text) == any_of_them


@given(st.text("ab?*.", min_size=1, max_size=6), texts)
def test_a_word_glob_covers_some_words(pattern: str, text: str) -> None:
    places = [place for place in range(len(text) + 1) if is_boundary(text, place)]
    found = any(covers(pattern, text.lower()[start:end]) for start in places for end in places if start <= end)
    assert WordGlob(pattern).matches(text) == found


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("lunc?*", "having lunch at noon", True),
        ("cake", "a piece of Cake!", True),
        ("cake", "pancakes", False),
        ("cake*lie", "the cake is a lie.", True),
        ("ex*ple", "An example event.", True),
        ("exple", "An exciting triple-whammy", False),
        ("ex*ple", "An exciting triple-whammy", True),
    ],
)
def test_bodies_are_matched_as_the_specification_shows(pattern: str, text: str, matches: bool) -> None:
    assert WordGlob(pattern).matches(text) == matches


def test_a_phrase_is_found_between_words() -> None:
    assert contains_words("hello alice!", "Alice")
    assert not contains_words("hello malice!", "Alice")
    assert contains_words("what about alice. (bob)?", "Alice. (Bob)")


@pytest.mark.parametrize("pattern", ["*a" * 64 + "b", "a?" * 60 + "*b*?c", "?a" * 100 + "b", "*" * 1000 + "b"])
@pytest.mark.parametrize("text", ["a" * 60_000, "ab" * 30_000, "a " * 30_000], ids=["a", "ab", "a_"])
def test_hostile_patterns_take_no_longer_than_others(pattern: str, text: str) -> None:
    started = time.process_time()
    Glob(pattern).matches(text)
    WordGlob(pattern).matches(text)
    contains_words(text, pattern)
    assert time.process_time() - started < 0.5
