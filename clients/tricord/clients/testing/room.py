"""A room in memory: its events in order, its state, and who may see which of them.

Events are made and judged by the same rules as on a real homeserver, `tricord.protocol`: what a bot may not do there it
may not do here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from tricord.clients.testing.world import World
from tricord.protocol.authorization import auth_event_keys, authorize, may_redact
from tricord.protocol.errors import EventRejected, Forbidden, NotFound
from tricord.protocol.events import Event, VerifiedEvent, build_event, redacted_copy
from tricord.protocol.history_visibility import WORLD_READABLE, Standing, may_see, visibility_of
from tricord.protocol.identifiers import EventId, RoomId, UserId
from tricord.protocol.numbered_rules import CREATE, JOIN_RULES, POWER_LEVELS, StateKey
from tricord.protocol.power_levels import PowerLevels
from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.strict_json import JsonObject, check_event_integers

MEMBER = "m.room.member"
_VISIBILITY: StateKey = ("m.room.history_visibility", "")

# Which device sent an event, and with which transaction id of which endpoint: once each.
Transaction = tuple[UserId, str, str, str]


@dataclass(slots=True, eq=False)
class Stored:
    """An event in its place in the room."""

    event: VerifiedEvent
    position: int
    before: State
    """The state before it."""
    after: State
    transaction: Transaction | None = None
    redacted_because: Stored | None = None

    @property
    def key(self) -> StateKey:
        """Its place in the state, if it is a state event."""
        return self.event.type, self.event.state_key or ""

    @property
    def replaces(self) -> Stored | None:
        """The state event that stood in its place before."""
        return self.before.get(self.key) if self.event.is_state else None

    @property
    def membership(self) -> str:
        """The membership that it gives, if it is a member event."""
        return str(self.event.content.get("membership", "leave"))


State = Mapping[StateKey, Stored]


class Room:
    """What happened, and what holds now."""

    def __init__(self, world: World, version: RoomVersion) -> None:
        self.version = version
        self.room_id = RoomId("")
        self.timeline: list[Stored] = []
        self.state: State = {}
        self.typing: frozenset[UserId] = frozenset()
        self.typing_position = 0
        self.typing_ends: dict[UserId, float] = {}
        # Of a user, a kind and a thread: the content, and the position.
        self.receipts: dict[tuple[UserId, str, str | None], tuple[EventId, JsonObject, int]] = {}
        self._world = world
        self._by_id: dict[EventId, Stored] = {}
        self._sent: dict[Transaction, Stored] = {}

    def append(
        self,
        sender: UserId,
        event_type: str,
        content: JsonObject,
        state_key: str | None = None,
        *,
        redacts: EventId | None = None,
        transaction: Transaction | None = None,
    ) -> Stored:
        """Add an event; what was sent or set already is not added again. Raises Forbidden, BadJson or TooLarge."""
        if transaction is not None and transaction in self._sent:
            return self._sent[transaction]
        check_event_integers(content)
        event = self._build(sender, event_type, content, state_key, redacts)
        try:
            authorize(event, {key: stored.event for key, stored in self.state.items()})
        except EventRejected as reason:
            raise Forbidden(str(reason)) from reason
        current = None if state_key is None else self.state.get((event_type, state_key))
        if current is not None and current.event.sender == sender and _same(current.event.content, content):
            return current
        before = self.state
        stored = Stored(event, self._world.take_position(), before, before, transaction)
        if state_key is not None:
            self.state = stored.after = {**before, (event_type, state_key): stored}
        if event_type == "m.room.create":
            self.room_id = event.room_id
        self.timeline.append(stored)
        self._by_id[event.event_id] = stored
        if transaction is not None:
            self._sent[transaction] = stored
        if redacts is not None:
            self._redact(stored)
        return stored

    def find(self, event_id: str) -> Stored:
        """Return an event. Raises NotFound."""
        stored = self._by_id.get(EventId(event_id))
        if stored is None:
            raise NotFound(f"there is no event {event_id} in {self.room_id}")
        return stored

    @property
    def power(self) -> PowerLevels:
        """Who may do what."""
        levels = self.state.get(POWER_LEVELS)
        return PowerLevels(self.state[CREATE].event, None if levels is None else levels.event)

    @property
    def join_rule(self) -> str:
        """The rule for joining; without one, invitations are needed."""
        stored = self.state.get(JOIN_RULES)
        return "invite" if stored is None else str(stored.event.content.get("join_rule", "invite"))

    @property
    def is_world_readable(self) -> bool:
        """Whether anybody may read it, from now on."""
        return _visibility(self.state) == WORLD_READABLE

    def membership(self, user_id: str) -> str | None:
        """Return what a user is to the room; None if they never had to do with it."""
        return membership_in(self.state, user_id)

    def members(self, membership: str) -> list[UserId]:
        """Return the users of one membership."""
        return [UserId(key) for kind, key in self.state if kind == MEMBER and self.membership(key) == membership]

    def check_joined(self, user_id: UserId) -> None:
        """Refuse users who are not in the room."""
        if self.membership(user_id) != "join":
            raise Forbidden(f"{user_id} is not in {self.room_id}")

    def check_may_ban(self, user_id: UserId) -> None:
        """Refuse users who are not in the room, or too low to ban others from it and to lift bans."""
        self.check_joined(user_id)
        level, needed = self.power.of_user(user_id), self.power.ban
        if level < needed:
            raise Forbidden(f"{user_id} has power level {level}, and bans need {needed}")

    def changes_of(self, user_id: UserId) -> list[Stored]:
        """Return the events that changed what a user is to the room, or their name in it, oldest first."""
        changes: list[Stored] = []
        stored = self.state.get((MEMBER, user_id))
        while stored is not None:
            changes.append(stored)
            stored = stored.replaces
        return changes[::-1]

    def state_for(self, user_id: UserId) -> State:
        """Return the state that a user may read: that of now, or of when they left. Raises Forbidden."""
        if self.membership(user_id) == "join" or self.is_world_readable:
            return self.state
        departure = self.departure_of(user_id)
        if departure is None:
            raise Forbidden(f"{user_id} may not read {self.room_id}")
        return departure.after

    def departure_of(self, user_id: UserId) -> Stored | None:
        """Return how a user left the room, if they were in it and no longer are."""
        left: Stored | None = None
        for change in reversed(self.changes_of(user_id)):
            if change.membership == "join":
                return left
            left = change
        return None

    def state_at(self, position: int) -> State:
        """Return the state of when everything up to a position had happened."""
        state: State = {}
        for stored in self.timeline:
            if stored.position > position:
                break
            state = stored.after
        return state

    def between(self, after: int, upto: int | None) -> list[Stored]:
        """Return what happened after one position and up to another."""
        return [
            stored for stored in self.timeline if after < stored.position and (upto is None or stored.position <= upto)
        ]

    def visible(self, user_id: UserId, *, after: int = 0, upto: int | None = None) -> Iterator[Stored]:
        """Return what a user may see of what happened after one position and up to another.

        https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility
        """
        joins = [change.position for change in self.changes_of(user_id) if change.membership == "join"]
        last_join = joins[-1] if joins else 0
        for stored in self.between(after, upto):
            own = stored.event.type == MEMBER and stored.event.state_key == user_id
            if own or may_see(
                Standing(_visibility(stored.before), membership_in(stored.before, user_id)),
                Standing(_visibility(stored.after), membership_in(stored.after, user_id)),
                joined_later=last_join > stored.position,
            ):
                yield stored

    def _build(
        self, sender: UserId, event_type: str, content: JsonObject, state_key: str | None, redacts: EventId | None
    ) -> VerifiedEvent:
        keys = auth_event_keys(event_type, sender, state_key, content, self.version)
        last = self.timeline[-1].event if self.timeline else None
        is_create = event_type == "m.room.create"
        return build_event(
            version=self.version,
            room_id=None if is_create and self.version.room_id_is_create_event_id else self.room_id,
            sender=sender,
            type=event_type,
            state_key=state_key,
            content=content,
            origin_server_ts=self._world.next_event_ms(),
            depth=1 if last is None else last.depth + 1,
            prev_events=[] if last is None else [last.event_id],
            auth_events=[self.state[key].event.event_id for key in keys if key in self.state],
            redacts=redacts,
            server_name=self._world.server_name,
            key=self._world.key,
        )

    def _redact(self, redaction: Stored) -> None:
        target = self._by_id.get(redaction.event.redacts or EventId(""))
        state: dict[StateKey, Event] = {key: stored.event for key, stored in self.state.items()}
        if target is not None and may_redact(redaction.event, target.event, state):
            target.event, target.redacted_because = redacted_copy(target.event), redaction


def membership_in(state: State, user_id: str) -> str | None:
    """Return what a user is to a room in some state of it."""
    stored = state.get((MEMBER, user_id))
    return None if stored is None else stored.membership


def _visibility(state: State) -> str:
    stored = state.get(_VISIBILITY)
    return visibility_of(None if stored is None else stored.event.content)


def _same(one: JsonObject, other: JsonObject) -> bool:
    # Not `==`: to Python, True is 1.
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)
