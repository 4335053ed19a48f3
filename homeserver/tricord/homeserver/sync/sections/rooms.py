"""A window as one viewer is told it: only what they may see and want, as JSON.

Most viewers of a window are told the same. What makes somebody different: that they have sent one of the events and get
its transaction id, ignore somebody who has sent, typed or read something, or have not been in the room all through it.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping

import orjson

from tricord.homeserver.rooms.aggregations import Aggregation
from tricord.homeserver.rooms.client_format import Reader, client_event_for
from tricord.homeserver.rooms.receipts import shown_to
from tricord.homeserver.rooms.stored_event import StateKey, StoredEvent
from tricord.homeserver.stream.tokens import before_stretch
from tricord.homeserver.sync.delta import Json, RoomNews, Timeline
from tricord.homeserver.sync.sections.ephemeral import receipt_event, typing_event
from tricord.homeserver.sync.viewer import Viewer
from tricord.homeserver.sync.window import MEMBER, Window, is_beginning
from tricord.protocol.event_filters import Filter
from tricord.protocol.identifiers import EventId, UserId
from tricord.protocol.property_paths import split_path

# Events say how old they are.
_NEWS_LAST_MS = 5_000
_MOST_NEWS = 20
_NOTHING_RELATED: Mapping[EventId, Aggregation] = {}


def news_for(
    window: Window,
    viewer: Viewer,
    now_ms: int,
    *,
    events: Collection[StoredEvent],
    ignored: frozenset[UserId],
    memberships: Mapping[StoredEvent, str] | None = None,
    members: Iterable[StoredEvent] = (),
    aggregations: Mapping[EventId, Aggregation] = _NOTHING_RELATED,
) -> RoomNews:
    """Return a window as the viewer is told it.

    `events` are those of the window that they may see; `members` are member events that a client which loads members
    lazily does not have yet; `memberships` is what the viewer was to the room at the events (None: joined at all);
    `aggregations` is what relates to events, as far as this viewer sees it.
    """
    lacks_members = tuple(members)
    is_usual = (
        memberships is None
        and len(events) == len(window.events)
        and not lacks_members
        and viewer.user_id not in window.transaction_users
        and ignored.isdisjoint(window.senders)
        and ignored.isdisjoint(window.passing_users)
        and viewer.user_id not in window.private_readers
        and not (aggregations and any(stored.event.event_id in aggregations for stored in events))
    )
    if not is_usual:
        return _render(window, viewer, now_ms, events, memberships, lacks_members, aggregations, ignored)
    key = (id(viewer.filter), viewer.use_state_after)
    shared = window.news.get(key)
    if shared is None or now_ms - shared[2] > _NEWS_LAST_MS:
        news = _render(window, viewer, now_ms, events, memberships, ())
        if len(window.news) >= _MOST_NEWS:
            window.news.clear()
        shared = window.news[key] = (viewer.filter, news, now_ms)
    return shared[1]


def _render(
    window: Window,
    viewer: Viewer,
    now_ms: int,
    events: Collection[StoredEvent],
    memberships: Mapping[StoredEvent, str] | None,
    members: Collection[StoredEvent],
    aggregations: Mapping[EventId, Aggregation] = _NOTHING_RELATED,
    ignored: Container[UserId] = (),
) -> RoomNews:
    wanted = viewer.filter
    reader = Reader(viewer.user_id, viewer.device_id)
    format_fields = wanted.event_fields

    def as_json(stored: StoredEvent, membership: str | None) -> Json:
        if wanted.event_format == "federation":
            return stored.event.json
        encoded = client_event_for(
            stored,
            reader,
            now_ms,
            companions=window.companions,
            membership=membership,
            aggregation=aggregations.get(stored.event.event_id),
            with_room_id=False,
        )
        return encoded if format_fields is None else only_fields(encoded, format_fields)

    state = _state(window, wanted, members, after=viewer.use_state_after)
    timeline = None
    if events or window.limited or window.stretch.full_state:
        encoded = tuple(as_json(e, "join" if memberships is None else memberships.get(e)) for e in events)
        timeline = Timeline(encoded, window.limited, before_stretch(window.start, window.stretch.upto))
    state_is_said = state or (viewer.use_state_after and timeline is not None) or window.stretch.full_state
    return RoomNews(
        timeline=timeline,
        state=tuple(as_json(stored, None) for stored in state) if state_is_said else None,
        state_is_after=viewer.use_state_after,
        ephemeral=tuple(_ephemeral(window, viewer, ignored)),
    )


def _state(window: Window, wanted: Filter, members: Collection[StoredEvent], *, after: bool) -> list[StoredEvent]:
    state_filter = wanted.room.state
    if not state_filter.allows_room(window.stretch.room_id):
        return []
    state: dict[StateKey, StoredEvent] = window.state_after() if after else window.state
    lazily = state_filter.lazy_load_members
    chosen = [
        stored
        for key, stored in state.items()
        # Of the whole state, lazily, only those members are told who were asked for; of changes, all.
        if (key[0] != MEMBER or not lazily or not window.stretch.full_state) and state_filter.allows(stored.event)
    ]
    # What changed is newer than who was there.
    told = {stored.key for stored in chosen}
    chosen += [stored for stored in members if stored.key not in told and state_filter.allows(stored.event)]
    return chosen


def _ephemeral(window: Window, viewer: Viewer, ignored: Container[UserId]) -> Iterable[Json]:
    wanted = viewer.filter.room.ephemeral
    if not wanted.allows_room(window.stretch.room_id):
        return
    if window.typing is not None and wanted.allows_type("m.typing"):
        typing = typing_event(window.typing, ignored, begins=is_beginning(window.stretch))
        if typing is not None:
            yield typing
    if window.receipts and wanted.allows_type("m.receipt"):
        receipts = receipt_event(shown_to(viewer.user_id, window.receipts, ignored))
        if receipts is not None:
            yield receipts


def only_fields(encoded: Json, fields: Iterable[str]) -> Json:
    """Return only some fields of an event, by their dot-separated paths.

    https://spec.matrix.org/v1.19/client-server-api/#filtering
    """
    event = orjson.loads(encoded)
    kept: dict[str, object] = {}
    for field in fields:
        *parents, last = split_path(field)
        source, target = event, kept
        for name in parents:
            source = source.get(name) if isinstance(source, dict) else None
            if not isinstance(source, dict):
                break
            target = target.setdefault(name, {})  # type: ignore[assignment]  # only objects are put on the way
        else:
            if isinstance(source, dict) and last in source:
                target[last] = source[last]
    return orjson.dumps(kept)
