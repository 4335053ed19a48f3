"""Messages of verifications as they come: each is taken once, and those of devices that we do not know yet wait."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from tricord.clients.encryption.verification.messages import text_of
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

# Somebody who floods us is not listened to any more.
_MOST_WAITING = 50
_MOST_SEEN = 1_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message to this device, or to a room."""

    event_type: str
    sender: UserId
    content: JsonObject
    room_id: RoomId | None
    event_id: EventId | None
    sent_ms: int | None
    came_ms: int
    has_waited: bool = False

    @property
    def transaction_id(self) -> str:
        """Which verification it is of; raises VerificationFailed."""
        if self.room_id is None:
            return text_of(self.content, "transaction_id")
        relation = self.content.get("m.relates_to")
        return text_of(relation if isinstance(relation, dict) else {}, "event_id")


class Arrivals:
    """What has come, as far as it matters for what comes next."""

    def __init__(self) -> None:
        self._waiting: list[Arrival] = []
        self._seen: dict[bytes, None] = {}

    def is_new(self, message: Any) -> bool:
        """Return whether a message came for the first time: what is delivered at least once may come twice."""
        digest = hashlib.sha256(repr(message).encode(errors="replace")).digest()
        if digest in self._seen:
            return False
        self._seen[digest] = None
        if len(self._seen) > _MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        return True

    def let_wait(self, arrival: Arrival) -> bool:
        """Let a message wait until its sender's devices are known; return False if it has waited, or may not."""
        if arrival.has_waited or len(self._waiting) >= _MOST_WAITING:
            return False
        self._waiting.append(arrival)
        return True

    def senders(self) -> set[UserId]:
        """Return whose messages wait."""
        return {arrival.sender for arrival in self._waiting}

    def take_of(self, user_ids: Iterable[UserId]) -> list[Arrival]:
        """Return the messages of users, which wait no more."""
        users = set(user_ids)
        waiting, self._waiting = self._waiting, [one for one in self._waiting if one.sender not in users]
        return [replace(arrival, has_waited=True) for arrival in waiting if arrival.sender in users]

    def forget_before(self, came_ms: int) -> None:
        """Forget what has waited for too long."""
        self._waiting = [arrival for arrival in self._waiting if arrival.came_ms > came_ms]
