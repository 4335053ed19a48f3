"""What `m.room.canonical_alias` may list."""

from __future__ import annotations

import pytest

from tricord.homeserver.rooms.canonical_alias import check_canonical_alias_form, without_alias
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import RoomAlias


def test_only_the_aliases_that_are_new_are_looked_at() -> None:
    before = {"alias": "#old:hs.test", "alt_aliases": ["no alias at all"]}
    content = {"alias": "#old:hs.test", "alt_aliases": ["no alias at all", "#new:hs.test"]}
    assert check_canonical_alias_form(content, before) == ["#new:hs.test"]


def test_an_alias_named_twice_is_new_once() -> None:
    assert check_canonical_alias_form({"alias": "#a:hs.test", "alt_aliases": ["#a:hs.test"]}) == ["#a:hs.test"]


@pytest.mark.parametrize(
    "content",
    [
        {"alias": 1},
        {"alias": "a:hs.test"},
        {"alias": "#a"},
        {"alt_aliases": "#a:hs.test"},
        {"alt_aliases": [None]},
        {"alt_aliases": ["#a\0:hs.test"]},
    ],
)
def test_what_is_no_alias_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(InvalidParam):
        check_canonical_alias_form(content)


def test_no_alias_is_fine() -> None:
    assert check_canonical_alias_form({"alias": None}) == []
    assert check_canonical_alias_form({"alias": ""}) == []
    assert check_canonical_alias_form({}) == []


def test_a_removed_alias_is_taken_out_wherever_it_is_listed() -> None:
    content = {"alias": "#a:hs.test", "alt_aliases": ["#a:hs.test", "#b:hs.test"], "other": 1}
    assert without_alias(content, RoomAlias("#a:hs.test")) == {"alt_aliases": ["#b:hs.test"], "other": 1}
