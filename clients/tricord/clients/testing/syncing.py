"""What is new for somebody after a position: `/sync` of the homeserver in memory.

https://spec.matrix.org/v1.19/client-server-api/#syncing
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from tricord.clients.api.sync import Sync
from tricord.clients.testing.accounts import Accounts, Device, User
from tricord.clients.testing.call import Call, Route
from tricord.clients.testing.formats import client_event, stripped_state, summary, wanted_state
from tricord.clients.testing.room import MEMBER, Room, State, Stored
from tricord.clients.testing.rooms import Rooms
from tricord.clients.testing.world import World, position_of, token
from tricord.protocol.errors import BadJson, InvalidParam, NotJson
from tricord.protocol.event_filters import Filter
from tricord.protocol.strict_json import JsonObject, parse_object

_DEFAULT_LIMIT = 10
_AWAY = frozenset({"leave", "ban"})
# Who is in a room, and what it is called: a room without a name is called by its members.
_OF_SUMMARIES = frozenset({MEMBER, "m.room.name", "m.room.canonical_alias"})


class Syncing:
    """Tells what changed."""

    def __init__(self, world: World, accounts: Accounts, rooms: Rooms) -> None:
        self._world = world
        self._accounts = accounts
        self._rooms = rooms

    def routes(self) -> list[Route]:
        """Return the route."""
        return [(Sync, self.sync)]

    async def sync(self, call: Call) -> JsonObject:
        """Answer what is new, once something is or the time is over."""
        query: Sync.Query = call.query
        since = None if query.since is None else position_of(query.since)
        if since is not None and since > self._world.position:
            raise InvalidParam("this position was never given out")
        wanted = _filter(call.user, query.filter)
        answer = self._news(call.device, since, wanted, full_state=query.full_state)
        with trio.move_on_after(0 if since is None or query.full_state else query.timeout / 1000):
            while not _says_something(answer):
                await self._world.change()
                # It may be the end of this very session.
                self._accounts.authenticate(call.device.access_token)
                answer = self._news(call.device, since, wanted, full_state=False)
        keys = call.device.keys
        unused = [algorithm for algorithm in keys.fallback_keys if algorithm not in keys.used_fallback_keys]
        return {
            **answer,
            "device_one_time_keys_count": keys.counts(),
            "device_unused_fallback_key_types": unused,
        }

    def _news(self, device: Device, since: int | None, wanted: Filter, *, full_state: bool) -> JsonObject:
        kinds: dict[str, JsonObject] = {"join": {}, "invite": {}, "knock": {}, "leave": {}}
        for room in self._rooms.with_user(device.user):
            if wanted.room.allows_room(room.room_id):
                kind, news = self._room_news(room, device, since, wanted, full_state=full_state)
                if news:
                    kinds[kind][room.room_id] = news
        answer: JsonObject = {"next_batch": token(self._world.position)}
        if rooms := {kind: news for kind, news in kinds.items() if news}:
            answer["rooms"] = rooms
        if messages := _messages_to(device, since):
            answer["to_device"] = {"events": messages}
        if since is not None and (lists := self._device_lists(device.user, since)):
            answer["device_lists"] = lists
        if events := _account_data(device.user, None, since):
            answer["account_data"] = {
                "events": [event for event in events if wanted.account_data.allows_type(event["type"])]
            }
        return answer

    def _device_lists(self, user: User, since: int) -> JsonObject:
        """Return whose devices are to be asked for anew, and whose are of no interest any more.

        https://spec.matrix.org/v1.19/client-server-api/#e2e-extensions-to-sync
        """
        shared: set[str] = {user.user_id}
        changed: set[str] = set()
        parted: set[str] = set()
        for room in self._rooms.with_user(user):
            joined = set(room.members("join"))
            ours = room.changes_of(user.user_id)[-1]
            moved = {
                stored.event.state_key or ""
                for stored in room.between(since, None)
                if stored.event.type == MEMBER and stored.event.state_key != user.user_id
            }
            if user.user_id in joined:
                shared |= joined
                changed |= joined if ours.position > since else moved & joined
                parted |= moved - joined
            elif ours.position > since:
                parted |= joined
        for user_id in shared:
            known = self._accounts.known(user_id)
            if known is not None and known.keys_changed_at > since:
                changed.add(user_id)
        if user.keys_changed_at <= since:
            changed.discard(user.user_id)
        lists = {"changed": sorted(changed), "left": sorted(parted - shared)}
        return {name: users for name, users in lists.items() if users}

    def _room_news(
        self, room: Room, device: Device, since: int | None, wanted: Filter, *, full_state: bool
    ) -> tuple[str, JsonObject]:
        user = device.user
        changes = room.changes_of(user.user_id)
        now, past = changes[-1], [change for change in changes if since is not None and change.position <= since]
        is_news = since is None or now.position > since
        if now.membership in {"invite", "knock"}:
            if not is_news:
                return now.membership, {}
            return now.membership, {f"{now.membership}_state": {"events": stripped_state(now.after, now)}}
        known = past[-1].membership if past else None
        joined = known == "join"
        meanwhile = any(change.membership == "join" for change in changes if change not in past)
        if now.membership in _AWAY:
            if not is_news or (since is None and not (wanted.room.include_leave and meanwhile)):
                return "leave", {}
            after = since if joined else _last_seen(past) if meanwhile else now.position - 1
            return "leave", self._stretch(
                room, device, after or 0, now.position, wanted, full_state=not joined and meanwhile
            )
        newly = not joined or any(change.membership != "join" for change in changes if change not in past)
        after = since if joined else _last_seen(past)
        news = self._stretch(room, device, after or 0, None, wanted, full_state=newly or full_state)
        # What a newly joined room has of the things that are not events is all news.
        news |= self._surroundings(room, user, None if newly or full_state else since, wanted)
        changed = {stored.event.type for stored in room.timeline if stored.position > (after or 0)}
        if full_state or not changed.isdisjoint(_OF_SUMMARIES):
            news["summary"] = summary(room, user.user_id)
        return "join", news

    def _stretch(
        self, room: Room, device: Device, after: int, upto: int | None, wanted: Filter, *, full_state: bool
    ) -> JsonObject:
        """Return the newest of the visible events of a stretch of history, and the state before them."""
        timeline_filter = wanted.room.timeline
        events: list[Stored] = []
        if timeline_filter.allows_room(room.room_id):
            events = [stored for stored in room.between(after, upto) if timeline_filter.allows(stored.event)]
        limit = _DEFAULT_LIMIT if timeline_filter.limit is None else timeline_filter.limit
        window = events[len(events) - limit :] if len(events) > limit else events
        limited = len(window) < len(events)
        seen = set(room.visible(device.user.user_id, after=after, upto=upto))
        kept = [stored for stored in window if stored in seen]
        begins = window[0].position - 1 if window else self._world.position if upto is None else upto
        news: JsonObject = {}
        if kept or limited or full_state:
            news["timeline"] = {
                "events": [client_event(stored, device, self._world, with_room_id=False) for stored in kept],
                "limited": limited,
                "prev_batch": token(begins),
            }
        known: State = {} if full_state else room.state_at(after)
        start = room.state_at(begins) if limited or full_state else known
        # What they may not see happen has changed the state nevertheless.
        # Not so for those who have left: what happened since is none of their business.
        unseen = [stored for stored in window if upto is None and stored not in seen and stored.event.is_state]
        hidden = {stored.key: stored for stored in unseen}
        state = [stored for key, stored in {**start, **hidden}.items() if known.get(key) is not stored]
        if state := wanted_state(state, kept, wanted.room.state, room):
            news["state"] = {
                "events": [client_event(stored, device, self._world, with_room_id=False) for stored in state]
            }
        return news

    def _surroundings(self, room: Room, user: User, since: int | None, wanted: Filter) -> JsonObject:
        """Return what is going on beside the events: typing, receipts, the user's data about the room."""
        news: JsonObject = {}
        ephemeral: list[JsonObject] = []
        if room.typing if since is None else room.typing_position > since:
            ephemeral.append({"type": "m.typing", "content": {"user_ids": sorted(room.typing)}})
        if receipts := _receipts(room, user, since):
            ephemeral.append({"type": "m.receipt", "content": receipts})
        ephemeral = [event for event in ephemeral if wanted.room.ephemeral.allows_type(event["type"])]
        if ephemeral and wanted.room.ephemeral.allows_room(room.room_id):
            news["ephemeral"] = {"events": ephemeral}
        data = [
            event for event in _account_data(user, room, since) if wanted.room.account_data.allows_type(event["type"])
        ]
        if data and wanted.room.account_data.allows_room(room.room_id):
            news["account_data"] = {"events": data}
        return news


def _says_something(answer: JsonObject) -> bool:
    return len(answer) > 1


def _filter(user: User, text: str | None) -> Filter:
    if not text:
        return Filter()
    try:
        if text.startswith("{"):
            return Filter.parse(parse_object(text.encode()))
        return Filter.parse(user.filters[int(text)])
    except (NotJson, BadJson, ValueError, IndexError) as error:
        raise InvalidParam("`filter` is neither a filter nor the id of one") from error


def _last_seen(past: Sequence[Stored]) -> int:
    """Return when somebody who is not in a room was there for the last time, by what they were to it; 0 for never."""
    if past and past[-1].membership in {"invite", "knock"}:
        # They may never have been told of how they left.
        return 0
    left = 0
    for change in reversed(past):
        if change.membership == "join":
            return left
        left = change.position
    return 0


def _messages_to(device: Device, since: int | None) -> list[JsonObject]:
    """Return what was sent to a device; what it has had, as its position shows, is forgotten."""
    if since is not None:
        device.keys.messages = [(position, message) for position, message in device.keys.messages if position > since]
    return [message for _, message in device.keys.messages]


def _receipts(room: Room, user: User, since: int | None) -> JsonObject:
    content: JsonObject = {}
    for (reader, kind, _thread), (event_id, data, position) in room.receipts.items():
        if (since is None or position > since) and (kind != "m.read.private" or reader == user.user_id):
            content.setdefault(event_id, {}).setdefault(kind, {})[reader] = data
    return content


def _account_data(user: User, room: Room | None, since: int | None) -> list[JsonObject]:
    room_id = None if room is None else room.room_id
    return [
        {"type": data_type, "content": content}
        for (of_room, data_type), (content, position) in user.account_data.items()
        if of_room == room_id and (since is None or position > since)
    ]
