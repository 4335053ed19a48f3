"""Of which rooms processes want to hear."""

from __future__ import annotations

import mmap

import pytest

from tricord.homeserver.stream.common_memory import SIZE, CommonMemory
from tricord.homeserver.stream.interests import MOVES, WAKING, Interests


@pytest.fixture
def memory() -> mmap.mmap:
    return mmap.mmap(-1, SIZE)


def interests_of(memory: mmap.mmap, place: int) -> Interests:
    return CommonMemory(memory, place, 3).interests


def test_each_sees_what_the_others_want(memory: mmap.mmap) -> None:
    one, other, third = (interests_of(memory, place) for place in range(3))
    one.note("!a:hs", MOVES)
    other.note("!a:hs", MOVES)
    other.note("!a:hs", WAKING)
    assert third.elsewhere("!a:hs", MOVES) == [0, 1]
    assert third.elsewhere("!a:hs", WAKING) == [1]
    assert one.elsewhere("!a:hs", MOVES) == [1]
    assert third.elsewhere("!b:hs", MOVES) == []
    assert third.elsewhere_for_any(("!b:hs", "!a:hs"), MOVES) == {0, 1}
    assert third.elsewhere_for_any(("!b:hs",), MOVES) == set()
    other.drop("!a:hs", MOVES)
    other.drop("!a:hs", MOVES)
    assert third.elsewhere("!a:hs", MOVES) == [0]
    assert third.elsewhere("!a:hs", WAKING) == [1]


def test_rooms_that_share_a_place_do_not_lose_it_by_each_other(memory: mmap.mmap) -> None:
    one, other = interests_of(memory, 0), interests_of(memory, 1)
    rooms = [f"!{number}:hs" for number in range(60_000)]
    for room_id in rooms:
        one.note(room_id, WAKING)
        one.note(room_id, WAKING)
    assert one.are_many
    for room_id in rooms[1:]:
        one.drop(room_id, WAKING)
    assert not one.are_many
    assert other.elsewhere(rooms[0], WAKING) == [0]
    one.drop(rooms[0], WAKING)
    assert not any(other.elsewhere(room_id, WAKING) for room_id in rooms)


def test_the_wishes_of_a_process_die_with_it(memory: mmap.mmap) -> None:
    one, other = interests_of(memory, 0), interests_of(memory, 1)
    one.note("!a:hs", WAKING)
    interests_of(memory, 0)
    assert other.elsewhere("!a:hs", WAKING) == []
