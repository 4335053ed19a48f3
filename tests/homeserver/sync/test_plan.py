"""Which stretch of which room a delta tells."""

from __future__ import annotations

from tricord.homeserver.sync.plan import Membership, Plan, Stretch, changed_plan, initial_plan
from tricord.protocol.event_filters import RoomFilter
from tricord.protocol.identifiers import EventId, RoomId

ROOM = RoomId("!r:hs")
AFTER, UPTO = 10, 20


def memberships(*history: tuple[str, int]) -> list[Membership]:
    return [Membership(name, EventId(f"${position}"), position) for name, position in history]


def plan(*history: tuple[str, int], changed: bool = True) -> Plan:
    histories = {ROOM: memberships(*history)} if any(position > AFTER for _, position in history) else {}
    return changed_plan([ROOM] if changed else [], histories, AFTER, UPTO, RoomFilter())


def test_a_room_one_is_in_is_told_since_the_last_sync() -> None:
    assert plan(("join", 5)).joined == [Stretch(ROOM, 10, 20, all_visible=True)]


def test_a_room_where_nothing_happened_is_not_looked_at() -> None:
    assert plan(("join", 5), changed=False) == Plan()


def test_a_new_name_is_no_new_membership() -> None:
    assert plan(("join", 5), ("join", 12)).joined == [Stretch(ROOM, 10, 20, all_visible=True)]


def test_a_room_just_joined_is_told_from_its_beginning() -> None:
    assert plan(("join", 12)).joined == [Stretch(ROOM, 0, 20, full_state=True)]
    assert plan(("invite", 5), ("join", 12)).joined == [Stretch(ROOM, 0, 20, full_state=True)]


def test_a_room_joined_again_is_told_from_where_it_was_left() -> None:
    assert plan(("join", 3), ("leave", 5), ("join", 12)).joined == [Stretch(ROOM, 5, 20, full_state=True)]
    assert plan(("join", 3), ("leave", 5), ("ban", 7), ("leave", 8), ("join", 12)).joined == [
        Stretch(ROOM, 5, 20, full_state=True)
    ]
    assert plan(("invite", 3), ("leave", 5), ("join", 12)).joined == [Stretch(ROOM, 0, 20, full_state=True)]
    assert plan(("join", 3), ("leave", 11), ("join", 12)).joined == [Stretch(ROOM, 10, 20, full_state=True)]


def test_nothing_newer_than_the_kick_is_told() -> None:
    assert plan(("join", 5), ("leave", 15)).left == [Stretch(ROOM, 10, 15, left=15)]
    assert plan(("join", 5), ("ban", 15)).left == [Stretch(ROOM, 10, 15, left=15)]
    assert plan(("join", 5), ("leave", 12), ("ban", 15)).left == [Stretch(ROOM, 10, 15, left=12)]


def test_a_visit_between_two_syncs_is_told_up_to_its_end() -> None:
    assert plan(("join", 12), ("leave", 15)).left == [Stretch(ROOM, 0, 15, full_state=True, left=15)]


def test_of_an_invitation_turned_down_only_that_is_told() -> None:
    assert plan(("invite", 5), ("leave", 15)).left == [Stretch(ROOM, 14, 15, left=14)]


def test_invitations_and_knocks_are_told_by_their_events() -> None:
    assert plan(("invite", 15)).invited == [(ROOM, EventId("$15"))]
    assert plan(("knock", 15)).knocked == [(ROOM, EventId("$15"))]


def test_what_happens_after_the_end_is_left_for_the_next_delta() -> None:
    assert plan(("join", 5), ("leave", 25)).joined == [Stretch(ROOM, 10, 20, all_visible=True)]
    assert plan(("invite", 5), ("join", 25)) == Plan()


def test_rooms_that_were_left_are_told_at_the_beginning_only_if_wanted() -> None:
    was_inside = {ROOM: memberships(("join", 3), ("leave", 5), ("ban", 7))}
    assert initial_plan(was_inside, UPTO, RoomFilter()) == Plan()
    wanted = RoomFilter(include_leave=True)
    assert initial_plan(was_inside, UPTO, wanted).left == [Stretch(ROOM, 0, 7, full_state=True, left=5)]
    never_inside = {ROOM: memberships(("invite", 3), ("leave", 7))}
    assert initial_plan(never_inside, UPTO, wanted).left == [Stretch(ROOM, 6, 7, left=6)]


def test_rooms_that_are_filtered_out_are_not_told() -> None:
    assert initial_plan({ROOM: memberships(("join", 7))}, UPTO, RoomFilter(not_rooms=frozenset({ROOM}))) == Plan()
