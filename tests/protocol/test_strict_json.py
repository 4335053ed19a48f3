from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.protocol.errors import BadJson, NotJson
from tricord.protocol.strict_json import check_event_integers, parse_event_object, parse_json, parse_object


@given(st.binary() | st.text(alphabet='[]{}",:0123456789.eE+-truefalsn \\u').map(str.encode))
def test_any_bytes_are_a_value_or_a_documented_refusal(data: bytes) -> None:
    for parse in (
        parse_json,
        parse_object,
        lambda data: parse_event_object(data, strict=True),
        lambda data: parse_event_object(data, strict=False),
    ):
        with contextlib.suppress(NotJson, BadJson):
            parse(data)


@pytest.mark.parametrize(
    "data", [b"", b'{"a":', b"NaN", b"[Infinity]", b"1e400", b'"\\ud800"', b"\xff", b"'a'", b"[1,]", b"\xef\xbb\xbf{}"]
)
def test_what_is_not_json_is_called_so(data: bytes) -> None:
    with pytest.raises(NotJson):
        parse_json(data)


@pytest.mark.parametrize("data", [b"[]", b'"x"', b"1", b"null"])
def test_an_object_is_an_object(data: bytes) -> None:
    with pytest.raises(BadJson):
        parse_object(data)


def test_nesting_ends_at_the_limit() -> None:
    parse_json(b"[" * 128 + b"]" * 128)
    with pytest.raises(BadJson):
        parse_json(b"[" * 129 + b"]" * 129)
    with pytest.raises(BadJson):
        parse_json(b'{"a":' * 129 + b"1" + b"}" * 129)


def test_a_hundred_thousand_brackets_are_refused_at_once() -> None:
    started = time.process_time()
    with pytest.raises((NotJson, BadJson)):
        parse_json(b"[" * 100_000)
    assert time.process_time() - started < 0.1


def test_the_last_of_two_equal_keys_counts() -> None:
    assert parse_object(b'{"body":"a","body":"b"}') == {"body": "b"}


@pytest.mark.parametrize("number", [2**53, 2**64, -(2**64), 10**100])
def test_big_integers_keep_their_value(number: int) -> None:
    assert parse_json(str(number).encode()) == number
    assert isinstance(parse_json(str(number).encode()), int)


def test_integers_of_absurd_length_are_refused() -> None:
    with pytest.raises((NotJson, BadJson)):
        parse_json(b"1" * 10_000)


@pytest.mark.parametrize("value", [{"a": 1.5}, [[1.0]], {"a": [{"b": 2**53}]}, -(2**53)], ids=repr)
def test_numbers_that_events_cannot_hold_are_found_anywhere(value: Any) -> None:
    with pytest.raises(BadJson):
        check_event_integers(value)


def test_numbers_that_events_can_hold_pass() -> None:
    check_event_integers({"a": [2**53 - 1, -(2**53) + 1, 0, True, None, "1.5", {}]})
