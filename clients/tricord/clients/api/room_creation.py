"""Making rooms: `POST /createRoom`.

https://spec.matrix.org/v1.19/client-server-api/#creation
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tricord.clients.endpoint import Endpoint, Model
from tricord.protocol.identifiers import RoomId, UserId

Preset = Literal["private_chat", "public_chat", "trusted_private_chat"]


class InitialState(Model):
    """A state event that the creator wants in the room from the start."""

    type: str
    state_key: str = ""
    content: dict[str, Any]


class ThirdPartyInvite(Model):
    """An invitation to somebody of whom only an e-mail address or telephone number is known."""

    id_server: str
    id_access_token: str
    medium: str
    address: str


class CreateRoom(Endpoint):
    """Create a room, its first state and its first invitations.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom
    """

    method = "POST"
    path = "/_matrix/client/v3/createRoom"
    hot = True
    suspended_users_too = False

    class Body(Model):
        """What the room should be."""

        visibility: Literal["public", "private"] | None = None
        room_alias_name: str | None = Field(None, max_length=255)
        name: str | None = None
        topic: str | None = None
        invite: list[UserId] = Field(default_factory=list, max_length=500)
        invite_3pid: list[ThirdPartyInvite] = Field(default_factory=list, max_length=20)
        room_version: str | None = None
        creation_content: dict[str, Any] = Field(default_factory=dict)
        initial_state: list[InitialState] = Field(default_factory=list, max_length=500)
        preset: Preset | None = None
        is_direct: bool = False
        power_level_content_override: dict[str, Any] = Field(default_factory=dict)

    class Response(Model):
        """The room that was made."""

        room_id: RoomId
