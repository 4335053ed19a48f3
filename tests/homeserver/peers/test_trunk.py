"""How far back history is one trunk: to the last event through which all that was before goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from tricord.homeserver.peers.trunk import trunk
from tricord.protocol.events import VerifiedEvent, build_event
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId
from tricord.protocol.room_versions import room_version
from tricord.protocol.signing import SigningKey

_SERVER = ServerName("elsewhere.test")
_KEY = SigningKey.generate()


def _history(previous: Mapping[str, Sequence[str]], *, state: str = "") -> dict[str, VerifiedEvent]:
    """Make events, each given by a letter and the letters of those before it; unknown letters are elsewhere."""
    made: dict[str, VerifiedEvent] = {}
    for number, (name, before) in enumerate(previous.items()):
        made[name] = build_event(
            version=room_version("10"),
            room_id=RoomId("!room:elsewhere.test"),
            sender=UserId("@zoe:elsewhere.test"),
            type="m.room.message",
            state_key="" if name in state else None,
            content={"body": name},
            origin_server_ts=number,
            depth=number + 1,
            prev_events=[made[one].event_id if one in made else EventId(f"${one:A<43}") for one in before],
            auth_events=[],
            server_name=_SERVER,
            key=_KEY,
        )
    return made


def _trunk(history: Mapping[str, VerifiedEvent], *ends: str) -> str:
    events = {event.event_id: event for event in history.values()}
    found = trunk([history[end].event_id for end in ends], events, lambda event, _is_alone: event.is_state)
    return "".join(event.content["body"] for event in found)


def test_a_line_is_trunk_as_far_as_it_is_known() -> None:
    assert _trunk(_history({"a": "x", "b": "a", "c": "b"}), "c") == "cba"


def test_what_forks_and_meets_again_is_trunk() -> None:
    found = _trunk(_history({"a": "x", "b": "a", "c": "a", "d": "bc"}), "d")
    assert found[0] == "d"
    assert found[-1] == "a"
    assert set(found) == set("abcd")


def test_what_does_not_meet_again_is_none() -> None:
    assert _trunk(_history({"a": "x", "b": "a", "c": "y", "d": "bc"}), "d") == "d"


def test_an_end_that_is_not_known_leaves_no_trunk() -> None:
    events = _history({"a": "x", "b": "a"})
    known = {event.event_id: event for event in events.values()}
    assert trunk([events["b"].event_id, EventId("$elsewhere")], known, lambda _event, _is_alone: False) == []


def test_a_change_of_the_state_ends_it() -> None:
    assert _trunk(_history({"a": "x", "b": "a", "c": "b", "d": "c"}, state="b"), "d") == "dc"
    assert _trunk(_history({"a": "x", "b": "a", "c": "a", "d": "bc"}, state="b"), "d") == "d"


@st.composite
def _graphs(draw: st.DrawFn) -> dict[str, str]:
    names = "abcdefgh"[: draw(st.integers(1, 8))]
    return {
        name: "".join(sorted(draw(st.sets(st.sampled_from(f"xy{names[:number]}"), min_size=1, max_size=3))))
        for number, name in enumerate(names)
    }


@given(_graphs())
def test_all_that_was_before_goes_through_its_last_event(previous: dict[str, str]) -> None:
    end = list(previous)[-1]
    found = _trunk(_history(previous), end)
    assert len(set(found)) == len(found)
    last = found[-1]
    outside = [end] if end != last else []
    reached = set(outside)
    while outside:
        for before in previous[outside.pop()]:
            assert before in found, "what is passed leads around the last event"
            if before != last and before not in reached:
                reached.add(before)
                outside.append(before)
    assert reached | {last} == set(found)
