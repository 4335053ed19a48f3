from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.protocol.property_paths import split_path


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("content.body", ("content", "body")),
        (r"content.m\.relates_to.rel_type", ("content", "m.relates_to", "rel_type")),
        (r"content.m\.relates_to.event_id", ("content", "m.relates_to", "event_id")),
        (r"a\\.b", ("a\\", "b")),
        (r"a\\\.b", ("a\\.b",)),
        (r"a\bc.d", (r"a\bc", "d")),
        ("", ("",)),
        (".", ("", "")),
        ("a\\", ("a\\",)),
    ],
)
def test_a_path_is_split_at_its_bare_dots(path: str, names: tuple[str, ...]) -> None:
    assert split_path(path) == names


@given(st.lists(st.text("ab.\\", max_size=4), min_size=1, max_size=4))
def test_escaped_names_come_back(names: list[str]) -> None:
    escaped = [name.replace("\\", "\\\\").replace(".", r"\.") for name in names]
    assert split_path(".".join(escaped)) == tuple(names)
