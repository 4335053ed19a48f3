"""What an operator can set about events that are sent later."""

from __future__ import annotations

from pydantic import Field

from tricord.homeserver.section import Section


class DelayedEventSettings(Section):
    """Events that clients schedule for later; with them, calls end when somebody's connection breaks."""

    longest_delay_seconds: int = Field(
        24 * 3600,
        ge=0,
        le=366 * 24 * 3600,
        description="how far in the future an event may be sent; 0: events cannot be delayed",
    )
    most_per_user: int = Field(100, ge=1, le=10_000, description="how many delayed events one user may have at a time")
