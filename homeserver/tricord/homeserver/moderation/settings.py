"""What an operator can set about talking to users and about abuse."""

from __future__ import annotations

from pydantic import Field

from tricord.homeserver.section import Section


class ServerNoticeSettings(Section):
    """Messages of the operator to users, in a room of its own for each; sent with: tricord notice send."""

    localpart: str = Field("", description="the user whom notices come from, such as notices; empty: there are none")
    display_name: str = Field("Server Notices", description="the name of that user")
    avatar_url: str = Field("", description="the picture of that user, an mxc:// address")
    room_name: str = Field("Server Notices", description="the name of the rooms")
    room_topic: str = Field("", description="the topic of the rooms")
