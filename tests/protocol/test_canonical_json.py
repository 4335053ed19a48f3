from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.vectors import load
from tricord.protocol.canonical_json import canonical_json, lenient_canonical_json
from tricord.protocol.errors import BadJson
from tricord.protocol.strict_json import parse_event_object, parse_json

VECTORS = load("canonical_json")
TEXT = st.text(st.characters(codec="utf-8"))
INTEGERS = st.integers(-(2**53) + 1, 2**53 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


def as_the_appendix_has_it(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


@pytest.mark.parametrize("case", VECTORS["more"]["cases"] + VECTORS["cases"][:-1])
def test_the_vectors_are_encoded_as_they_say(case: dict[str, str]) -> None:
    assert canonical_json(parse_json(case["input"])) == case["canonical"].encode()
    assert lenient_canonical_json(parse_json(case["input"])) == case["canonical"].encode()


def test_an_exponent_is_an_integer_to_the_oldest_rooms() -> None:
    case = VECTORS["cases"][-1]
    value = parse_event_object(case["input"].encode(), strict=False)
    assert lenient_canonical_json(value) == case["canonical"].encode()


@pytest.mark.parametrize("case", VECTORS["more"]["strictness"], ids=lambda case: case["name"])
def test_what_has_no_canonical_form_is_refused_in_strict_rooms_alone(case: dict[str, Any]) -> None:
    lenient = parse_event_object(case["input"].encode(), strict=False)
    assert lenient_canonical_json(lenient)
    if case["valid_room_v6_up"]:
        assert canonical_json(parse_event_object(case["input"].encode(), strict=True))
    else:
        with pytest.raises(BadJson):
            canonical_json(parse_event_object(case["input"].encode(), strict=True))


@given(VALUES)
def test_any_value_is_encoded_as_the_appendix_does_it(value: Any) -> None:
    assert canonical_json(value) == as_the_appendix_has_it(value)
    assert parse_json(canonical_json(value)) == value


@given(st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False) | st.integers(), max_size=3))
def test_lenient_numbers_come_back_as_they_were_signed(value: dict[str, Any]) -> None:
    encoded = lenient_canonical_json(value)
    assert lenient_canonical_json(parse_json(encoded)) == encoded


@pytest.mark.parametrize(
    "value",
    [1.0, -0.0, float("nan"), 2**53, -(2**53), [{"a": 0.5}], "\ud800", {"\udfff": 1}, {1: 2}, b"bytes", {"a": {1, 2}}],
    ids=repr,
)
def test_what_canonical_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(BadJson):
        canonical_json(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}], ids=repr)
def test_what_no_json_can_hold_is_refused_leniently_too(value: Any) -> None:
    with pytest.raises(BadJson):
        lenient_canonical_json(value)


def test_values_nested_too_deep_are_refused() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    for encode in (canonical_json, lenient_canonical_json):
        with pytest.raises(BadJson):
            encode(value)
    while value:  # or the interpreter itself would recurse to free it
        value = value.pop()
