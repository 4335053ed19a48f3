"""A user's rooms are told what changed: all of them, once, and after a restart too."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from tests.homeserver.accounts.conftest import ALICE, HERE, SetClock
from tricord.homeserver.accounts.deactivation import Deactivation
from tricord.homeserver.accounts.profiles import Profiles
from tricord.homeserver.accounts.room_updates import RoomUpdates
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseUnavailable
from tricord.homeserver.storage.room_updates import Act
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import RoomId, UserId

ROOMS = [RoomId("!a:hs.test"), RoomId("!b:hs.test")]


class NotedRooms:
    """Notes what rooms are told."""

    def __init__(self) -> None:
        self.told: list[tuple[UserId, Act, RoomId]] = []
        self.refusing: set[RoomId] = set()

    async def to_tell(self, user_id: UserId, act: Act) -> Sequence[RoomId]:  # noqa: ARG002
        return ROOMS

    async def tell(self, user_id: UserId, act: Act, room_id: RoomId) -> None:
        if room_id in self.refusing:
            raise Forbidden("not here")
        self.told.append((user_id, act, room_id))


@pytest.fixture
def updates(database: Database, clock: SetClock) -> RoomUpdates:
    return RoomUpdates(database, clock)


@pytest.fixture
def profiles(database: Database, updates: RoomUpdates) -> Profiles:
    return Profiles(HERE, database, rooms_to_tell=updates.wake)


async def test_a_new_name_is_told_once_in_every_room(alice: UserId, profiles: Profiles, updates: RoomUpdates) -> None:
    rooms = NotedRooms()
    await profiles.set(alice, "displayname", "Alice")
    await profiles.set(alice, "avatar_url", "mxc://hs.test/a")
    await updates.tell_all(rooms)
    await updates.tell_all(rooms)
    assert rooms.told == [(alice, "profile", room_id) for room_id in ROOMS]


async def test_rooms_do_not_hear_of_the_same_name_again_or_of_other_fields(
    alice: UserId, profiles: Profiles, updates: RoomUpdates
) -> None:
    rooms = NotedRooms()
    await profiles.set(alice, "displayname", "Alice")
    await updates.tell_all(rooms)
    rooms.told.clear()
    await profiles.set(alice, "displayname", "Alice")
    await profiles.set(alice, "m.tz", "Europe/Madrid")
    await profiles.delete(alice, "avatar_url")
    await updates.tell_all(rooms)
    assert rooms.told == []


async def test_one_room_that_refuses_does_not_keep_the_others_from_hearing(
    alice: UserId, profiles: Profiles, updates: RoomUpdates
) -> None:
    rooms = NotedRooms()
    rooms.refusing.add(ROOMS[0])
    await profiles.set(alice, "displayname", "Alice")
    await updates.tell_all(rooms)
    assert rooms.told == [(alice, "profile", ROOMS[1])]


async def test_who_is_deactivated_leaves_all_rooms(
    alice: UserId, profiles: Profiles, deactivation: Deactivation, updates: RoomUpdates
) -> None:
    rooms = NotedRooms()
    await profiles.set(alice, "displayname", "Alice")
    await deactivation.deactivate(alice)
    await updates.tell_all(rooms)
    assert rooms.told == [(ALICE, "leave", room_id) for room_id in ROOMS]


async def test_a_change_during_the_telling_is_told_too(alice: UserId, profiles: Profiles, updates: RoomUpdates) -> None:
    class ChangingRooms(NotedRooms):
        async def tell(self, user_id: UserId, act: Act, room_id: RoomId) -> None:
            if not self.told:
                await profiles.set(user_id, "displayname", "Alicia")
            await super().tell(user_id, act, room_id)

    rooms = ChangingRooms()
    await profiles.set(alice, "displayname", "Alice")
    await updates.tell_all(rooms)
    assert len(rooms.told) == 4


async def test_what_a_dead_process_had_begun_is_told_when_its_lease_ends(
    alice: UserId, profiles: Profiles, updates: RoomUpdates, clock: SetClock
) -> None:
    class Dying(NotedRooms):
        async def tell(self, user_id: UserId, act: Act, room_id: RoomId) -> None:  # noqa: ARG002
            await trio.sleep_forever()

    await profiles.set(alice, "displayname", "Alice")
    with trio.move_on_after(0.1):
        await updates.tell_all(Dying())
    rooms = NotedRooms()
    await updates.tell_all(rooms)
    assert rooms.told == []
    clock.advance(10 * 60)
    await updates.tell_all(rooms)
    assert len(rooms.told) == 2


@pytest.mark.parametrize("where", ["to_tell", "tell"])
async def test_what_a_database_that_is_away_interrupts_is_told_later(
    alice: UserId,
    profiles: Profiles,
    updates: RoomUpdates,
    clock: SetClock,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    async def away(*_: object) -> None:
        raise DatabaseUnavailable("it is away")

    rooms = NotedRooms()
    await profiles.set(alice, "displayname", "Alice")
    with monkeypatch.context() as patch:
        patch.setattr(rooms, where, away)
        await updates.tell_all(rooms)
    clock.advance(10 * 60)
    await updates.tell_all(rooms)
    assert rooms.told == [(alice, "profile", room_id) for room_id in ROOMS]
