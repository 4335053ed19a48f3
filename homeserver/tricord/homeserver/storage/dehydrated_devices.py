"""The table of dehydrated devices."""

from __future__ import annotations

from dataclasses import dataclass

from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import DeviceId, UserId


@dataclass(frozen=True, slots=True)
class DehydratedDevice:
    """A device that nobody is signed in on, as JSON that its user's clients can read."""

    device_id: DeviceId
    data: bytes


async def dehydrated_device(tx: Transaction, user_id: UserId) -> DehydratedDevice | None:
    """Return the dehydrated device of a user."""
    row = await tx.fetchrow("SELECT device_id, device_data FROM dehydrated_devices WHERE user_id = $1", user_id)
    return None if row is None else DehydratedDevice(*row)


async def put_dehydrated_device(tx: Transaction, user_id: UserId, device: DehydratedDevice) -> None:
    """Write the dehydrated device of a user; it is among their devices."""
    await tx.execute(
        """
        INSERT INTO dehydrated_devices (user_id, device_id, device_data) VALUES ($1, $2, $3)
        ON CONFLICT (user_id) DO UPDATE SET device_id = excluded.device_id, device_data = excluded.device_data
        """,
        user_id,
        device.device_id,
        device.data,
    )
