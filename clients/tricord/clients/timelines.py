"""Timelines of syncs as bots need them: without gaps, and from one's own joining on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from tricord.clients.calls.messages import MessageCalls
from tricord.protocol.identifiers import RoomId, UserId

_log = logging.getLogger(__name__)

_PAGE = 100
_MOST_PAGES = 50


def own_join(sources: Sequence[Any], user_id: UserId) -> int | None:
    """Return where in a timeline, oldest event first, we last joined, if we did; a change of our name is not a join."""
    for number in reversed(range(len(sources))):
        source = sources[number]
        if isinstance(source, dict) and source.get("type") == "m.room.member" and source.get("state_key") == user_id:
            before = (source.get("unsigned") or {}).get("prev_content") or {}
            if (source.get("content") or {}).get("membership") == "join" and before.get("membership") != "join":
                return number
    return None


async def missed_events(
    client: MessageCalls, room_id: RoomId, prev_batch: Any, position: str | None
) -> list[dict[str, Any]]:
    """Return what lies between a position and a limited timeline, oldest first; not what was before we joined.

    https://spec.matrix.org/v1.19/client-server-api/#syncing
    """
    missed: list[Any] = []
    start = prev_batch if isinstance(prev_batch, str) else None
    for _ in range(_MOST_PAGES):
        if start is None:
            break
        page = await client.messages(room_id, start=start, end=position, limit=_PAGE)
        older = [source for source in reversed(page.chunk) if isinstance(source, dict)]
        joined_at = own_join(older, client.user_id)
        if joined_at is not None:
            return older[joined_at + 1 :] + missed
        missed = older + missed
        start = page.end
    else:
        _log.warning("%s: more than %d events were missed, the oldest are left out", room_id, len(missed))
    return missed
