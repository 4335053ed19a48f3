"""Routes of room upgrades."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.room_upgrades import UpgradeRoom
from tricord.homeserver.rooms.upgrade import RoomUpgrade
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.identifiers import parse_room_id, parse_user_id


class RoomUpgradesApi:
    """`POST /rooms/{room_id}/upgrade`."""

    def __init__(self, upgrade: RoomUpgrade) -> None:
        self._upgrade = upgrade

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(UpgradeRoom, self.upgrade)]

    async def upgrade(self, call: Call[UpgradeRoom.Body, Any]) -> UpgradeRoom.Response:
        """Replace a room."""
        creators = [parse_user_id(user_id) for user_id in call.body.additional_creators]
        room_id = parse_room_id(call.path["room_id"])
        replacement = await self._upgrade.upgrade(call.requester.user_id, room_id, call.body.new_version, creators)
        return UpgradeRoom.Response(replacement_room=replacement)
