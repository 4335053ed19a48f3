"""What other servers tell that passes: taken in if it is theirs to tell, and left out otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio.testing

from tests.homeserver.peers.post import arrive
from tests.homeserver.rooms.foreign import ELSEWHERE, YAN, ZOE, Foreign
from tests.homeserver.rooms.house import ALICE, SERVER, House, opened_house
from tricord.homeserver.accounts import remote_presence
from tricord.homeserver.accounts.remote_presence import RemotePresences
from tricord.homeserver.peers.edus import Edus
from tricord.homeserver.peers.incoming_presence import IncomingPresence
from tricord.homeserver.peers.incoming_receipts import IncomingReceipts
from tricord.homeserver.peers.incoming_typing import IncomingTyping
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.receipts import Receipts
from tricord.homeserver.rooms.typing import Typing
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.presence import Presence, put_offline, users_present
from tricord.homeserver.storage.receipts import Receipt, receipts_between
from tricord.homeserver.storage.typing import typing_in
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import RoomId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject


@dataclass
class AccessLists:
    """Keeps out whom the test says."""

    kept_out: set[ServerName] = field(default_factory=set)

    async def check_acl(self, server: ServerName, room_id: RoomId) -> None:
        if server in self.kept_out:
            raise Forbidden(f"{server} is kept out of {room_id}")


@dataclass
class Ear:
    """A house that hears what passes elsewhere."""

    house: House
    edus: Edus
    access: AccessLists
    room_id: RoomId

    async def hears(self, *edus: Any, origin: ServerName = ELSEWHERE) -> None:
        await self.edus.receive(origin, edus)

    async def typing(self) -> set[UserId]:
        return {user for _, user, _ in await self.house.database.read(typing_in, [self.room_id])}

    async def receipts(self) -> list[Receipt]:
        return await self.house.database.read(receipts_between, [self.room_id], 0, 10_000)

    async def present(self) -> dict[UserId, str]:
        return {one.user_id: one.state for one in await self.house.database.read(users_present)}


@pytest.fixture
async def ear(database_url: str) -> AsyncIterator[Ear]:
    async with opened_house(database_url) as house:
        database, publisher, memberships, clock = house.database, house.publisher, house.memberships, house.clock
        access = AccessLists()
        edus = Edus(
            {
                "m.typing": IncomingTyping(Typing(database, publisher, clock), memberships, access).receive,
                "m.receipt": IncomingReceipts(
                    Receipts(database, publisher), house.timeline, memberships, access, clock
                ).receive,
                "m.presence": IncomingPresence(
                    RemotePresences(SERVER, database, publisher, memberships, clock), memberships, clock
                ).receive,
            }
        )
        room_id = await house.create()
        await arrive(house, room_id, await Foreign(house, room_id).joins(ZOE))
        yield Ear(house, edus, access, room_id)


def typing(room_id: str, user_id: str, is_typing: Any = True) -> JsonObject:
    return {"edu_type": "m.typing", "content": {"room_id": room_id, "user_id": user_id, "typing": is_typing}}


def receipt(room_id: str, user_id: str, event_id: Any, **data: Any) -> JsonObject:
    said = {"event_ids": [event_id], "data": {"ts": 7, **data}}
    return {"edu_type": "m.receipt", "content": {room_id: {"m.read": {user_id: said}}}}


def presence(*users: str, state: Any = "online", **fields: Any) -> JsonObject:
    push = [{"user_id": user, "presence": state, "last_active_ago": 5, **fields} for user in users]
    return {"edu_type": "m.presence", "content": {"push": push}}


async def test_members_elsewhere_are_shown_as_typing(ear: Ear) -> None:
    await ear.hears(typing(ear.room_id, ZOE))
    assert await ear.typing() == {ZOE}
    await ear.hears(typing(ear.room_id, ZOE, is_typing=False))
    assert await ear.typing() == set()


async def test_nobody_types_in_a_room_they_are_not_in_or_for_another_server(ear: Ear) -> None:
    await ear.hears(typing(ear.room_id, YAN), typing("!no:where", ZOE), typing(ear.room_id, ALICE))
    await ear.hears(typing(ear.room_id, ZOE), origin=ServerName("other.test"))
    assert await ear.typing() == set()


async def test_a_room_may_keep_a_server_out(ear: Ear) -> None:
    said = await ear.house.say(ear.room_id, "hello")
    ear.access.kept_out.add(ELSEWHERE)
    await ear.hears(typing(ear.room_id, ZOE), receipt(ear.room_id, ZOE, said.event.event_id))
    assert await ear.typing() == set()
    assert await ear.receipts() == []


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        7,
        [],
        {},
        {"edu_type": "m.typing"},
        {"edu_type": ["m.typing"], "content": {}},
        {"edu_type": "m.typing", "content": []},
        {"edu_type": "m.typing", "content": {}},
        {"edu_type": "org.example.unknown", "content": {"a": 1}},
        typing("!r\0:hs", ZOE),
        typing("!r:hs", "nobody"),
        typing("!r:hs", ZOE, is_typing="yes"),
        receipt("!r\0:hs", ZOE, "$e"),
        {"edu_type": "m.receipt", "content": {"!r:hs": 5, "!s:hs": {"m.read": []}}},
        {"edu_type": "m.presence", "content": {"push": {}}},
        {"edu_type": "m.presence", "content": {"push": [5, {}, {"user_id": 5}]}},
    ],
)
async def test_what_is_wrong_is_left_out_and_the_rest_is_taken(ear: Ear, wrong: Any) -> None:
    await ear.hears(wrong, typing(ear.room_id, ZOE))
    assert await ear.typing() == {ZOE}


async def test_members_elsewhere_have_read_what_is_said_here(ear: Ear) -> None:
    said = await ear.house.say(ear.room_id, "hello")
    later = await ear.house.say(ear.room_id, "anybody?")
    await ear.hears(receipt(ear.room_id, ZOE, later.event.event_id), receipt(ear.room_id, ZOE, said.event.event_id))
    (found,) = await ear.receipts()
    assert (found.user_id, found.event_id, found.received_ts) == (ZOE, later.event.event_id, 7)
    assert found.event_position == later.position


@pytest.mark.parametrize("place", [5, None, "no event", "$with\0nul", {"a": 1}])
async def test_a_receipt_is_at_an_event(ear: Ear, place: Any) -> None:
    await ear.hears(receipt(ear.room_id, ZOE, place))
    assert await ear.receipts() == []


async def test_nobody_reads_for_others(ear: Ear) -> None:
    said = await ear.house.say(ear.room_id, "hello")
    event_id = said.event.event_id
    other_room = await ear.house.create()
    await ear.hears(
        receipt(ear.room_id, ALICE, event_id), receipt(ear.room_id, YAN, event_id), receipt(other_room, ZOE, event_id)
    )
    assert await ear.receipts() == []


async def test_receipts_in_threads_need_the_thread_to_be_there(ear: Ear) -> None:
    said = await ear.house.say(ear.room_id, "hello")
    event_id = said.event.event_id
    await ear.hears(
        receipt(ear.room_id, ZOE, event_id, thread_id="$unheard_of"),
        receipt(ear.room_id, ZOE, event_id, thread_id=5),
        receipt(ear.room_id, ZOE, event_id, thread_id=event_id),
        receipt(ear.room_id, ZOE, event_id, thread_id="main"),
    )
    assert {found.thread_id for found in await ear.receipts()} == {"main", event_id}


async def test_who_is_there_elsewhere_is_known_here_if_they_share_a_room(ear: Ear) -> None:
    await ear.hears(presence(ZOE, YAN, ALICE, status_msg="hi"))
    assert await ear.present() == {ZOE: "online"}
    await ear.hears(presence(ZOE, state="asleep"), presence(ZOE, state="unavailable", last_active_ago="x"))
    assert await ear.present() == {ZOE: "unavailable"}
    await ear.hears(presence(ZOE, state="offline"))
    assert await ear.present() == {}


async def test_presence_that_is_no_news_wakes_nobody(ear: Ear) -> None:
    await ear.hears(presence(ZOE))
    position = ear.house.publisher.position
    await ear.hears(presence(ZOE), presence(ZOE))
    assert ear.house.publisher.position == position


def zoe_is(state: str) -> Presence:
    return Presence(ZOE, state, None, 1_000, currently_active=False, position=0)


@dataclass
class Rooms:
    """Where users are; something else may happen while that is asked."""

    memberships: Memberships
    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def joined_rooms_of(self, user_ids: Collection[UserId]) -> Mapping[UserId, Collection[RoomId]]:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await self.memberships.joined_rooms_of(user_ids)


def look(monkeypatch: pytest.MonkeyPatch, *, lasts: float, every: float) -> None:
    """Give up who is not heard of for so long, and look for such so often."""
    monkeypatch.setattr(remote_presence, "_LASTS_SECONDS", lasts)
    monkeypatch.setattr(remote_presence, "_LOOK_EVERY_SECONDS", every)


@dataclass
class Lookout:
    """Presences that are given up once nothing is heard of them, and what happens just as that is looked at."""

    presences: RemotePresences
    rooms: Rooms
    nursery: trio.Nursery
    monkeypatch: pytest.MonkeyPatch

    async def gives_up(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        """Give up whoever is not heard of now; return when `meanwhile` has been done, and what follows from it."""
        done = trio.Event()

        async def and_tell() -> None:
            await meanwhile()
            done.set()

        self.rooms.meanwhile = and_tell
        look(self.monkeypatch, lasts=0, every=0.001)
        self.nursery.start_soon(self.presences.run)
        await done.wait()
        await trio.testing.wait_all_tasks_blocked(0.1)


@pytest.fixture
async def lookout(ear: Ear, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> Lookout:
    house, rooms = ear.house, Rooms(ear.house.memberships)
    presences = RemotePresences(SERVER, house.database, house.publisher, rooms, house.clock)
    await presences.note([zoe_is("unavailable")])
    return Lookout(presences, rooms, nursery, monkeypatch)


async def test_who_is_heard_of_while_they_are_given_up_stays(
    ear: Ear, lookout: Lookout, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def speak() -> None:
        look(monkeypatch, lasts=3600, every=3600)
        await lookout.presences.note([zoe_is("unavailable")])

    await lookout.gives_up(speak)
    assert await ear.present() == {ZOE: "unavailable"}
    # Now nothing more is heard.
    look(monkeypatch, lasts=0, every=0.001)
    nursery.start_soon(lookout.presences.run)
    await gone(ear)
    nursery.cancel_scope.cancel()


async def test_who_is_heard_of_while_they_go_is_there_again(
    ear: Ear, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = ear.house
    presences = RemotePresences(SERVER, house.database, house.publisher, house.memberships, house.clock)
    await presences.note([zoe_is("unavailable")])
    noted = trio.Event()
    put = put_offline

    async def note() -> None:
        await presences.note([zoe_is("unavailable")])
        noted.set()

    async def put_while_she_speaks(tx: Transaction, positions: Mapping[UserId, int], position: int) -> list[UserId]:
        look(monkeypatch, lasts=3600, every=3600)
        nursery.start_soon(note)
        await trio.testing.wait_all_tasks_blocked(0.1)
        return await put(tx, positions, position)

    monkeypatch.setattr(remote_presence, "put_offline", put_while_she_speaks)
    look(monkeypatch, lasts=0, every=0.001)
    nursery.start_soon(presences.run)
    await noted.wait()
    await trio.testing.wait_all_tasks_blocked(0.3)
    assert await ear.present() == {ZOE: "unavailable"}
    nursery.cancel_scope.cancel()


async def test_what_another_process_has_written_meanwhile_stands(
    ear: Ear, lookout: Lookout, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = ear.house
    other = RemotePresences(SERVER, house.database, house.publisher, house.memberships, house.clock)

    async def speak() -> None:
        look(monkeypatch, lasts=0, every=3600)
        await other.note([zoe_is("online")])

    await lookout.gives_up(speak)
    assert await ear.present() == {ZOE: "online"}
    nursery.cancel_scope.cancel()


async def gone(ear: Ear) -> None:
    """Return when nobody is there any more."""
    with trio.fail_after(60):
        while await ear.present():  # noqa: ASYNC110  # the database does not tell us
            await trio.sleep(0.01)
