"""What clients want beside rooms: their account data, receipts, who types, and what end-to-end encryption needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tricord.clients.api.sliding_sync import Extensions, RoomExtension
from tricord.homeserver.rooms.aggregations import THREAD
from tricord.homeserver.rooms.client_format import Reader
from tricord.homeserver.rooms.receipts import shown_to
from tricord.homeserver.rooms.thread_updates import Asked, ThreadUpdates, Updates
from tricord.homeserver.rooms.threads import relation
from tricord.homeserver.storage.account_data import account_data_in_rooms
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.receipts import receipts_on_events
from tricord.homeserver.storage.typing import typing_in
from tricord.homeserver.sync.delta import Json
from tricord.homeserver.sync.sections.account_data import AccountDataNews, AccountDataSection, account_data_event
from tricord.homeserver.sync.sections.ephemeral import receipt_event, typing_event
from tricord.homeserver.sync.sliding.devices import SlidingDevices
from tricord.homeserver.sync.sliding.lists import LookedAt
from tricord.homeserver.sync.sliding.rooms import Room
from tricord.homeserver.sync.sliding.told import ACCOUNT_DATA, RECEIPTS, TYPING, RoomTold
from tricord.homeserver.sync.viewer import Viewer
from tricord.homeserver.sync.windows import Windows
from tricord.homeserver.together import together
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_ALL = "*"
_UNSTABLE_THREADS = "io.element.msc4360.threads"


@dataclass(slots=True)
class Extras:
    """What is told beside rooms."""

    answers: dict[str, Any] = field(default_factory=dict)
    is_news: bool = False
    # Of each room, the extensions that have begun to be told.
    begun: dict[RoomId, int] = field(default_factory=dict)

    def add(self, name: str, answer: JsonObject, *, is_news: bool) -> None:
        """Tell what an extension answers."""
        self.answers[name] = answer
        self.is_news = self.is_news or is_news

    def add_of_rooms(self, name: str, events: Mapping[RoomId, Json]) -> None:
        """Tell what an extension answers that has one event for a room."""
        rooms = {room_id: orjson.Fragment(event) for room_id, event in events.items()}
        self.add(name, {"rooms": rooms}, is_news=bool(events))

    def begin(self, room_id: RoomId, extension: int) -> None:
        """Note that an extension is told of a room, from now on."""
        self.begun[room_id] = self.begun.get(room_id, 0) | extension


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer in the making."""

    viewer: Viewer
    wanted: Extensions
    looked_at: LookedAt
    subscriptions: Collection[RoomId]
    joined: Collection[RoomId]
    told: Mapping[RoomId, RoomTold]
    told_account_data: bool
    rooms: Mapping[RoomId, Room]
    data: AccountDataNews
    since: int | None
    upto: int
    ignored: frozenset[UserId]

    def scope(self, wanted: RoomExtension) -> list[RoomId]:
        """Return the rooms that an extension is wanted of."""
        rooms: dict[RoomId, None] = {}
        for name, window in self.looked_at.windows.items():
            if wanted.lists is None or _ALL in wanted.lists or name in wanted.lists:
                rooms.update(dict.fromkeys(window))
        of_all = wanted.rooms is None or _ALL in wanted.rooms
        rooms.update((r, None) for r in self.subscriptions if of_all or r in (wanted.rooms or ()))
        return [room_id for room_id in rooms if room_id in self.joined]

    def has_begun(self, room_id: RoomId, extension: int) -> bool:
        """Return whether a client is told what is new of an extension, and not all there is."""
        told, room = self.told.get(room_id), self.rooms.get(room_id)
        is_new = told is None or (room is not None and room.initial)
        return not is_new and told is not None and bool(told.extensions & extension)

    def after(self, room_id: RoomId) -> int:
        """Return up to where a client has been told of a room."""
        told = self.told[room_id]
        return told.upto if told.upto is not None else self.since or 0


class ExtensionReader:
    """Reads what is told beside rooms."""

    def __init__(
        self,
        database: Database,
        windows: Windows,
        account_data: AccountDataSection,
        devices: SlidingDevices,
        threads: ThreadUpdates,
    ) -> None:
        self._database = database
        self._windows = windows
        self._account_data = account_data
        self._devices = devices
        self._threads = threads

    async def read(self, turn: Turn) -> Extras:
        """Return what is new."""
        extras, wanted = Extras(), turn.wanted
        reads = (
            (wanted.to_device, self._add_messages),
            (wanted.e2ee, self._add_encryption),
            (wanted.account_data, self._add_account_data),
            (wanted.receipts, self._add_receipts),
            (wanted.typing, self._add_typing),
            (wanted.threads, self._add_threads),
            (wanted.unstable_threads, self._add_threads_as_once),
        )
        await together(*(read(turn, extras) for extension, read in reads if extension.enabled))
        _keep_begun(turn, extras)
        return extras

    async def _add_messages(self, turn: Turn, extras: Extras) -> None:
        since, limit = turn.wanted.to_device.since, turn.wanted.to_device.limit
        events, token = await self._devices.messages(turn.viewer, since, turn.upto, limit=limit)
        extras.add("to_device", {"next_batch": token, "events": _fragments(events)}, is_news=bool(events))

    async def _add_encryption(self, turn: Turn, extras: Extras) -> None:
        answer, is_news = await self._devices.encryption(turn.viewer, turn.since, turn.upto)
        extras.add("e2ee", answer, is_news=is_news)

    async def _add_account_data(self, turn: Turn, extras: Extras) -> None:
        of_account, of_rooms = await together(
            self._account_data_of_account(turn), self._account_data_of_rooms(turn, extras)
        )
        rooms = {room_id: _fragments(events) for room_id, events in of_rooms.items()}
        answer = {"global": _fragments(of_account), "rooms": rooms}
        extras.add("account_data", answer, is_news=bool(of_account or of_rooms))

    async def _account_data_of_account(self, turn: Turn) -> Sequence[Json]:
        if turn.told_account_data:
            return turn.data.of_account
        return await self._account_data.of_account(turn.viewer, turn.upto)

    async def _account_data_of_rooms(self, turn: Turn, extras: Extras) -> Mapping[RoomId, Sequence[Json]]:
        of_rooms: dict[RoomId, list[Json]] = {}
        to_read: dict[RoomId, int] = {}
        for room_id in turn.scope(turn.wanted.account_data):
            if not turn.has_begun(room_id, ACCOUNT_DATA):
                to_read[room_id] = 0
            elif turn.after(room_id) != turn.since:
                to_read[room_id] = turn.after(room_id)
            elif room_id in turn.data.of_rooms:
                of_rooms[room_id] = turn.data.of_rooms[room_id]
            extras.begin(room_id, ACCOUNT_DATA)
        if to_read:
            user_id, rooms = turn.viewer.user_id, list(to_read)
            for datum in await self._database.read(account_data_in_rooms, user_id, rooms, upto=turn.upto):
                if datum.room_id is not None and datum.position > to_read[datum.room_id]:
                    of_rooms.setdefault(datum.room_id, []).append(account_data_event(datum.type, datum.content))
        return of_rooms

    async def _add_receipts(self, turn: Turn, extras: Extras) -> None:
        told: dict[RoomId, Json] = {}
        new: list[RoomId] = []
        for room_id in turn.scope(turn.wanted.receipts):
            room = turn.rooms.get(room_id)
            if not turn.has_begun(room_id, RECEIPTS):
                new.append(room_id)
            elif room is not None and room.window is not None:
                event = receipt_event(shown_to(turn.viewer.user_id, room.window.receipts, turn.ignored))
                if event is not None:
                    told[room_id] = event
            extras.begin(room_id, RECEIPTS)
        if new:
            # Of a room that begins, whoever has read what is shown of it: in a big one there may be thousands.
            shown = [e.event.event_id for r in new if (room := turn.rooms.get(r)) is not None for e in room.events]
            found = await self._database.read(receipts_on_events, turn.viewer.user_id, new, shown)
            for room_id, receipts in found.items():
                event = receipt_event(shown_to(turn.viewer.user_id, receipts, turn.ignored))
                if event is not None:
                    told[room_id] = event
        extras.add_of_rooms("receipts", told)

    async def _add_typing(self, turn: Turn, extras: Extras) -> None:
        told: dict[RoomId, Json | None] = {}
        new: dict[RoomId, list[UserId]] = {}
        for room_id in turn.scope(turn.wanted.typing):
            room = turn.rooms.get(room_id)
            if not turn.has_begun(room_id, TYPING):
                new[room_id] = []
            elif room is not None and room.window is not None and room.window.typing is not None:
                told[room_id] = typing_event(room.window.typing, turn.ignored, begins=False)
            extras.begin(room_id, TYPING)
        if new:
            for room_id, user_id, _ in await self._database.read(typing_in, list(new)):
                new[room_id].append(user_id)
            told |= {room_id: typing_event(users, turn.ignored, begins=True) for room_id, users in new.items()}
        extras.add_of_rooms("typing", {room_id: event for room_id, event in told.items() if event is not None})

    async def _add_threads(self, turn: Turn, extras: Extras, name: str = "threads") -> None:
        wanted = turn.wanted.threads if name == "threads" else turn.wanted.unstable_threads
        rooms = turn.joined
        if turn.since is not None:
            rooms = await self._windows.rooms_changed(turn.joined, turn.since, turn.upto)
        updates = Updates()
        if rooms:
            updates = await self._threads.of(
                Reader(turn.viewer.user_id, turn.viewer.device_id),
                rooms,
                Asked(turn.since or 0, turn.upto, wanted.limit, include_roots=wanted.include_roots),
                _told_of_threads(turn),
            )
        if updates.by_room:
            answer: JsonObject = {"updates": updates.by_room}
            if updates.next is not None:
                answer["prev_batch"] = updates.next
            extras.add(name, answer, is_news=True)

    async def _add_threads_as_once(self, turn: Turn, extras: Extras) -> None:
        await self._add_threads(turn, extras, _UNSTABLE_THREADS)


def _told_of_threads(turn: Turn) -> Mapping[EventId, int]:
    """Return how many new events of each thread the timelines of the answer have."""
    told: Counter[EventId] = Counter()
    for room in turn.rooms.values():
        for stored in room.events:
            related = relation(stored.event)
            if related is not None and related[0] == THREAD and stored.place.position > (turn.since or 0):
                told[related[1]] += 1
    return told


def _keep_begun(turn: Turn, extras: Extras) -> None:
    """Go on with what had begun and is not asked for now, where nothing was missed."""
    for room_id, told in turn.told.items():
        kept = told.extensions & ~extras.begun.get(room_id, 0)
        if room_id in turn.data.of_rooms:
            kept &= ~ACCOUNT_DATA
        room = turn.rooms.get(room_id)
        if room is not None:
            passed = room.window is None or room.window.receipts or room.window.typing is not None
            kept = 0 if room.initial else kept & ~(RECEIPTS | TYPING) if passed else kept
        if kept:
            extras.begin(room_id, kept)


def _fragments(events: Iterable[Json]) -> list[orjson.Fragment]:
    return [orjson.Fragment(event) for event in events]
