"""What an operator can set about how long messages are kept."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tricord.homeserver.section import Section


class RetentionSettings(Section):
    """How long messages are kept. A room says it by the state event `m.room.retention`, within these bounds.

    A message whose time is over is shown to nobody from then on, is told to other servers without its content, and is
    deleted soon. docs/retention.md says more.
    """

    enabled: bool = Field(False, description="whether messages are ever deleted for their age")
    default_hours: int = Field(
        0, ge=0, description="how long messages are kept in rooms that say nothing; 0: for ever, or `longest_hours`"
    )
    shortest_hours: int = Field(24, ge=0, description="they are kept at least so long, whatever a room says")
    longest_hours: int = Field(0, ge=0, description="they are kept at most so long; 0: rooms may keep them for ever")
    purge_every_minutes: int = Field(60, ge=1, le=10_080, description="how often what is over is deleted")
    files_too: bool = Field(
        False,
        description="whether the files go too that a deleted message of their uploader shows in the clear, unless a "
        "profile shows them; they are then gone wherever else they were posted",
    )

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if 0 < self.longest_hours < self.shortest_hours:
            raise ValueError(
                f"longest_hours ({self.longest_hours}) is less than shortest_hours ({self.shortest_hours})"
            )
        return self
