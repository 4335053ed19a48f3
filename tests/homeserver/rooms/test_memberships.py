"""Who is in a room is read once, however many ask and however it changes meanwhile."""

from __future__ import annotations

import trio
import trio.testing

from tests.homeserver.late_answers import LateAnswers
from tests.homeserver.rooms.house import ALICE, BOB, CAROL, House
from tricord.homeserver.storage.memberships import joined_members_of


async def test_who_comes_and_goes_while_members_are_read_is_known_afterwards(house: House, late: LateAnswers) -> None:
    room_id = await house.create()
    await house.member(room_id, BOB, "join")
    house.memberships.look_again([room_id], [])
    answer, not_read = late.next_of(joined_members_of), late.next_of(joined_members_of)
    found = []

    async def look() -> None:
        found.append(await house.memberships.joined_members(room_id))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await answer.is_there.wait()
            await house.member(room_id, CAROL, "join")
            await house.member(room_id, BOB, "leave")
            answer.go.set()
        await look()
    assert found == [{ALICE, CAROL}] * 2
    assert not not_read.is_there.is_set()


async def test_members_that_are_to_be_read_again_are_not_kept_by_who_reads_them_now(
    house: House, late: LateAnswers
) -> None:
    room_id = await house.create()
    house.memberships.look_again([room_id], [])
    answer, again = late.next_of(joined_members_of), late.next_of(joined_members_of)
    again.go.set()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.memberships.joined_members, room_id)
            await answer.is_there.wait()
            house.memberships.look_again([room_id], [])
            answer.go.set()
        await house.memberships.joined_members(room_id)
    assert again.is_there.is_set()


async def test_who_goes_away_while_members_are_read_leaves_nothing_old_behind(house: House, late: LateAnswers) -> None:
    room_id = await house.create()
    house.memberships.look_again([room_id], [])
    first, second = late.next_of(joined_members_of), late.next_of(joined_members_of)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.memberships.joined_members, room_id)
            await first.is_there.wait()
            nursery.start_soon(house.memberships.joined_members, room_id)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0.01):
                await house.memberships.joined_members(room_id)
            first.go.set()
            await second.is_there.wait()
            await house.member(room_id, BOB, "join")
            second.go.set()
    assert await house.memberships.joined_members(room_id) == {ALICE, BOB}


async def test_who_is_looked_at_now_is_there_as_they_come(house: House) -> None:
    room_id = await house.create()
    assert await house.memberships.joined_members_now(room_id) == {ALICE}
    await house.member(room_id, BOB, "join")
    members = await house.memberships.joined_members_now(room_id)
    assert members == {ALICE, BOB}
    await house.member(room_id, CAROL, "join")
    assert await house.memberships.joined_members_now(room_id) is members
    kept = await house.memberships.joined_members(room_id)
    await house.member(room_id, CAROL, "leave")
    assert kept == {ALICE, BOB, CAROL}
    assert await house.memberships.joined_members_now(room_id) == {ALICE, BOB}
