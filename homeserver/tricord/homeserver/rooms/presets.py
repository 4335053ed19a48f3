"""What the presets of room creation mean, as values.

https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tricord.protocol.identifiers import UserId
from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.strict_json import JsonObject

ADMINISTRATOR = 100
MODERATOR = 50
# Where creators stand above all levels, only they may replace the room with another one.
ABOVE_ADMINISTRATORS = 150


@dataclass(frozen=True, slots=True)
class Preset:
    """The state a room starts with."""

    join_rule: str
    history_visibility: str
    guest_access: str
    # Whether those invited at creation stand as high as the creator.
    invitees_equal_creator: bool = False
    power_levels: JsonObject = field(default_factory=dict)

    def state(self) -> dict[str, JsonObject]:
        """Return the content of the state events that the preset sets, by type, in order."""
        return {
            "m.room.join_rules": {"join_rule": self.join_rule},
            "m.room.history_visibility": {"history_visibility": self.history_visibility},
            "m.room.guest_access": {"guest_access": self.guest_access},
        }


PRESETS = {
    # In a private room, whoever is in may bring somebody along.
    "private_chat": Preset("invite", "shared", "can_join", power_levels={"invite": 0}),
    "trusted_private_chat": Preset(
        "invite", "shared", "can_join", invitees_equal_creator=True, power_levels={"invite": 0}
    ),
    "public_chat": Preset("public", "shared", "forbidden"),
}


def power_levels(
    preset: Preset,
    version: RoomVersion,
    creator: UserId,
    invitees: Iterable[UserId],
    override: JsonObject,
) -> JsonObject:
    """Return the content of the first `m.room.power_levels` event."""
    users: dict[str, int] = {}
    tombstone = ABOVE_ADMINISTRATORS
    if not version.creators_have_infinite_power:
        tombstone = ADMINISTRATOR
        users[creator] = ADMINISTRATOR
        if preset.invitees_equal_creator:
            users.update(dict.fromkeys(invitees, ADMINISTRATOR))
    content: dict[str, Any] = {
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": MODERATOR,
            "m.room.avatar": MODERATOR,
            "m.room.canonical_alias": MODERATOR,
            "m.room.power_levels": ADMINISTRATOR,
            "m.room.history_visibility": ADMINISTRATOR,
            "m.room.server_acl": ADMINISTRATOR,
            "m.room.encryption": ADMINISTRATOR,
            "m.room.tombstone": tombstone,
        },
        "events_default": 0,
        "state_default": MODERATOR,
        "ban": MODERATOR,
        "kick": MODERATOR,
        "redact": MODERATOR,
        "invite": MODERATOR,
        **preset.power_levels,
        **override,
    }
    if version.creators_have_infinite_power and isinstance(content["events"], dict):
        # An override of `events` that forgets the tombstone would bring it down to `state_default`, which the
        # specification forbids.
        content["events"] = {"m.room.tombstone": tombstone, **content["events"]}
    return content
