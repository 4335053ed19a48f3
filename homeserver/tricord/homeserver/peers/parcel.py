"""What goes to another server in one transaction.

https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import orjson

from tricord.homeserver.storage.outgoing import OutgoingEvent
from tricord.protocol.strict_json import JsonObject


@dataclass(frozen=True, slots=True)
class Parcel:
    """Some events and EDUs.

    Its id is kept over all attempts to send it. One with events has the same id after a restart, if it is the same
    again; what passes may well be said twice in the same words, and has to be heard twice.
    """

    events: Sequence[OutgoingEvent] = ()
    edus: Sequence[JsonObject] = ()
    transaction_id: str = field(init=False)

    def __post_init__(self) -> None:
        digest = blake2b(digest_size=15)
        for event in self.events:
            digest.update(event.event_id.encode() + b"\0")
        digest.update(orjson.dumps(self.edus) if self.events else secrets.token_bytes(15))
        object.__setattr__(self, "transaction_id", urlsafe_b64encode(digest.digest()).decode())

    def halves(self) -> list[Parcel]:
        """Return the same in two parcels; nothing if it cannot be divided."""
        if self.events and self.edus:
            return [Parcel(self.events), Parcel((), self.edus)]
        things = max(len(self.events), len(self.edus))
        if things < 2:
            return []
        half = things // 2
        return [Parcel(self.events[:half], self.edus[:half]), Parcel(self.events[half:], self.edus[half:])]

    @property
    def contents(self) -> list[str]:
        """Name what is in it, for the log."""
        return [event.event_id for event in self.events] + [str(edu.get("edu_type")) for edu in self.edus]
