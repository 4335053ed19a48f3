"""In which threads of somebody's rooms something was said between two positions.

https://github.com/matrix-org/matrix-spec-proposals/pull/4360
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import orjson

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.aggregations import Aggregations, can_be_root, told_whole
from tricord.homeserver.rooms.client_format import Reader, client_event_for, companions_of
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.visibility import Seen, Visibility
from tricord.homeserver.storage.aggregations import ThreadNews, threads_between, updated_threads
from tricord.homeserver.storage.database import Database
from tricord.homeserver.stream.tokens import Place, encode_place
from tricord.protocol.errors import InvalidParam
from tricord.protocol.events import redacted_copy
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

MAX_THREADS = 100
# The newest may be where the reader cannot see it: so many are tried.
_MOST_TRIED = 5
_TOKEN = re.compile(r"h1_([0-9]{1,18})_(\$[^\0]{1,254})")


@dataclass(frozen=True, slots=True)
class Asked:
    """Which threads are asked for: those with something new after one position, up to another."""

    after: int
    upto: int
    limit: int = MAX_THREADS
    include_roots: bool = False
    start: str | None = None
    """Where an earlier page ended."""


@dataclass(slots=True)
class Updates:
    """The threads of each room, those with the newest events first, and where reading goes on."""

    by_room: dict[RoomId, dict[EventId, JsonObject]] = field(default_factory=dict)
    next: str | None = None


class ThreadUpdates:
    """Finds threads where something is new.

    SQL: one query for the threads, one for what is new in them, one for its events and, if wanted, one for their roots;
    and what `Visibility` needs for both.
    """

    def __init__(
        self,
        database: Database,
        timeline: Timeline,
        visibility: Visibility,
        preferences: Preferences,
        aggregations: Aggregations,
        clock: Clock,
    ) -> None:
        self._database = database
        self._timeline = timeline
        self._visibility = visibility
        self._preferences = preferences
        self._aggregations = aggregations
        self._clock = clock

    async def of(
        self, reader: Reader, room_ids: Collection[RoomId], asked: Asked, told: Mapping[EventId, int] | None = None
    ) -> Updates:
        """Return the threads of some rooms with something new; but for those of which as many events are told anyway.

        `told` counts these, by the roots of the threads.
        """
        before = None if asked.start is None else decoded_start(asked.start)
        limit = max(min(asked.limit, MAX_THREADS), 1)
        rows = await self._database.read(updated_threads, room_ids, asked.after, before, limit + 1)
        updates = Updates()
        if len(rows) > limit:
            rows = rows[:limit]
            updates.next = f"h1_{rows[-1].latest}_{rows[-1].root_id}"
        ignored = await self._preferences.ignored_by(reader.user_id)
        root_ids = [row.root_id for row in rows]
        news = await self._database.read(threads_between, root_ids, ignored, asked.after, asked.upto, _MOST_TRIED)
        if told is not None and not asked.include_roots:
            news = {root_id: one for root_id, one in news.items() if one.count > told.get(root_id, 0)}
        latest = await self._latest(reader.user_id, news)
        roots = await self._roots(reader, latest, ignored) if asked.include_roots else {}
        for row in rows:
            if (seen := latest.get(row.root_id)) is not None and seen.stored.event.room_id == row.room_id:
                update: JsonObject = {}
                if row.root_id in roots:
                    update["thread_root"] = roots[row.root_id]
                if news[row.root_id].count > 1:
                    place = seen.stored.place
                    update["prev_batch"] = encode_place(Place(place.position, place.rank - 1))
                updates.by_room.setdefault(row.room_id, {})[row.root_id] = update
        return updates

    async def _latest(self, user_id: UserId, news: Mapping[EventId, ThreadNews]) -> dict[EventId, Seen]:
        """Return the newest event of each thread that the reader sees."""
        events = await self._timeline.events([event_id for one in news.values() for event_id in one.newest])
        seen = {one.stored.event.event_id: one for one in await self._visibility.seen(user_id, list(events.values()))}
        found = {
            root_id: next((seen[event_id] for event_id in one.newest if event_id in seen), None)
            for root_id, one in news.items()
        }
        return {root_id: one for root_id, one in found.items() if one is not None}

    async def _roots(
        self, reader: Reader, root_ids: Collection[EventId], ignored: Collection[UserId]
    ) -> dict[EventId, orjson.Fragment]:
        """Return what threads begin with, and what relates to that, as far as the reader sees it."""
        events = [root for root in (await self._timeline.events(root_ids)).values() if can_be_root(root)]
        # A thread does not go with the one who began it: of an ignored one the root is shown, without its content.
        seen = await self._visibility.seen(reader.user_id, events, ignored_too=True)
        aggregations = await self._aggregations.of(reader.user_id, [one.stored for one in seen])
        shown = [_redacted(one) if one.stored.event.sender in ignored else one for one in seen]
        companions = await companions_of(
            [*(one.stored for one in shown), *told_whole(aggregations.values())], self._timeline
        )
        now_ms = self._clock.now_ms()
        return {
            one.stored.event.event_id: orjson.Fragment(
                client_event_for(
                    one.stored,
                    reader,
                    now_ms,
                    companions=companions,
                    membership=one.membership,
                    aggregation=aggregations.get(one.stored.event.event_id),
                )
            )
            for one in shown
        }


def decoded_start(token: str) -> tuple[int, EventId]:
    """Return where a page of threads begins; raise InvalidParam for what is no token of them."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParam("`from` is not a token of this list")
    return int(match[1]), EventId(match[2])


def _redacted(seen: Seen) -> Seen:
    return Seen(replace(seen.stored, event=redacted_copy(seen.stored.event)), seen.membership)
