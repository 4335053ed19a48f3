"""SQL of the user directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import RoomId, UserId

# How many people with such a name are looked at in one search.
_MOST_NAMED = 20_000
# Beyond every character.
_END = "\U0010ffff"


class Entry(Protocol):
    """Somebody and the words by which they are found."""

    @property
    def user_id(self) -> UserId: ...
    @property
    def is_local(self) -> bool: ...
    @property
    def display_name(self) -> str | None: ...
    @property
    def avatar_url(self) -> str | None: ...
    @property
    def words(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Found:
    """Somebody whose name fits; of those who share no room with the searcher, the rooms they are in."""

    user_id: UserId
    is_local: bool
    display_name: str | None
    avatar_url: str | None
    rooms: tuple[RoomId, ...] = ()


async def put_people(tx: Transaction, people: Sequence[Entry]) -> None:
    """List people, each once, as they are now."""
    await tx.execute(
        """
        INSERT INTO user_directory (user_id, is_local, display_name, avatar_url)
        SELECT * FROM unnest($1::text[], $2::boolean[], $3::text[], $4::text[])
        ON CONFLICT (user_id) DO UPDATE SET display_name = excluded.display_name, avatar_url = excluded.avatar_url
        """,
        [one.user_id for one in people],
        [one.is_local for one in people],
        [one.display_name for one in people],
        [one.avatar_url for one in people],
    )
    await tx.execute("DELETE FROM user_directory_words WHERE user_id = ANY($1)", [one.user_id for one in people])
    words = [(word, one.user_id) for one in people for word in one.words]
    await tx.execute(
        """
        INSERT INTO user_directory_words (word, user_id) SELECT * FROM unnest($1::text[], $2::text[])
        ON CONFLICT DO NOTHING
        """,
        [word for word, _ in words],
        [user_id for _, user_id in words],
    )


async def remove_person(tx: Transaction, user_id: UserId) -> None:
    """List somebody no longer."""
    await tx.execute("DELETE FROM user_directory WHERE user_id = $1", user_id)


async def unlisted_accounts(tx: Transaction, limit: int) -> list[UserId]:
    """Return local users who should be listed and are not."""
    rows = await tx.fetch(
        """
        SELECT user_id FROM accounts a WHERE NOT deactivated AND NOT is_guest
        AND NOT EXISTS (SELECT FROM user_directory d WHERE d.user_id = a.user_id) LIMIT $1
        """,
        limit,
    )
    return [row[0] for row in rows]


@dataclass(frozen=True, slots=True)
class Change:
    """What a user became to a room, and by which event."""

    user_id: UserId
    membership: str
    position: int
    event: bytes


Place = tuple[int, str]
"""Of a membership among all: its position, and since many can have one position, its user."""


async def lock_followed_place(tx: Transaction) -> Place | None:
    """Return how far memberships have been followed, and keep others from following; None if somebody does so now."""
    row = await tx.fetchrow("SELECT position, user_id FROM user_directory_place FOR UPDATE SKIP LOCKED")
    return None if row is None else (row[0], row[1])


async def set_followed_place(tx: Transaction, place: Place) -> None:
    """Note how far memberships have been followed."""
    await tx.execute("UPDATE user_directory_place SET position = $1, user_id = $2", *place)


async def follow_again(tx: Transaction, position: int) -> None:
    """Have memberships from a position on followed again: some have been written there afterwards."""
    await tx.execute(
        "UPDATE user_directory_place SET position = $1, user_id = '' WHERE (position, user_id) > ($1, '')", position
    )


async def memberships_after(tx: Transaction, place: Place, limit: int) -> list[Change]:
    """Return the memberships that changed after a place, in order."""
    rows = await tx.fetch(
        """
        SELECT m.user_id, m.membership, m.position, e.json FROM room_memberships m JOIN events e USING (event_nid)
        WHERE (m.position, m.user_id) > ($1, $2) ORDER BY m.position, m.user_id LIMIT $3
        """,
        *place,
        limit,
    )
    return [Change(row[0], row[1], row[2], row[3]) for row in rows]


_SEARCH = """
    WITH named AS (
        SELECT user_id, bool_or(word = $1) AS exactly FROM (
            SELECT user_id, word FROM user_directory_words WHERE word >= $1 AND word < $2 LIMIT $3
        ) w GROUP BY user_id
    ), best AS (
        SELECT user_id, exactly FROM named
        WHERE user_id <> $4 {further} AND user_id {whether} (
            SELECT m.user_id FROM rooms r JOIN room_memberships m USING (room_nid)
            WHERE r.room_id = ANY($5) AND m.membership = 'join'
        )
        ORDER BY exactly DESC, user_id LIMIT $6
    )
    SELECT d.user_id, d.is_local, d.display_name, d.avatar_url, {rooms}
    FROM best JOIN user_directory d USING (user_id) ORDER BY best.exactly DESC, d.display_name IS NULL, d.user_id
"""
_ALSO = " AND user_id IN (SELECT user_id FROM user_directory_words WHERE word >= ${} AND word < ${})"
_ROOMS = """ARRAY(
    SELECT r.room_id FROM room_memberships m JOIN rooms r USING (room_nid)
    WHERE m.user_id = d.user_id AND m.membership = 'join' ORDER BY m.position DESC LIMIT 100
)"""


async def neighbours_named(
    tx: Transaction, words: Sequence[str], searcher: UserId, rooms: Sequence[RoomId], limit: int
) -> list[Found]:
    """Return people with words that begin so who are in one of some rooms, best first."""
    sql, arguments = _search(words, searcher, rooms, limit, neighbours=True)
    return [Found(row[0], row[1], row[2], row[3]) for row in await tx.fetch(sql, *arguments)]


async def others_named(
    tx: Transaction, words: Sequence[str], searcher: UserId, rooms: Sequence[RoomId], limit: int
) -> list[Found]:
    """Return people with words that begin so who are in none of some rooms, best first, and rooms that they are in."""
    sql, arguments = _search(words, searcher, rooms, limit, neighbours=False)
    return [Found(row[0], row[1], row[2], row[3], tuple(row[4])) for row in await tx.fetch(sql, *arguments)]


def _search(
    words: Sequence[str], searcher: UserId, rooms: Sequence[RoomId], limit: int, *, neighbours: bool
) -> tuple[str, list[object]]:
    """Return the query and its arguments: every step narrows down sets of people, and only then are they looked at."""
    first, *others = words
    arguments: list[object] = [first, first + _END, _MOST_NAMED, searcher, list(rooms), limit]
    further = ""
    for word in others:
        further += _ALSO.format(len(arguments) + 1, len(arguments) + 2)
        arguments += [word, word + _END]
    sql = _SEARCH.format(
        further=further, whether="IN" if neighbours else "NOT IN", rooms="'{}'::text[]" if neighbours else _ROOMS
    )
    return sql, arguments
