"""What an operator can set about how long messages are kept."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tricord.homeserver.section import Section


class RetentionSettings(Section):
    """How long messages are kept. A room says so in the state event `m.room.retention`, within these bounds.

    A message whose time is over is shown to nobody from then on, is told to other servers without its content, and is
    deleted soon. docs/retention.md says more.
    """

    enabled: bool = Field(False, description="whether messages are deleted because of their age")
    default_hours: int = Field(
        0,
        ge=0,
        description="how long messages are kept in rooms that say nothing; 0: for `longest_hours`, or for ever "
        "if that is 0, too",
    )
    shortest_hours: int = Field(24, ge=0, description="how long messages are kept at least, whatever a room says")
    longest_hours: int = Field(
        0, ge=0, description="how long messages are kept at most; 0: rooms may keep them for ever"
    )
    purge_every_minutes: int = Field(60, ge=1, le=10_080, description="how often expired messages are deleted")
    files_too: bool = Field(
        False,
        description="whether to delete files along with the unencrypted message by which their uploader posted "
        "them, unless they are in a profile; they are then gone from wherever else they were posted",
    )

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if 0 < self.longest_hours < self.shortest_hours:
            raise ValueError(
                f"longest_hours ({self.longest_hours}) is less than shortest_hours ({self.shortest_hours})"
            )
        return self
