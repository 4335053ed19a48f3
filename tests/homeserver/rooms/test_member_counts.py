"""How many are in a room is kept as they come and go, and is what counting them says."""

from __future__ import annotations

import random

import pytest
import trio

from tests.homeserver.sync.conftest import People, alice, people
from tests.homeserver.sync.people import Follower, joined
from tricord.homeserver.storage.database import Database, Transaction

__all__ = ["alice", "people"]

_KINDS = ("join", "invite", "leave", "ban", "knock")


async def _difference(tx: Transaction) -> list[tuple[int, int, int]]:
    """Return the rooms whose counts are not what counting says."""
    rows = await tx.fetch(
        """
        SELECT room_nid, coalesce(joined, 0), coalesce(invited, 0) FROM member_counts FULL JOIN (
            SELECT room_nid, count(*) FILTER (WHERE membership = 'join') AS in_it,
                count(*) FILTER (WHERE membership = 'invite') AS asked
            FROM room_memberships GROUP BY room_nid
        ) counted USING (room_nid)
        WHERE coalesce(joined, 0) <> coalesce(in_it, 0) OR coalesce(invited, 0) <> coalesce(asked, 0)
        """
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def _put(tx: Transaction, rows: dict[tuple[str, int], str]) -> None:
    await tx.execute(
        """
        INSERT INTO room_memberships (user_id, room_nid, membership, event_nid, sender, position, since)
        SELECT user_id, room_nid, membership, 1, 'x', 1, 1
        FROM unnest($1::text[], $2::bigint[], $3::text[]) AS t (user_id, room_nid, membership)
        ON CONFLICT (user_id, room_nid) DO UPDATE SET membership = excluded.membership
        """,
        [user_id for user_id, _ in rows],
        [room_nid for _, room_nid in rows],
        list(rows.values()),
    )


async def _delete(tx: Transaction, room_nid: int) -> None:
    await tx.execute("DELETE FROM room_memberships WHERE room_nid = $1", room_nid)


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_is_written_the_counts_follow(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        places = [(f"@user{chance.randrange(8)}", chance.randrange(4)) for _ in range(chance.randrange(1, 9))]
        await database.run(_put, {place: chance.choice(_KINDS) for place in places})
        if chance.random() < 0.2:
            await database.run(_delete, chance.randrange(4))
        assert await database.read(_difference) == []


async def test_a_client_is_told_how_many_there_are(alice: Follower, people: People, database: Database) -> None:
    room = await alice.create_room(preset="public_chat")
    bob, carol = people("bob"), people("carol")
    for act in (
        lambda: alice.invite(room, bob),
        lambda: bob.join(room),
        lambda: carol.join(room),
        lambda: bob.put(f"/v3/rooms/{room}/state/m.room.member/{bob.user_id}", {"membership": "join", "name": "B"}),
        lambda: alice.post(f"/v3/rooms/{room}/kick", {"user_id": bob.user_id}),
        lambda: alice.invite(room, bob),
        lambda: alice.post(f"/v3/rooms/{room}/ban", {"user_id": bob.user_id}),
        lambda: carol.post(f"/v3/rooms/{room}/leave"),
    ):
        await act()
        assert await database.read(_difference) == []
        summary = joined(await alice.sync(), room)["summary"]
        members = (await alice.get(f"/v3/rooms/{room}/members"))["chunk"]
        told = [event["content"]["membership"] for event in members]
        assert summary["m.joined_member_count"] == told.count("join")
        assert summary["m.invited_member_count"] == told.count("invite")


async def test_many_who_come_at_the_same_time_are_all_counted(database: Database) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(database.run, _put, {(f"@user{number}", 1): "join"})
    assert await database.read(_difference) == []
