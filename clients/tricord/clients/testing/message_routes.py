"""Routes of what is said in rooms: sending, redacting, reading it page by page."""

from __future__ import annotations

from collections.abc import Sequence

from tricord.clients.api import messages as api
from tricord.clients.testing.call import Call, Route
from tricord.clients.testing.formats import client_event, wanted_state
from tricord.clients.testing.room import Room, Stored
from tricord.clients.testing.rooms import Rooms
from tricord.clients.testing.world import World, position_of, token
from tricord.protocol.errors import Forbidden, InvalidParam, NotFound
from tricord.protocol.event_filters import RoomEventFilter
from tricord.protocol.identifiers import EventId
from tricord.protocol.strict_json import JsonObject, parse_object

_MOST_EVENTS = 1_000
_MOST_EVENTS_AROUND = 100


class MessageRoutes:
    """Talking, and reading what was said."""

    def __init__(self, world: World, rooms: Rooms) -> None:
        self._world = world
        self._rooms = rooms

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            (api.SendMessage, self.send),
            (api.RedactEvent, self.redact),
            (api.GetMessages, self.messages),
            (api.GetContext, self.context),
            (api.GetEvent, self.event),
        ]

    def send(self, call: Call) -> JsonObject:
        """Send an event, once for each transaction id of a device."""
        room = self._rooms.room(call.path["room_id"])
        transaction = (call.user_id, str(call.device.device_id), "send", call.path["txn_id"])
        stored = room.append(call.user_id, call.path["event_type"], call.body, transaction=transaction)
        return {"event_id": stored.event.event_id}

    def redact(self, call: Call) -> JsonObject:
        """Redact an event, once for each transaction id of a device."""
        room = self._rooms.room(call.path["room_id"])
        room.check_joined(call.user_id)
        target = room.find(call.path["event_id"])
        power = room.power
        if target.event.sender != call.user_id and power.of_user(call.user_id) < power.redact:
            raise Forbidden(f"{call.user_id} may not redact what others have sent")
        transaction = (call.user_id, str(call.device.device_id), "redact", call.path["txn_id"])
        stored = room.append(
            call.user_id,
            "m.room.redaction",
            call.body,
            redacts=EventId(target.event.event_id),
            transaction=transaction,
        )
        return {"event_id": stored.event.event_id}

    def messages(self, call: Call) -> JsonObject:
        """Read a page of history."""
        query: api.GetMessages.Query = call.query
        room, wanted = self._rooms.room_for(call.user, call.path["room_id"]), _filter(call)
        backward = query.dir == "b"
        start = (self._world.position if backward else 0) if query.from_ is None else position_of(query.from_)
        end = None if query.to is None else position_of(query.to)
        departure = room.departure_of(call.user_id)
        if departure is not None and not room.is_world_readable:
            # There is nothing after that for them to read.
            last = departure.position
            start, end = (min(start, last), end) if backward else (start, last if end is None else min(end, last))
        if backward:
            found = self._seen(call, room, wanted, after=end or 0, upto=start)[::-1]
        else:
            found = self._seen(call, room, wanted, after=start, upto=end)
        page = found[: _limit(query.limit, wanted, _MOST_EVENTS)]
        answer: JsonObject = {"start": token(start), "chunk": self._shown(call, page)}
        if len(page) < len(found):
            last = page[-1].position if page else start
            answer["end"] = token(last - 1 if backward and page else last)
        return answer

    def context(self, call: Call) -> JsonObject:
        """Read an event and its surroundings."""
        room, target = self._find(call)
        wanted = _filter(call)
        limit = _limit(call.query.limit, wanted, _MOST_EVENTS_AROUND)
        seen = self._seen(call, room, wanted)
        before = [stored for stored in seen if stored.position < target.position]
        before = before[len(before) - min(limit // 2, len(before)) :]
        after = [stored for stored in seen if stored.position > target.position][: limit - limit // 2]
        around = [*before, target, *after]
        return {
            "start": token(around[0].position - 1),
            "end": token(around[-1].position),
            "event": client_event(target, call.device, self._world),
            "events_before": self._shown(call, before[::-1]),
            "events_after": self._shown(call, after),
            "state": self._shown(call, wanted_state(around[-1].after.values(), around, wanted, room)),
        }

    def event(self, call: Call) -> JsonObject:
        """Read one event."""
        return client_event(self._find(call)[1], call.device, self._world)

    def _find(self, call: Call) -> tuple[Room, Stored]:
        room = self._rooms.room(call.path["room_id"])
        target = room.find(call.path["event_id"])
        if target not in room.visible(call.user_id):
            raise NotFound(f"there is no event {target.event.event_id} that {call.user_id} can see")
        return room, target

    def _seen(
        self, call: Call, room: Room, wanted: RoomEventFilter, *, after: int = 0, upto: int | None = None
    ) -> list[Stored]:
        if not wanted.allows_room(room.room_id):
            return []
        seen = room.visible(call.user_id, after=after, upto=upto)
        return [stored for stored in seen if wanted.allows(stored.event)]

    def _shown(self, call: Call, events: Sequence[Stored]) -> list[JsonObject]:
        return [client_event(stored, call.device, self._world) for stored in events]


def _filter(call: Call) -> RoomEventFilter:
    text = call.query.filter
    return RoomEventFilter() if text is None else RoomEventFilter.parse(parse_object(text))


def _limit(limit: int, wanted: RoomEventFilter, most: int) -> int:
    if limit < 0:
        raise InvalidParam("`limit` is negative")
    return min(limit, most if wanted.limit is None else wanted.limit, most)
