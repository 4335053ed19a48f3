"""What another server shows of a room to a user of ours who is invited, or knocks: whether it is to be believed.

It ought to be events as they were signed, and from room version 12 on the text asks us to refuse anything else. Yet it
also asks us to consider who is out there: Synapse knew version 12 for a year before it sent events (since July 2026),
and refuses nothing itself before June 2027. So excerpts are taken in all versions, with a warning where events are due.
Refusing them would keep our users from being invited by many servers, and nobody from showing what they like: an event
of the inviting server's own user is signed, whether or not the room holds it. What pretends to be an event has to be
one, and there has to be a create event.

https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
import trio

from tricord.homeserver.rooms.stripped_state import told_by_others
from tricord.homeserver.rooms.verification import Verifier
from tricord.protocol.errors import InvalidParam, MatrixError
from tricord.protocol.events import Event, parse_event
from tricord.protocol.identifiers import EventId, RoomId
from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.strict_json import JsonObject

_CREATE = ("m.room.create", "")
# The servers of those who made the room what it is may be gone, and somebody waits for the invitation.
_PATIENCE_SECONDS = 10

_logger = structlog.get_logger(__name__)


class ToldState:
    """Reads `invite_room_state` and `knock_room_state`."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    async def of_invitation(self, told: Any, version: RoomVersion, room_id: RoomId) -> list[JsonObject]:
        """Return what may be shown to who is invited.

        Raises InvalidParam for what is wrong, in room versions where it has to be right.
        """
        shown, wrong = await self._read(told, version, room_id)
        if not any((one["type"], one["state_key"]) == _CREATE for one in shown):
            wrong = [*wrong, "the create event is missing"]
        if wrong and version.invitations_show_signed_events:
            raise InvalidParam(f"`invite_room_state`: {wrong[0]}")
        return shown

    async def of_knock(self, told: Any, version: RoomVersion, room_id: RoomId) -> list[JsonObject]:
        """Return what may be shown to who knocks."""
        shown, _ = await self._read(told, version, room_id)
        return shown

    async def _read(self, told: Any, version: RoomVersion, room_id: RoomId) -> tuple[list[JsonObject], Sequence[str]]:
        """Return what may be shown, and what is wrong with the rest; what cannot be verified now is only left out."""
        shown: list[JsonObject] = []
        events: dict[EventId, Event] = {}
        wrong: list[str] = []
        has_excerpts = False
        for entry in told_by_others(told):
            if "signatures" not in entry:
                shown.append(entry)
                has_excerpts = True
                continue
            try:
                event = parse_event(entry, version)
            except MatrixError as error:
                wrong.append(f"the {entry['type'][:64]} event: {error.message}")
                continue
            if event.room_id != room_id:
                wrong.append(f"{event.event_id} is of another room")
            else:
                events[event.event_id] = event
        with trio.move_on_after(_PATIENCE_SECONDS):
            verified, unverified = await self._verifier.verified(list(events.values()))
            for event in verified:
                shown.append(event.pdu)
                del events[event.event_id]
            for event_id, reason in unverified.items():
                if await self._verifier.is_forged(events[event_id]):
                    del events[event_id]
                    wrong.append(reason)
        # The id of the room vouches for what it was made of, whether or not its creator's server still answers.
        if version.room_id_is_create_event_id:
            shown += [event.pdu for event in events.values() if (event.type, event.state_key) == _CREATE]
        if has_excerpts and version.invitations_show_signed_events:
            _logger.warning(
                "a room is shown in excerpts that nobody signed", room_id=room_id, room_version=version.name
            )
        if wrong:
            _logger.warning("a room is shown as it is not", room_id=room_id, room_version=version.name, reason=wrong[0])
        return shown, wrong
