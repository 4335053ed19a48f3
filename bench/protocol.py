"""How fast the rules are: `python -m bench.protocol` prints what a call takes of one core, in process CPU time.

Other work on the machine makes a call wait, not longer by this clock; what it does to caches is why each figure is the
best of several runs.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

from tests.protocol.rooms import bare_event
from tests.protocol.scenes import ALICE, KEY, Room
from tricord.protocol.authorization import auth_event_keys, authorize
from tricord.protocol.canonical_json import canonical_json
from tricord.protocol.events import Event, VerifiedEvent, parse_event
from tricord.protocol.identifiers import EventId, UserId, server_name_of
from tricord.protocol.numbered_rules import CREATE, StateKey
from tricord.protocol.room_versions import V1, V10, V11, V12, RoomVersion
from tricord.protocol.state_resolution import EventsInMemory, resolve
from tricord.protocol.strict_json import JsonObject, parse_object
from tricord.protocol.verify import ServerKey, verify

SECONDS = 0.5
MEMBERS = 10_000


def microseconds(call: Callable[[], object], at_once: int = 100) -> float:
    """Return what a call takes, as the best of three runs."""
    best = float("inf")
    for _ in range(3):
        gc.collect()
        count, started = 0, time.process_time()
        while (elapsed := time.process_time() - started) < SECONDS:
            for _ in range(at_once):
                call()
            count += at_once
        best = min(best, elapsed / count)
    return best * 1e6


class ForkedRoom:
    """A public room with many members, two moderators, and events that nobody has signed."""

    def __init__(self, version: RoomVersion, members: int) -> None:
        self.version = version
        self.events: dict[EventId, Event] = {}
        self.last: list[EventId] = []
        self.state: dict[StateKey, EventId] = {}
        self.room_id = "!room:a.test"
        creator = {"creator": ALICE} if version.create_content_names_creator else {}
        create = self.send(ALICE, "m.room.create", "", creator)
        self.room_id = create.room_id
        self.member(ALICE, ALICE, "join")
        levels = {} if version.creators_have_infinite_power else {ALICE: 100}
        self.send(ALICE, "m.room.power_levels", "", {"users": {**levels, self.user(0): 50, self.user(1): 50}})
        self.send(ALICE, "m.room.join_rules", "", {"join_rule": "public"})
        for number in range(members):
            self.member(self.user(number), self.user(number), "join")

    def user(self, number: int) -> UserId:
        return UserId(f"@user{number}:server{number % 97}.test")

    def member(self, sender: UserId, target: UserId, membership: str) -> Event:
        return self.send(sender, "m.room.member", target, {"membership": membership, "displayname": "x" * 10})

    def send(self, sender: UserId, event_type: str, state_key: str, content: JsonObject) -> Event:
        number = len(self.events)
        keys = auth_event_keys(event_type, sender, state_key, content, self.version)
        pdu: JsonObject = {
            "event_id": f"${number * 7919 % 1_000_003:043}",
            "room_id": self.room_id,
            "sender": sender,
            "type": event_type,
            "state_key": state_key,
            "content": content,
            "origin_server_ts": 1_700_000_000_000 + number,
            "depth": number + 1,
            "prev_events": self.last,
            "auth_events": [self.state[key] for key in keys if key in self.state],
        }
        if event_type == "m.room.create" and self.version.room_id_is_create_event_id:
            del pdu["room_id"]
        event = bare_event(self.version, **pdu)
        authorize(event, {key: self.events[self.state[key]] for key in {*keys, CREATE} if key in self.state})
        self.events[event.event_id] = event
        self.last = [event.event_id]
        self.state[event_type, state_key] = event.event_id
        return event

    def fork(self, conflicted: int, side: int) -> dict[StateKey, EventId]:
        """Return the state after as many changes of state on one side of a fork."""
        before = self.state
        self.state = dict(before)
        for number in range(conflicted):
            moderator = self.user(side)
            target = self.user(100 + number + side * (conflicted // 2))
            match number % 10:
                case 0:
                    self.send(ALICE, "m.room.power_levels", "", self._levels(number + side))
                case 1 | 2 | 3:
                    self.member(moderator, target, "ban" if number % 2 else "leave")
                case 4:
                    self.send(moderator, "org.test.state", str(number), {"side": side})
                case 5:
                    self.send(moderator, "m.room.topic", "", {"topic": str(number)})
                case _:
                    self.member(target, target, "join")
        after, self.state = self.state, before
        return after

    def _levels(self, number: int) -> JsonObject:
        levels = {} if self.version.creators_have_infinite_power else {ALICE: 100}
        return {"users": {**levels, self.user(0): 50, self.user(1): 50, self.user(9000): number % 50}}


def resolutions() -> dict[str, Callable[[], object]]:
    """Return resolutions of two forks that differ in so many events."""
    calls: dict[str, Callable[[], object]] = {}
    for version in (V1, V10, V12):
        for conflicted in (50, 1000):
            room = ForkedRoom(version, MEMBERS)
            # Much of what happens on the two sides is to the same users, and some of it replaces other.
            states = [room.fork(conflicted * 9 // 20, side) for side in (0, 1)]
            count = len({*states[0].values()} ^ {*states[1].values()})
            source = EventsInMemory(room.events)
            assert resolve(version, states, source, source)
            name = f"resolve {count} conflicted events, version {version.name}"
            calls[name] = lambda version=version, states=states, events=room.events: resolve(  # type: ignore[misc]
                version, states, EventsInMemory(events), EventsInMemory(events)
            )
    return calls


def main() -> None:
    """Measure with a message of about a kilobyte, and with forks of a large room."""
    room = Room(V11)
    room.join_rule("public")
    room.levels(users={ALICE: 100})
    content = {"msgtype": "m.text", "body": "x" * 300, "m.mentions": {"user_ids": [ALICE]}, "format": "y" * 100}
    event = room.event(ALICE, "m.room.message", None, content)
    pdu = event.pdu
    keys = {(server_name_of(ALICE), KEY.key_id): ServerKey(KEY.public_key, 2**60)}

    def receive() -> None:
        authorize(verify(parse_event(event.json, V11), keys), room.state)

    calls: dict[str, Callable[[], object]] = {
        "canonical_json": lambda: canonical_json(pdu),
        "parse_object": lambda: parse_object(event.json),
        "parse_event": lambda: parse_event(event.json, V11),
        "from_stored": lambda: VerifiedEvent.from_stored(event.json, V11, event.event_id),
        "build_event": lambda: room.event(ALICE, "m.room.message", None, content),
        "authorize": lambda: authorize(event, room.state),
        "parse, verify and authorize": receive,
    }
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, load {os.getloadavg()[0]:.1f}; an event of {len(event.json)} bytes")
    for name, call in calls.items():
        taken = microseconds(call)
        print(f"{name:42} {taken:10.2f} µs {1e6 / taken:12,.0f}/s")
    print(f"two forks of a room of {MEMBERS:,} members")
    for name, call in resolutions().items():
        print(f"{name:42} {microseconds(call, at_once=1) / 1000:10.2f} ms")


if __name__ == "__main__":
    main()
