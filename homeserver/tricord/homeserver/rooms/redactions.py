"""Who may redact what, as this server decides for its own users.

The authorization rules let anybody who can send events send a redaction. Whether it takes effect is decided later, by
"Handling redactions" of the room version; one that would not is refused here, where somebody still reads the answer.

https://spec.matrix.org/v1.19/rooms/v11/#handling-redactions
"""

from __future__ import annotations

from tricord.homeserver.rooms.standing import Standing
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import UserId


def check_may_redact(room: Standing, user_id: UserId, target: StoredEvent) -> None:
    """Refuse to redact others' events without the room's `redact` level, and create events altogether."""
    event = target.event
    if event.type == "m.room.create":
        raise Forbidden("m.room.create cannot be redacted: the room would lose its rules")
    if event.sender == user_id:
        return
    level, needed = room.power.of_user(user_id), room.power.redact
    if level < needed:
        raise Forbidden(f"{user_id} has power level {level}, and redacting others' events needs {needed}")
