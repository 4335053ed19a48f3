"""What a user has been notified of, or would have been: read from the log, page by page.

Nothing is stored for it: rules are applied as they are now.
https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3notifications
"""

from __future__ import annotations

from dataclasses import dataclass

from tricord.homeserver.push.counts import NotificationCounts, Notified
from tricord.homeserver.rooms.client_events import ClientEvents
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.events import events_by_nid
from tricord.homeserver.storage.pushers import newest_event_nids
from tricord.homeserver.storage.receipts import UNTHREADED
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.tokens import decode_token, encode_token
from tricord.protocol.identifiers import RoomId
from tricord.protocol.strict_json import JsonObject

_MOST = 100
_PAGE = 200
# How many events are looked at for one page; then the client is asked to come again from there.
_MOST_PAGES = 5


@dataclass(frozen=True, slots=True)
class _Page:
    found: list[Notified]
    next_position: int | None


class NotifiedEvents:
    """Lists notifications."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        memberships: Memberships,
        visibility: Visibility,
        counts: NotificationCounts,
        client_events: ClientEvents,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._memberships = memberships
        self._visibility = visibility
        self._counts = counts
        self._client_events = client_events

    async def page(self, requester: Requester, token: str | None, limit: int, *, only_highlights: bool) -> JsonObject:
        """Return notifications, newest first."""
        start = self._publisher.position + 1 if token is None else decode_token(token)
        rooms = await self._memberships.joined_rooms(requester.user_id)
        page = await self._read(requester, rooms, start, min(limit, _MOST), only_highlights=only_highlights)
        events = [one.stored for one in page.found]
        seen = {one.stored: one for one in await self._visibility.seen(requester.user_id, events)}
        shown = [one for one in page.found if one.stored in seen]
        read = await self._counts.read_up_to(
            requester.user_id, {one.stored.event.room_id for one in shown}, self._publisher.position
        )
        formatted = await self._client_events.seen(requester, [seen[one.stored] for one in shown])
        notifications = []
        for one, event in zip(shown, formatted, strict=True):
            stored = one.stored
            receipts = read[stored.event.room_id]
            upto = max(receipts.get(UNTHREADED, 0), receipts.get(await self._counts.thread_of(stored), 0))
            notifications.append(
                {
                    "actions": list(one.outcome.actions),
                    "event": event,
                    "read": stored.place.position <= upto,
                    "room_id": stored.event.room_id,
                    "ts": stored.event.origin_server_ts,
                }
            )
        answer: JsonObject = {"notifications": notifications}
        if page.next_position is not None:
            answer["next_token"] = encode_token(page.next_position)
        return answer

    async def _read(
        self, requester: Requester, rooms: frozenset[RoomId], start: int, limit: int, *, only_highlights: bool
    ) -> _Page:
        found: list[Notified] = []
        for _ in range(_MOST_PAGES):
            events = await self._database.read(_newest_events, rooms, start, _PAGE) if rooms else []
            judged = await self._counts.judged(requester.user_id, events)
            found += [one for one in judged if one.outcome.highlight or not only_highlights]
            if len(found) >= limit:
                found = found[:limit]
                return _Page(found, found[-1].stored.place.position)
            if len(events) < _PAGE:
                return _Page(found, None)
            start = events[-1].place.position
        return _Page(found, start)


async def _newest_events(tx: Transaction, room_ids: frozenset[RoomId], before: int, limit: int) -> list[StoredEvent]:
    nids = await newest_event_nids(tx, room_ids, before, limit)
    events = await events_by_nid(tx, nids)
    return [events[nid] for nid in nids]
