"""What an operator can set about talking to users and about abuse."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from tricord.homeserver.section import Section
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import parse_room_id


def _room_id(text: str) -> str:
    try:
        return parse_room_id(text)
    except MatrixError as error:
        raise ValueError(error.message) from None


class ModerationSettings(Section):
    """What is done against abuse."""

    policy_lists: tuple[Annotated[str, AfterValidator(_room_id)], ...] = Field(
        (),
        description="ids of rooms with policies, which somebody of this server is in: whom they ban cannot invite our "
        "users, nor come into rooms by this server",
    )


class ServerNoticeSettings(Section):
    """Messages of the operator to users, in a room of its own for each; sent with: tricord notice send."""

    localpart: str = Field("", description="the user whom notices come from, such as notices; empty: there are none")
    display_name: str = Field("Server Notices", description="the name of that user")
    avatar_url: str = Field("", description="the picture of that user, an mxc:// address")
    room_name: str = Field("Server Notices", description="the name of the rooms")
    room_topic: str = Field("", description="the topic of the rooms")
