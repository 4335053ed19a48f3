"""What spaces say is in them, and walks that end whatever they say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.clients.api.spaces import RoomSummary
from tricord.homeserver.rooms.hierarchy import Step, Walk
from tricord.homeserver.rooms.previews import Preview
from tricord.homeserver.rooms.space_children import children_of
from tricord.protocol.identifiers import RoomId

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def child(room_id: str, **content: Any) -> dict[str, Any]:
    return {
        "type": "m.space.child",
        "state_key": room_id,
        "sender": "@a:a.test",
        "origin_server_ts": 1,
        "content": {"via": ["a.test"]} | content,
    }


def preview(room_id: str, *children: str) -> Preview:
    summary = RoomSummary(room_id=RoomId(room_id), num_joined_members=1, world_readable=False, guest_can_join=False)
    return Preview(summary, children_of(map(child, children)))


@given(st.lists(JSON | st.fixed_dictionaries(dict.fromkeys(child("!a:a.test"), JSON)), max_size=5))
def test_whatever_comes_is_a_child_or_none(stripped: list[Any]) -> None:
    for one in children_of(stripped):
        assert one.room_id.startswith("!")


@pytest.mark.parametrize("content", [{"via": []}, {"via": None}, {"via": "a.test"}, {"via": {}}])
def test_without_servers_it_is_no_child(content: dict[str, Any]) -> None:
    assert children_of([child("!a:a.test", **content)]) == ()


def test_servers_that_cannot_be_are_left_out() -> None:
    (one,) = children_of([child("!a:a.test", via=["", 1, None, "a/b", "a.test", *(f"{n}.test" for n in range(20))])])
    assert one.via == ("a.test", "0.test", "1.test", "2.test", "3.test")


def test_an_order_that_is_too_long_or_not_plain_is_none() -> None:
    found = children_of(
        [child("!a:a.test", order="x" * 51), child("!b:a.test", order="\n"), child("!c:a.test", order="z")]
    )
    assert [(one.room_id, one.order) for one in found] == [("!c:a.test", "z"), ("!a:a.test", None), ("!b:a.test", None)]


def test_a_walk_through_spaces_without_end_ends() -> None:
    walk = Walk(RoomId("!0:a.test"), suggested_only=False, max_depth=10, ahead=[Step(RoomId("!0:a.test"), 0, ())])
    number = 0
    steps = 0
    while following := walk.next_steps(1):
        step = following[0]
        walk.take(step)
        names = [f"!{number + one}:a.test" for one in range(1, 1001)]
        number += 1000
        walk.enter(step, preview(step.room_id, *names))
        walk = Walk.from_json(walk.to_json())
        steps += 1
        if steps == 20:
            break
    assert len(walk.ahead) + len(walk.seen) <= 5000


def test_a_walk_is_stored_and_gone_on_with() -> None:
    walk = Walk(RoomId("!a:a.test"), suggested_only=True, max_depth=3, ahead=[Step(RoomId("!a:a.test"), 0, ())])
    (step,) = walk.next_steps(5)
    walk.take(step)
    walk.enter(step, preview("!a:a.test", "!b:a.test", "!a:a.test", "!c:a.test"))
    walk = Walk.from_json(walk.to_json())
    assert [one.room_id for one in walk.next_steps(5)] == ["!b:a.test", "!c:a.test"]
    assert [one.room_id for one in walk.next_steps(1)] == ["!b:a.test"]
