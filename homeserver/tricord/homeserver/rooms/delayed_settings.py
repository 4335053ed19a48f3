"""What an operator can set about events that are sent later."""

from __future__ import annotations

from pydantic import Field

from tricord.homeserver.section import Section


class DelayedEventSettings(Section):
    """Events that clients send for later: calls end by them when somebody's connection breaks."""

    longest_delay_seconds: int = Field(
        24 * 3600, ge=0, le=366 * 24 * 3600, description="how much later an event may be sent; 0: not at all"
    )
    most_per_user: int = Field(100, ge=1, le=10_000, description="how many of one user may wait at a time")
