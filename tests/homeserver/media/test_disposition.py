"""File names and types that others give, in headers of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.homeserver.media.disposition import (
    clean_content_type,
    clean_file_name,
    content_disposition,
    file_name_in,
)


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("tea.png", "tea.png"),
        ("../../x", "_.._x"),
        ("..\\..\\x.exe", "_.._x.exe"),
        ("a\r\nSet-Cookie: b", "aSet-Cookie: b"),
        ("photo\u202egnp.exe", "photognp.exe"),
        ("Übung 5%.pdf", "Übung 5%.pdf"),
        ("...", None),
        ("\0\0", None),
        ("", None),
        (None, None),
    ],
)
def test_a_name_names_a_file_and_nothing_else(given_name: str | None, kept: str | None) -> None:
    assert clean_file_name(given_name) == kept


def test_a_long_name_keeps_its_ending() -> None:
    name = clean_file_name("ä" * 10_000 + ".jpeg")
    assert name is not None
    assert name.endswith("ä.jpeg")
    assert len(name.encode()) <= 255


@pytest.mark.parametrize(
    ("content_type", "name", "header"),
    [
        ("image/png", None, b"inline"),
        ("image/png", "tea.png", b'inline; filename="tea.png"'),
        ("IMAGE/PNG; q=1", "tea.png", b'inline; filename="tea.png"'),
        ("text/html", "a.html", b'attachment; filename="a.html"'),
        ("image/svg+xml", "a.svg", b'attachment; filename="a.svg"'),
        ("text/plain", 'ü%".txt', b"inline; filename=\"?_'.txt\"; filename*=UTF-8''%C3%BC%25%22.txt"),
    ],
)
def test_only_what_cannot_act_is_shown_in_place(content_type: str, name: str | None, header: bytes) -> None:
    assert content_disposition(content_type, name) == header


@given(st.text(max_size=400))
def test_any_name_survives_the_way_to_another_server(text: str) -> None:
    name = clean_file_name(text)
    header = content_disposition("image/png", name)
    assert b"\r" not in header
    assert b"\n" not in header
    assert file_name_in(header.decode("ascii")) == name


@pytest.mark.parametrize(
    "text",
    ["image/png\r\nX: y", "image", "image/", "a/b; c", 'a/b;c="\n"', "x" * 300 + "/y", "bild/größe", "", None],
)
def test_what_is_no_content_type_is_bytes(text: str | None) -> None:
    assert clean_content_type(text) == "application/octet-stream"


def test_parameters_of_a_content_type_are_kept() -> None:
    assert clean_content_type(' text/plain; charset="utf-8" ') == 'text/plain; charset="utf-8"'
