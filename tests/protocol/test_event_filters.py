from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.protocol.errors import BadJson, InvalidParam
from tricord.protocol.event_filters import EventFilter, Filter, RoomEventFilter, RoomFilter
from tricord.protocol.identifiers import RoomId, UserId

ALICE, BOB = UserId("@alice:a.test"), UserId("@bob:b.test")
ROOM, OTHER = RoomId("!room:a.test"), RoomId("!other:a.test")


@dataclass
class Sent:
    type: str = "m.room.message"
    sender: UserId = ALICE
    content: dict[str, Any] = field(default_factory=dict)


def test_an_empty_filter_lets_everything_through() -> None:
    for empty in ({}, {"types": None, "not_types": None, "senders": None, "limit": None}):
        found = EventFilter.parse(empty)
        assert found.allows_everything
        assert found.allows(Sent())


def test_types_are_wanted_by_pattern() -> None:
    found = EventFilter.parse({"types": ["m.room.*", "org.test"], "not_types": ["m.room.member"]})
    assert [found.allows(Sent(type=name)) for name in ("m.room.name", "org.test", "org.test.x", "m.room.member")] == [
        *(True, True, False, False)
    ]
    assert not EventFilter.parse({"types": []}).allows(Sent())


def test_only_a_star_is_a_wildcard() -> None:
    for pattern in ("m.room.?ame", "m.*.?ame", "*?*"):
        assert not EventFilter.parse({"types": [pattern]}).allows_type("m.room.name")
        assert EventFilter.parse({"not_types": [pattern]}).allows_type("m.room.name")
        assert EventFilter.parse({"types": [pattern]}).allows_type("m.room.?ame")


def test_what_is_excluded_stays_so() -> None:
    found = EventFilter.parse({"senders": [ALICE, BOB], "not_senders": [BOB]})
    assert found.allows(Sent(sender=ALICE))
    assert not found.allows(Sent(sender=BOB))
    assert not EventFilter.parse({"senders": []}).allows(Sent())


def test_rooms_are_wanted_one_by_one() -> None:
    for found in (RoomEventFilter.parse({"rooms": [ROOM]}), RoomFilter.parse({"rooms": [ROOM]})):
        assert found.allows_room(ROOM)
        assert not found.allows_room(OTHER)
    found = RoomFilter.parse({"rooms": [ROOM], "not_rooms": [ROOM]})
    assert not found.allows_room(ROOM)
    assert not RoomFilter.parse({"rooms": []}).allows_room(ROOM)


@pytest.mark.parametrize("wanted", [True, False])
def test_events_with_a_url_are_wanted_or_not(wanted: bool) -> None:
    found = RoomEventFilter.parse({"contains_url": wanted})
    assert not found.allows_everything
    assert found.allows(Sent(content={"url": "mxc://a/b"})) == wanted
    assert found.allows(Sent()) != wanted


def test_a_whole_filter_is_read() -> None:
    found = Filter.parse(
        {
            "event_fields": ["content.body"],
            "event_format": "federation",
            "presence": {"limit": 0},
            "account_data": {"types": ["m.direct"]},
            "room": {
                "include_leave": True,
                "timeline": {"limit": 5, "unread_thread_notifications": True},
                "state": {"lazy_load_members": True, "include_redundant_members": True},
            },
        }
    )
    assert found.event_fields == ("content.body",)
    assert found.event_format == "federation"
    assert found.presence.limit == 0
    assert found.account_data.allows_type("m.direct")
    assert found.room.include_leave
    assert found.room.timeline.limit == 5
    assert found.room.timeline.unread_thread_notifications
    assert found.room.state.lazy_load_members
    assert found.room.state.include_redundant_members
    assert found.room.ephemeral == RoomEventFilter()


@pytest.mark.parametrize(
    "value",
    [
        *(None, [], "x", {"room": []}, {"room": {"timeline": 5}}, {"event_fields": "x"}, {"event_fields": [5]}),
        *({"presence": {"limit": -1}}, {"presence": {"limit": True}}, {"presence": {"limit": 1.5}}),
        *({"event_format": "x"}, {"event_format": []}, {"room": {"rooms": ["x"]}}, {"presence": {"senders": ["x"]}}),
        *({"room": {"include_leave": 1}}, {"event_fields": ["x"] * 1001}, {"event_fields": ["x" * 256]}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_filter_is_refused(value: Any) -> None:
    with pytest.raises((BadJson, InvalidParam)):
        Filter.parse(value)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["room", "timeline", "types", "senders", "limit", "rooms", "event_format"]), inner
        )
    ),
    max_leaves=10,
)


@given(json)
def test_any_json_is_a_filter_or_refused(value: Any) -> None:
    try:
        found = Filter.parse(value)
    except (BadJson, InvalidParam):
        return
    found.room.timeline.allows(Sent())
    found.presence.allows(Sent())
