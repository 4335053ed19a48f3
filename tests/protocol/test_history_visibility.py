from __future__ import annotations

import itertools
from typing import Any

import pytest

from tricord.protocol.history_visibility import Standing, may_see, visibility_of

VISIBILITIES = ("world_readable", "shared", "invited", "joined")
MEMBERSHIPS = (None, "invite", "join", "knock", "leave", "ban")


def seen(visibility: str, membership: str | None, joined_later: bool = False) -> bool:
    standing = Standing(visibility, membership)
    return may_see(standing, standing, joined_later=joined_later)


def test_the_world_reads_what_is_world_readable() -> None:
    assert all(seen("world_readable", membership) for membership in MEMBERSHIPS)


def test_members_see_everything() -> None:
    assert all(seen(visibility, "join") for visibility in VISIBILITIES)


def test_history_is_shared_with_those_who_join_later() -> None:
    for membership in (None, "invite", "knock", "leave", "ban"):
        assert seen("shared", membership, joined_later=True)
        assert not seen("shared", membership)
        assert not seen("joined", membership, joined_later=True)


def test_the_invited_see_what_is_for_the_invited() -> None:
    assert seen("invited", "invite")
    for membership in (None, "knock", "leave", "ban"):
        assert not seen("invited", membership, joined_later=True)


@pytest.mark.parametrize("joined_later", [False, True])
def test_a_change_is_seen_from_either_side(joined_later: bool) -> None:
    standings = [Standing(*parts) for parts in itertools.product(VISIBILITIES, MEMBERSHIPS)]
    for before, after in itertools.product(standings, standings):
        either = any(may_see(side, side, joined_later=joined_later) for side in (before, after))
        assert may_see(before, after, joined_later=joined_later) == either


@pytest.mark.parametrize("content", [None, {}, {"history_visibility": "all"}, {"history_visibility": ["joined"]}])
def test_what_means_nothing_means_shared(content: Any) -> None:
    assert visibility_of(content) == "shared"


@pytest.mark.parametrize("visibility", VISIBILITIES)
def test_a_known_visibility_is_read(visibility: str) -> None:
    assert visibility_of({"history_visibility": visibility}) == visibility
