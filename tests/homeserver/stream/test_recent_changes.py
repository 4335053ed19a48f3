"""Asking memory what has changed."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from tricord.homeserver.stream.publisher import Commit
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.protocol.identifiers import RoomId, UserId

ROOMS = [RoomId(f"!{name}:hs") for name in "abcde"]


class Publisher:
    """Publishes to nobody but its observers."""

    def __init__(self) -> None:
        self.position = 0
        self.note: list[Callable[[Commit], None]] = []

    def observe(self, on_commit: Callable[[Commit], None], on_gap: Callable[[int], None]) -> None:
        self.note.append(on_commit)
        self.lose_track = on_gap

    def observe_other_processes(self, on_commit: Callable[[Commit], None], on_gap: Callable[[int], None]) -> None:
        pass

    def publish(self, rooms: set[RoomId], users: set[UserId] = frozenset(), count: int = 1) -> int:  # type: ignore[assignment]  # an empty set
        self.position += count
        for note in self.note:
            note(Commit(self.position, frozenset(rooms), frozenset(users), count))
        return self.position

    def publish_presence(self, rooms: set[RoomId]) -> int:
        self.position += 1
        for note in self.note:
            note(Commit(self.position, frozenset(), frozenset(), presence_in=frozenset(rooms)))
        return self.position


def changes_of(publisher: Publisher, most_commits: int = 1000) -> RecentChanges:
    return RecentChanges(publisher, most_commits=most_commits)  # type: ignore[arg-type]  # what it needs of one


commits = st.lists(st.tuples(st.sets(st.sampled_from(ROOMS), max_size=3), st.integers(1, 3)), max_size=20)


@given(commits, st.integers(0, 30), st.integers(0, 30), st.integers(2, 30))
def test_no_change_is_missed(history: list[tuple[set[RoomId], int]], one: int, other: int, most_commits: int) -> None:
    publisher = Publisher()
    changes = changes_of(publisher, most_commits)
    ends = [(publisher.publish(rooms, count=count), rooms) for rooms, count in history]
    after, upto = sorted((min(one, publisher.position), min(other, publisher.position)))
    truly = {room for end, rooms in ends if after < end <= upto for room in rooms}
    found = changes.rooms_changed(ROOMS, after, upto)
    assert found is None or truly <= set(found)
    for room in truly:
        assert changes.room_changed(room, after)


@given(commits, st.integers(0, 30))
def test_a_window_that_is_shared_holds_the_same_changes(history: list[tuple[set[RoomId], int]], start: int) -> None:
    publisher = Publisher()
    changes = changes_of(publisher)
    ends = [(publisher.publish(rooms, count=count), count, rooms) for rooms, count in history]
    after = min(start, publisher.position)

    def positions(room: RoomId, first: int, last: int) -> set[int]:
        taken = {p for end, count, rooms in ends if room in rooms for p in range(end - count + 1, end + 1)}
        return {position for position in taken if first < position <= last}

    for room in ROOMS:
        shared = changes.last_change(room, after, publisher.position)
        assert positions(room, *shared) == positions(room, after, publisher.position)


def test_after_a_gap_everything_may_have_changed() -> None:
    publisher = Publisher()
    changes = changes_of(publisher)
    publisher.publish({ROOMS[0]})
    publisher.lose_track(5)
    assert changes.rooms_changed(ROOMS, 1, 5) is None
    assert changes.user_changed(UserId("@a:hs"), 1)
    assert changes.passing_changed(ROOMS[1], 4)
    assert changes.rooms_changed(ROOMS, 5, 5) == []


def test_presence_changes_nothing_but_presence() -> None:
    publisher = Publisher()
    changes = changes_of(publisher)
    before = publisher.publish({ROOMS[0]}, {UserId("@alice:hs")})
    upto = publisher.publish_presence({ROOMS[0]})
    assert changes.presence_changed({ROOMS[0], ROOMS[1]}, before, upto)
    assert not changes.presence_changed({ROOMS[1]}, before, upto)
    assert not changes.presence_changed({ROOMS[0]}, upto, upto)
    assert not changes.room_changed(ROOMS[0], before)
    assert not changes.user_changed(UserId("@alice:hs"), before)
    assert changes.rooms_changed({ROOMS[0]}, before, upto) == []


def test_presence_may_have_changed_before_what_is_remembered() -> None:
    publisher = Publisher()
    changes = changes_of(publisher, most_commits=4)
    for _ in range(10):
        publisher.publish_presence({ROOMS[0]})
    assert changes.presence_changed({ROOMS[1]}, 0, publisher.position)
    assert not changes.presence_changed({ROOMS[1]}, 9, publisher.position)
    assert changes.presence_changed({ROOMS[0]}, 9, publisher.position)
