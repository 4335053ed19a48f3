from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import EventId, RoomAlias, RoomId, ServerName, UserId
from tricord.protocol.matrix_uri import MatrixUri, parse_matrix_uri

ROOM = RoomId("!somewhere:example.org")
ELSEWHERE = (ServerName("elsewhere.ca"),)
EVENT = EventId("$event:example.org")


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("matrix:r/somewhere:example.org", MatrixUri(RoomAlias("#somewhere:example.org"))),
        ("matrix:roomid/somewhere:example.org?via=elsewhere.ca", MatrixUri(ROOM, via=ELSEWHERE)),
        ("matrix:roomid/somewhere:example.org/e/event:example.org?via=elsewhere.ca", MatrixUri(ROOM, EVENT, ELSEWHERE)),
        ("matrix:u/alice:example.org?action=chat", MatrixUri(UserId("@alice:example.org"), action="chat")),
    ],
)
def test_links_of_the_appendix_are_read_and_written(text: str, meaning: MatrixUri) -> None:
    assert parse_matrix_uri(text) == meaning
    assert str(meaning) == text


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("https://matrix.to/#/%23somewhere:example.org", MatrixUri(RoomAlias("#somewhere:example.org"))),
        ("https://matrix.to/#/!somewhere:example.org?via=elsewhere.ca", MatrixUri(ROOM, via=ELSEWHERE)),
        (
            "https://matrix.to/#/!somewhere:example.org/$event:example.org?via=elsewhere.ca",
            MatrixUri(ROOM, EVENT, ELSEWHERE),
        ),
        ("https://matrix.to/#/@alice:example.org", MatrixUri(UserId("@alice:example.org"))),
    ],
)
def test_older_links_of_the_appendix_are_read_and_written(text: str, meaning: MatrixUri) -> None:
    assert parse_matrix_uri(text) == meaning
    assert meaning.matrix_to() == text


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("https://matrix.to/#/%21somewhere%3Aexample.org/%24event%3Aexample.org", MatrixUri(ROOM, EVENT)),
        ("https://matrix.to/#/#somewhere:example.org", MatrixUri(RoomAlias("#somewhere:example.org"))),
        ("https://matrix.to/#/!somewhere:example.org/", MatrixUri(ROOM)),
        ("https://matrix.to/#/!somewhere:example.org/$a/b:example.org", MatrixUri(ROOM, EventId("$a/b:example.org"))),
        ("MATRIX:user/alice:example.org", MatrixUri(UserId("@alice:example.org"))),
        ("matrix://authority/u/alice:example.org#part", MatrixUri(UserId("@alice:example.org"))),
        ("matrix:room/a:b?action=chat&via=&via=a_b&via=c&x=y", MatrixUri(RoomAlias("#a:b"), via=(ServerName("c"),))),
        ("matrix:r/a:b?action=join", MatrixUri(RoomAlias("#a:b"), action="join")),
    ],
)
def test_what_clients_have_written_is_read_too(text: str, meaning: MatrixUri) -> None:
    assert parse_matrix_uri(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "https://example.org",
            "matrix:",
            "matrix:u",
            "matrix:u/",
            "matrix:x/a:b",
            "matrix:e/event:b",
            "matrix:u/a",
        ),
        *("matrix:u/a", "matrix:u/a:b/e/c:d", "matrix:u/%ff:b", "matrix:u/a:b/x", "https://matrix.to/#/"),
        "https://matrix.to/#/+a:b",
        "matrix:u/a:b?" + "&".join(["via=a"] * 101),
    ],
)
def test_what_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(InvalidParam):
        parse_matrix_uri(text)


LOCALPARTS = st.text(st.characters(codec="utf-8", exclude_characters=":\0"), max_size=20)


@given(
    LOCALPARTS,
    st.sampled_from("@#!"),
    st.none() | LOCALPARTS,
    st.lists(st.sampled_from(["a.b", "[::1]:80"]), max_size=2),
)
def test_links_come_back_as_they_went(localpart: str, sigil: str, event: str | None, via: list[str]) -> None:
    target = f"{sigil}{localpart}:a.test"
    event_id = None if event is None or sigil == "@" else EventId(f"${event}:a.test")
    uri = MatrixUri(RoomId(target), event_id, tuple(map(ServerName, via)))
    assert parse_matrix_uri(str(uri)) == uri
    assert parse_matrix_uri(uri.matrix_to()) == uri


@given(
    st.text(), st.sampled_from(["matrix:", "matrix:u/", "matrix:r/", "https://matrix.to/#/", "https://matrix.to/#/@"])
)
def test_any_text_is_a_link_or_refused(text: str, start: str) -> None:
    with contextlib.suppress(InvalidParam):
        parse_matrix_uri(start + text)
