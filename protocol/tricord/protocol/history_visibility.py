"""Who may see an event, by the history visibility of the room at that event.

https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WORLD_READABLE = "world_readable"
SHARED = "shared"
INVITED = "invited"
JOINED = "joined"

_KNOWN = frozenset((WORLD_READABLE, SHARED, INVITED, JOINED))


def visibility_of(content: Mapping[str, Any] | None) -> str:
    """Return what the content of an `m.room.history_visibility` event means; `shared` if it means nothing."""
    visibility = content.get("history_visibility") if content else None
    return visibility if isinstance(visibility, str) and visibility in _KNOWN else SHARED


@dataclass(frozen=True, slots=True)
class Standing:
    """The state that decides, on one side of an event: how visible the room is, and the viewer's membership in it."""

    visibility: str
    membership: str | None


def may_see(before: Standing, after: Standing, *, joined_later: bool) -> bool:
    """Return whether the viewer may see an event, by the state before it and after it.

    The two differ only where the event itself is a change of visibility or of the viewer's own membership; it may be
    seen by those whom either side lets see it. `joined_later`: the viewer joined at some point after the event.
    """
    return _allows(before, joined_later) or (after != before and _allows(after, joined_later))


def _allows(standing: Standing, joined_later: bool) -> bool:
    return (
        standing.visibility == WORLD_READABLE  # 1
        or standing.membership == "join"  # 2
        or (standing.visibility == SHARED and joined_later)  # 3
        or (standing.visibility == INVITED and standing.membership == "invite")  # 4
    )
