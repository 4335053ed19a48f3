"""What syncs tell of rooms, as far as encryption depends on it: encryption itself, members, history visibility."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from tricord.clients.encryption.devices import MEGOLM
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import owed_keys as stored_owed
from tricord.clients.encryption.stored import rooms as stored
from tricord.clients.encryption.stored.rooms import HUNDRED_MESSAGES, WEEK_MS, EncryptedRoom
from tricord.protocol.identifiers import RoomId, UserId, is_valid_user_id
from tricord.protocol.strict_json import JsonObject

_HOUR_MS = 3_600_000
_MOST_MESSAGES = 10_000
_TYPES = frozenset({"m.room.encryption", "m.room.member", "m.room.history_visibility"})


class Rooms:
    """Encrypted rooms. Of others nothing is kept."""

    def __init__(self, store: Store, user_id: UserId) -> None:
        self._store = store
        self._user_id = user_id
        # Not encrypted when their state was read; what comes after that we are told of, as long as we follow.
        self._plain: set[RoomId] = set()
        self._changed_meanwhile: set[RoomId] = set()

    def is_encrypted(self, room_id: RoomId) -> bool | None:
        """Return whether a room is encrypted; None if its state is to be read first."""
        if stored.room(self._store, room_id) is not None:
            return True
        return False if room_id in self._plain else None

    def note_plain(self, room_id: RoomId) -> None:
        """Take in that a room is not encrypted; until we hear otherwise, if we hear of what happens."""
        if stored.room(self._store, room_id) is None:
            self._plain.add(room_id)

    def forget_plain(self) -> None:
        """Take for unknown whether rooms are encrypted that were not: it may have changed unseen."""
        self._plain.clear()

    def only_followed(self, room_ids: Collection[RoomId]) -> None:
        """Take in that we are told of everything in some rooms, and may have missed something in all others."""
        self._plain &= set(room_ids)
        stored.forget_members_except(self._store, room_ids)

    def missed_something(self) -> None:
        """Take in that we do not know what happened since the last sync."""
        self.forget_plain()
        stored.forget_all_members(self._store)

    def take(self, sections: Any, *, members_are_complete: bool) -> None:
        """Take in the rooms of a sync. Where gaps do not tell of all members, these are to be read again."""
        for room_id, room in _items(sections, "join"):
            timeline = room.get("timeline")
            events = [*_state_of(room), *_events(timeline)]
            # The state of a whole section may come after the timeline: what is newest is applied last.
            after = _events(room.get("state_after"))
            if self._apply(room_id, [*events, *after]):
                self._changed_meanwhile.add(room_id)
            limited = timeline.get("limited") if isinstance(timeline, dict) else None
            if limited and not members_are_complete:
                self._uncertain(room_id)
        for room_id, _ in _items(sections, "leave"):
            # Who comes back finds others there.
            stored.end_own_session(self._store, room_id)
            stored_owed.forget_room(self._store, room_id)
            self._uncertain(room_id)
            self._plain.discard(room_id)

    def take_state(self, room_id: RoomId, state: Any) -> None:
        """Take in the whole state of a room."""
        events = [event for event in state if isinstance(event, dict)] if isinstance(state, list) else []
        is_encrypted = any(event.get("type") == "m.room.encryption" for event in events)
        if not is_encrypted and stored.room(self._store, room_id) is None:
            self._plain.add(room_id)
            return
        present = {
            event["state_key"]
            for event in events
            if event.get("type") == "m.room.member"
            and isinstance(event.get("state_key"), str)
            and _membership(event) in {"join", "invite"}
        }
        # Encryption first: in rooms without it members are not kept.
        self._apply(room_id, sorted(events, key=lambda event: event.get("type") != "m.room.encryption"))
        for user_id in stored.members(self._store, room_id, invited=True) - present:
            self._take_member(room_id, user_id, "leave")
        room = stored.room(self._store, room_id)
        if room is not None:
            stored.keep_room(self._store, replace(room, complete=room_id not in self._changed_meanwhile))

    def reading_state(self, room_id: RoomId) -> None:
        """Take in that the state of a room is being read: if it changes meanwhile, the answer may be out of date."""
        self._changed_meanwhile.discard(room_id)

    def _apply(self, room_id: RoomId, events: Iterable[JsonObject]) -> bool:
        """Apply state events, and return whether there are any that matter."""
        matter = False
        for event in events:
            event_type, state_key, content = event.get("type"), event.get("state_key"), event.get("content")
            if event_type not in _TYPES or not isinstance(state_key, str) or not isinstance(content, dict):
                continue
            matter = True
            if event_type == "m.room.encryption" and state_key == "":
                self._take_encryption(room_id, content)
            elif event_type == "m.room.member" and is_valid_user_id(state_key):
                if stored.room(self._store, room_id) is not None:
                    self._take_member(room_id, state_key, _membership(event))
            elif event_type == "m.room.history_visibility" and state_key == "":
                self._take_visibility(room_id, content.get("history_visibility"))
        return matter

    def _take_encryption(self, room_id: RoomId, content: JsonObject) -> None:
        """https://spec.matrix.org/v1.19/client-server-api/#mroomencryption ."""
        algorithm = content.get("algorithm")
        if not isinstance(algorithm, str):
            return
        self._plain.discard(room_id)
        known = stored.room(self._store, room_id)
        if known is not None and known.algorithm == MEGOLM:
            algorithm = MEGOLM
        room = replace(
            known or EncryptedRoom(room_id, algorithm),
            algorithm=algorithm,
            rotation_ms=_bounded(content.get("rotation_period_ms"), WEEK_MS, _HOUR_MS, 4 * WEEK_MS),
            rotation_messages=_bounded(content.get("rotation_period_msgs"), HUNDRED_MESSAGES, 1, _MOST_MESSAGES),
        )
        if room != known:
            stored.keep_room(self._store, room)

    def _take_member(self, room_id: RoomId, user_id: UserId, membership: str) -> None:
        before = stored.membership(self._store, room_id, user_id)
        now = membership if membership in {"join", "invite"} else None
        if now is None:
            # They may have the key, even if we have not seen them here. Who never knocked successfully has not.
            if before is not None or membership != "knock":
                stored.end_own_session(self._store, room_id)
                stored_owed.forget_member(self._store, room_id, user_id)
        elif before != now:
            stored.set_ready(self._store, room_id, 0)
        if before != now:
            stored.set_membership(self._store, room_id, user_id, membership)

    def _take_visibility(self, room_id: RoomId, visibility: Any) -> None:
        """https://spec.matrix.org/v1.19/client-server-api/#shareable-encryption-sessions ."""
        room = stored.room(self._store, room_id)
        if room is None or not isinstance(visibility, str) or visibility == room.history_visibility:
            return
        stored.keep_room(self._store, replace(room, history_visibility=visibility))
        stored.end_own_session(self._store, room_id)

    def _uncertain(self, room_id: RoomId) -> None:
        room = stored.room(self._store, room_id)
        if room is not None:
            stored.keep_room(self._store, replace(room, complete=False))
            stored.set_ready(self._store, room_id, 0)


def _bounded(value: Any, default: int, least: int, most: int) -> int:
    """Return a foreign number, or the default; not so small or large that it would harm."""
    return min(max(value, least), most) if type(value) is int else default


def _items(sections: Any, name: str) -> list[tuple[RoomId, JsonObject]]:
    rooms = sections.get(name) if isinstance(sections, dict) else None
    if not isinstance(rooms, dict):
        return []
    return [(RoomId(room_id), room) for room_id, room in rooms.items() if isinstance(room, dict)]


def _state_of(room: JsonObject) -> list[JsonObject]:
    return _events(room.get("state"))


def _events(section: Any) -> list[JsonObject]:
    events = section.get("events") if isinstance(section, dict) else None
    return [event for event in events if isinstance(event, dict)] if isinstance(events, list) else []


def _membership(event: JsonObject) -> str:
    content = event.get("content")
    membership = content.get("membership") if isinstance(content, dict) else None
    return membership if isinstance(membership, str) else "leave"
