"""The table of when the devices of users changed for others."""

from __future__ import annotations

from collections.abc import Collection

from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.stream import take_positions
from tricord.protocol.identifiers import UserId


async def put_device_list_changes(tx: Transaction, user_ids: Collection[UserId]) -> int:
    """Note that the devices of some users have changed, and return the position; the last act of a transaction."""
    position = await take_positions(tx, 1)
    await tx.execute(
        """
        INSERT INTO device_list_changes (user_id, position) SELECT user_id, $2 FROM unnest($1::text[]) AS t (user_id)
        ON CONFLICT (user_id) DO UPDATE SET position = excluded.position
        """,
        list(user_ids),
        position,
    )
    return position
