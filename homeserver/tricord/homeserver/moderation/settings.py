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
    """Protection against abuse."""

    policy_lists: tuple[Annotated[str, AfterValidator(_room_id)], ...] = Field(
        (),
        description="ids of policy rooms that somebody on this server has joined; whoever they ban can neither "
        "invite our users nor join rooms through this server",
    )


class ServerNoticeSettings(Section):
    """Messages from the operator to users, each in a room of their own; sent with: tricord notice send."""

    localpart: str = Field(
        "", description="localpart of the user who sends notices, such as notices; empty: notices cannot be sent"
    )
    display_name: str = Field("Server Notices", description="the name of that user")
    avatar_url: str = Field("", description="the avatar of that user, as an mxc:// URI")
    room_name: str = Field("Server Notices", description="the name of the rooms")
    room_topic: str = Field("", description="the topic of the rooms")
