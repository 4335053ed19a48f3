"""Which servers are in a room, as their users come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.homeserver.peers.post import arrive
from tests.homeserver.rooms.foreign import ELSEWHERE, YAN, ZOE, Foreign
from tests.homeserver.rooms.house import ALICE, BOB, House, opened_house
from tricord.homeserver.peers.room_servers import RoomServers
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.stream import take_positions
from tricord.protocol.identifiers import RoomId, ServerName, UserId

FARAWAY = ServerName("faraway.test")
XIA = UserId(f"@xia:{FARAWAY}")


@pytest.fixture
async def house(database_url: str) -> AsyncIterator[House]:
    async with opened_house(database_url) as house:
        yield house


async def intervals(house: House) -> list[tuple[ServerName, int, int | None, int]]:
    async def read(tx: Transaction) -> list[tuple[ServerName, int, int | None, int]]:
        rows = await tx.fetch("SELECT server_name, since, until, joined FROM room_servers ORDER BY since, server_name")
        return [(row[0], row[1], row[2], row[3]) for row in rows]

    return await house.database.read(read)


async def join(house: House, room_id: RoomId, user_id: UserId) -> int:
    event = await Foreign(house, room_id).joins(user_id)
    await arrive(house, room_id, event)
    stored = await house.timeline.event(event.event_id)
    assert stored is not None
    return stored.position or 0


async def leave(house: House, room_id: RoomId, user_id: UserId, sender: UserId = ALICE) -> int:
    return (await house.member(room_id, user_id, "leave", sender)).position or 0


async def test_a_server_is_known_to_be_in_the_room_though_an_earlier_commit_is_not_published_yet(house: House) -> None:
    room_servers = RoomServers(house.database, house.publisher)
    room_id = await house.create()
    assert await room_servers.of(room_id) == frozenset()
    await house.database.run(take_positions, 1)
    await join(house, room_id, ZOE)
    assert await room_servers.of(room_id) == {ELSEWHERE}


async def test_a_server_is_in_the_room_from_its_first_user_to_its_last(house: House) -> None:
    room_servers = RoomServers(house.database, house.publisher)
    room_id = await house.create()
    assert await room_servers.of(room_id) == frozenset()
    first = await join(house, room_id, ZOE)
    await join(house, room_id, YAN)
    far = await join(house, room_id, XIA)
    assert await room_servers.of(room_id) == {ELSEWHERE, FARAWAY}
    await leave(house, room_id, ZOE)
    assert await room_servers.of(room_id) == {ELSEWHERE, FARAWAY}
    last = await leave(house, room_id, YAN)
    assert await room_servers.of(room_id) == {FARAWAY}
    assert await intervals(house) == [(ELSEWHERE, first, last, 0), (FARAWAY, far, None, 1)]
    again = await join(house, room_id, ZOE)
    assert (ELSEWHERE, again, None, 1) in await intervals(house)
    assert await room_servers.of(room_id) == {ELSEWHERE, FARAWAY}


async def test_new_names_and_bans_of_who_is_gone_count_for_nothing(house: House) -> None:
    room_id = await house.create()
    since = await join(house, room_id, ZOE)
    foreign = Foreign(house, room_id)
    content = {"membership": "join", "displayname": "Zoe"}
    await arrive(house, room_id, await foreign.event(ZOE, "m.room.member", content, state_key=ZOE))
    assert await intervals(house) == [(ELSEWHERE, since, None, 1)]
    until = await leave(house, room_id, ZOE)
    await house.member(room_id, ZOE, "ban", ALICE)
    await house.member(room_id, ZOE, "leave", ALICE)
    assert await intervals(house) == [(ELSEWHERE, since, until, 0)]


async def test_our_own_users_count_for_nothing(house: House) -> None:
    room_servers = RoomServers(house.database, house.publisher)
    room_id = await house.create()
    await house.member(room_id, BOB, "join")
    await leave(house, room_id, BOB)
    assert await intervals(house) == []
    assert await room_servers.ever_shared([room_id]) == []


async def test_what_another_process_changes_is_known_here(house: House, database_url: str) -> None:
    room_servers = RoomServers(house.database, house.publisher)
    room_id = await house.create()
    assert await room_servers.of(room_id) == frozenset()
    async with opened_house(database_url) as other:
        with house.publisher.subscribe(ALICE, [room_id]) as subscription:
            await join(other, room_id, ZOE)
            await subscription.wait()
    assert await room_servers.of_rooms([room_id]) == {room_id: frozenset({ELSEWHERE})}
    await leave(house, room_id, ZOE)
    assert await room_servers.of(room_id) == frozenset()
    assert await room_servers.ever_shared([room_id]) == [room_id]
