from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import (
    UserId,
    is_valid_new_localpart,
    is_valid_user_id,
    localpart_of,
    parse_event_id,
    parse_room_alias,
    parse_room_id,
    parse_server_name,
    parse_user_id,
    server_name_of,
)

HASH = "Nhcu5BS-UMnFX7hBVfVSoXiD7OgH6iRT-xyIuqDnpYQ"
PARSERS: list[Callable[[str], str]] = [
    parse_server_name,
    parse_user_id,
    parse_room_id,
    parse_event_id,
    parse_room_alias,
]


@pytest.mark.parametrize(
    "name",
    [
        "matrix.org",
        "matrix.org:8888",
        "1.2.3.4",
        "1.2.3.4:1234",
        "[1234:5678::abcd]",
        "[1234:5678::abcd]:5678",
        "localhost",
    ],
)
def test_server_names_of_the_appendix_are_server_names(name: str) -> None:
    assert parse_server_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "a_b.org",
        "a:",
        "a:123456",
        "a:x",
        "[::1",
        "::1",
        "[zz]",
        "[1::2::3]",
        "a/b",
        "é.org",
        "a" * 256,
        "a\n",
    ],
)
def test_other_names_are_none(name: str) -> None:
    with pytest.raises(InvalidParam):
        parse_server_name(name)


@pytest.mark.parametrize("user_id", ["@a:b", "@UPPER:b", "@:b", "@é ü:b", "@a:[::1]:80", "@" + "a" * 252 + ":b"])
def test_user_ids_old_and_new_are_read(user_id: str) -> None:
    assert parse_user_id(user_id) == user_id
    assert is_valid_user_id(user_id)


@pytest.mark.parametrize(
    "user_id",
    [
        "",
        "@",
        "@a",
        "a:b",
        "@a:",
        "@a\0:b",
        "@a:b c",
        "@\ud800:b",
        "@" + "a" * 253 + ":b",
        "@" + "é" * 127 + ":b",
        "!a:b",
    ],
)
def test_what_is_no_user_id_is_refused(user_id: str) -> None:
    with pytest.raises(InvalidParam):
        parse_user_id(user_id)
    assert not is_valid_user_id(user_id)


@pytest.mark.parametrize("room_id", ["!a:b", f"!{HASH}", "!é:b"])
def test_room_ids_name_a_server_or_a_create_event(room_id: str) -> None:
    assert parse_room_id(room_id) == room_id


@pytest.mark.parametrize("room_id", ["!a", "#a:b", f"!{HASH}x", "!", ""])
def test_what_is_no_room_id_is_refused(room_id: str) -> None:
    with pytest.raises(InvalidParam):
        parse_room_id(room_id)


@pytest.mark.parametrize("event_id", ["$a:b", f"${HASH}", "$RrGxF28UrHLmoASHndYb9Jb/1SFww2ptmtur9INS438"])
def test_event_ids_of_all_versions_are_read(event_id: str) -> None:
    assert parse_event_id(event_id) == event_id


def test_the_parts_of_an_id_are_split_at_its_first_colon() -> None:
    user_id = UserId("@a:b.test:8448")
    assert localpart_of(user_id) == "a"
    assert server_name_of(user_id) == "b.test:8448"


def test_new_localparts_are_narrower_than_old_ones() -> None:
    assert is_valid_new_localpart("a.b_c=d-e/f+9")
    assert not any(map(is_valid_new_localpart, ["", "A", "é", "a b", "a:b", "a\n"]))


@given(st.text())
def test_any_text_is_an_identifier_or_refused(text: str) -> None:
    for parse in PARSERS:
        for candidate in (text, f"@{text}:b", f"!{text}:b", f"${text}:b", f"#{text}:b"):
            with contextlib.suppress(InvalidParam):
                assert parse(candidate) == candidate
