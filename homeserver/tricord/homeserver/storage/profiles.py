"""The table of profile fields."""

from __future__ import annotations

from collections.abc import Sequence

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import UserId


async def profile_fields(tx: Transaction, user_ids: Sequence[UserId]) -> dict[UserId, dict[str, bytes]]:
    """Return the fields of each user, as JSON."""
    profiles: dict[UserId, dict[str, bytes]] = {user_id: {} for user_id in user_ids}
    rows = await tx.fetch("SELECT user_id, field, value FROM profile_fields WHERE user_id = ANY($1)", list(user_ids))
    for user_id, field, value in rows:
        profiles[user_id][field] = value
    return profiles


async def put_profile_field(tx: Transaction, user_id: UserId, field: str, value: bytes) -> None:
    """Write a field."""
    await tx.execute(
        """
        INSERT INTO profile_fields (user_id, field, value) VALUES ($1, $2, $3)
        ON CONFLICT (user_id, field) DO UPDATE SET value = excluded.value
        """,
        user_id,
        field,
        value,
    )


async def delete_profile_field(tx: Transaction, user_id: UserId, field: str) -> bool:
    """Delete a field; return whether there was one."""
    deleted = await tx.fetchval(
        "DELETE FROM profile_fields WHERE user_id = $1 AND field = $2 RETURNING true", user_id, field
    )
    return bool(deleted)


async def delete_profile(tx: Transaction, user_id: UserId) -> None:
    """Delete all fields of a user."""
    await tx.execute("DELETE FROM profile_fields WHERE user_id = $1", user_id)
