"""From foreign JSON to verified events: the checks 1 to 3 on receipt of a PDU.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import trio

from tricord.protocol.errors import MatrixError, SignatureInvalid
from tricord.protocol.events import Event, VerifiedEvent, parse_event
from tricord.protocol.identifiers import EventId
from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.verify import KeyName, ServerKey, keys_needed, verify

# Signatures cost a tenth of a millisecond each: let others have their turn in between.
_WITHOUT_PAUSE = 20


class Keys(Protocol):
    """Where the public keys of servers come from."""

    async def keys(self, names: Iterable[KeyName], *, valid_at_ts: int) -> Mapping[KeyName, ServerKey]:
        """Return those of the keys that can be had."""
        ...


class Verifier:
    """Verifies events, many at once."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def verified(self, events: Iterable[Event]) -> tuple[list[VerifiedEvent], dict[EventId, str]]:
        """Return the events that are what their servers signed, in their order, and what is wrong with the others."""
        wanted = list(events)
        if not wanted:
            return [], {}
        names = {name for event in wanted for name in keys_needed(event)}
        keys = await self._keys.keys(names, valid_at_ts=max(event.origin_server_ts for event in wanted))
        good: list[VerifiedEvent] = []
        wrong: dict[EventId, str] = {}
        for count, event in enumerate(wanted, 1):
            try:
                good.append(verify(event, keys))
            except SignatureInvalid as error:
                wrong[event.event_id] = str(error)
            if count % _WITHOUT_PAUSE == 0:
                await trio.lowlevel.checkpoint()
        return good, wrong

    async def is_forged(self, event: Event) -> bool:
        """Return whether an event is not what its servers signed, as far as their keys are to be had."""
        names = keys_needed(event)
        keys = await self._keys.keys(names, valid_at_ts=event.origin_server_ts)
        if not names <= keys.keys():
            return False
        try:
            verify(event, keys)
        except SignatureInvalid:
            return True
        return False

    async def read(
        self,
        pdus: Iterable[JsonObject],
        version: RoomVersion,
        room_id: str,
        *,
        any_number_of_references: bool = False,
    ) -> list[VerifiedEvent]:
        """Return those of some foreign PDUs that are events of a room, verified, each once."""
        events = await parsed(pdus, version, room_id, any_number_of_references=any_number_of_references)
        good, _ = await self.verified(events.values())
        return good


async def parsed(
    pdus: Iterable[JsonObject], version: RoomVersion, room_id: str, *, any_number_of_references: bool = False
) -> dict[EventId, Event]:
    """Return those of some foreign PDUs that have the form of events of a room."""
    events: dict[EventId, Event] = {}
    for count, pdu in enumerate(pdus, 1):
        if count % _WITHOUT_PAUSE == 0:
            await trio.lowlevel.checkpoint()
        try:
            event = parse_event(pdu, version, any_number_of_references=any_number_of_references)
        except MatrixError:
            continue
        if event.room_id == room_id:
            events.setdefault(event.event_id, event)
    return events
