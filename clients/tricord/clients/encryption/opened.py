"""Events that were encrypted, as they are given to whoever reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tricord.clients.encryption.errors import CannotDecrypt
from tricord.clients.encryption.megolm import Decrypted
from tricord.protocol.identifiers import RoomId
from tricord.protocol.strict_json import JsonObject


class OpenedEvent(dict[str, Any]):
    """An event with the type and the content that were encrypted, and with what is known of who encrypted it.

    That it is one shows in its class, which no JSON of a homeserver can pretend to have.
    """

    __slots__ = ("decrypted", "encrypted")

    def __init__(self, encrypted: JsonObject, decrypted: Decrypted) -> None:
        super().__init__(encrypted, type=decrypted.event_type, content=decrypted.content)
        self.encrypted = encrypted
        self.decrypted = decrypted


class ClosedEvent(dict[str, Any]):
    """An encrypted event that cannot be decrypted, as it came; and the reason."""

    __slots__ = ("reason",)

    def __init__(self, encrypted: JsonObject, reason: CannotDecrypt) -> None:
        super().__init__(encrypted)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class LateEvent:
    """An event that could not be decrypted when it came, and can be now."""

    room_id: RoomId
    event: JsonObject
    decrypted: Decrypted

    @property
    def opened(self) -> OpenedEvent:
        """The event with what it says."""
        return OpenedEvent(self.event, self.decrypted)


def is_encrypted(event: JsonObject) -> bool:
    """Return whether an event came encrypted, be it opened or not."""
    return isinstance(event, OpenedEvent) or event.get("type") == "m.room.encrypted"
