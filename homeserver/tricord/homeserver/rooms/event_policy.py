"""What rooms ask of policy servers; `peers/policy_servers.py` does it."""

from __future__ import annotations

from typing import Protocol

from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import RoomId


class EventPolicy(Protocol):
    """Has policy servers recommend events."""

    async def is_used_in(self, room_id: RoomId) -> bool:
        """Return whether a room has a policy server."""
        ...

    async def recommended(self, event: VerifiedEvent, *, urgent: bool = False) -> VerifiedEvent:
        """Return an event with the signature of its room's policy server, if the room has one.

        Raises MatrixError, with the policy server's own words, if that does not sign it. `urgent` is what a user waits
        for.
        """
        ...
