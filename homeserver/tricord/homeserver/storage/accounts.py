"""The table of accounts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import RoomId, UserId

_SELECT = (
    "SELECT user_id, is_admin, is_guest, user_type, created_ts, locked, suspended, deactivated, erased FROM accounts"
)


@dataclass(frozen=True, slots=True)
class Account:
    """A local user, as far as the server itself is concerned."""

    user_id: UserId
    is_admin: bool
    is_guest: bool
    user_type: str | None
    created_ts: int
    locked: bool
    suspended: bool
    deactivated: bool
    erased: bool


async def insert_account(
    tx: Transaction,
    user_id: UserId,
    password_hash: str | None,
    created_ts: int,
    *,
    is_admin: bool,
    user_type: str | None,
    is_guest: bool = False,
) -> bool:
    """Add an account; return False if the user id is, or ever was, somebody's."""
    inserted = await tx.fetchval(
        """
        INSERT INTO accounts (user_id, password_hash, created_ts, is_admin, user_type, is_guest)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING RETURNING true
        """,
        user_id,
        password_hash,
        created_ts,
        is_admin,
        user_type,
        is_guest,
    )
    return bool(inserted)


async def make_user_of_guest(tx: Transaction, user_id: UserId, password_hash: str) -> bool:
    """Let a guest be a user with a password; return False if there is no such guest."""
    changed = await tx.fetchval(
        """
        UPDATE accounts SET is_guest = false, password_hash = $2
        WHERE user_id = $1 AND is_guest AND NOT deactivated RETURNING true
        """,
        user_id,
        password_hash,
    )
    return bool(changed)


async def guests_in_rooms(tx: Transaction, room_ids: Collection[RoomId]) -> list[tuple[UserId, RoomId]]:
    """Return the guests who are in some rooms."""
    rows = await tx.fetch(
        """
        SELECT m.user_id, r.room_id
        FROM accounts a JOIN room_memberships m USING (user_id) JOIN rooms r USING (room_nid)
        WHERE a.is_guest AND m.membership = 'join' AND r.room_id = ANY($1)
        """,
        list(room_ids),
    )
    return [(row[0], row[1]) for row in rows]


async def rooms_with_guests(tx: Transaction) -> list[RoomId]:
    """Return the rooms that guests are in."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT r.room_id FROM accounts a JOIN room_memberships m USING (user_id) JOIN rooms r USING (room_nid)
        WHERE a.is_guest AND m.membership = 'join'
        """
    )
    return [row[0] for row in rows]


async def account_by_id(tx: Transaction, user_id: UserId) -> Account | None:
    """Return an account."""
    row = await tx.fetchrow(_SELECT + " WHERE user_id = $1", user_id)
    return None if row is None else Account(*row)


async def locked_account(tx: Transaction, user_id: UserId) -> Account | None:
    """Return an account, and let nobody change it until the transaction ends."""
    row = await tx.fetchrow(
        _SELECT + " WHERE user_id = $1 FOR UPDATE",
        user_id,
    )
    return None if row is None else Account(*row)


async def accounts_after(tx: Transaction, after: str, limit: int) -> list[Account]:
    """Return accounts in the order of their user ids, from the one after `after`."""
    rows = await tx.fetch(
        _SELECT + " WHERE user_id > $1 ORDER BY user_id LIMIT $2",
        after,
        limit,
    )
    return [Account(*row) for row in rows]


async def password_hash_of(tx: Transaction, user_id: UserId) -> str | None:
    """Return the password hash; None if there is no such account or it has no password."""
    password_hash: str | None = await tx.fetchval("SELECT password_hash FROM accounts WHERE user_id = $1", user_id)
    return password_hash


async def set_password_hash(tx: Transaction, user_id: UserId, password_hash: str | None) -> None:
    """Change or take away the password."""
    await tx.execute("UPDATE accounts SET password_hash = $2 WHERE user_id = $1", user_id, password_hash)


async def replace_password_hash(tx: Transaction, user_id: UserId, old: str, new: str) -> None:
    """Put the hash of the same password in place of one made with older parameters."""
    await tx.execute(
        "UPDATE accounts SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2", user_id, old, new
    )


async def set_admin(tx: Transaction, user_id: UserId, *, is_admin: bool) -> None:
    """Make an administrator of a user, or no longer."""
    await tx.execute("UPDATE accounts SET is_admin = $2 WHERE user_id = $1", user_id, is_admin)


async def set_locked(tx: Transaction, user_id: UserId, *, locked: bool) -> None:
    """Lock or unlock an account."""
    await tx.execute("UPDATE accounts SET locked = $2 WHERE user_id = $1", user_id, locked)


async def set_suspended(tx: Transaction, user_id: UserId, *, suspended: bool) -> None:
    """Suspend an account, or no longer."""
    await tx.execute("UPDATE accounts SET suspended = $2 WHERE user_id = $1", user_id, suspended)


async def mark_deactivated(tx: Transaction, user_id: UserId, *, erase: bool) -> None:
    """Mark an account as deactivated for good."""
    await tx.execute(
        """
        UPDATE accounts SET deactivated = true, erased = erased OR $2, password_hash = NULL, is_admin = false
        WHERE user_id = $1
        """,
        user_id,
        erase,
    )
