"""Random histories of small rooms: forks, bans, fights for power; every event is one that the oracle allows."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.protocol.oracle.auth_rules import Pdu, is_allowed, selected_auth_events
from tests.protocol.oracle.state_resolution import Oracle, StateMap

ALICE, BOB, CAROL, DAVE = USERS = ("@alice:a.test", "@bob:b.test", "@carol:c.test", "@dave:a.test")
MOST_EVENTS = 60

_LEVELS = (0, 0, 10, 50, 50, 75, 100)
_RULES = ("public", "public", "invite", "knock", "restricted", "knock_restricted")


@dataclass(frozen=True)
class Attempt:
    """An event that somebody tried to send, the state before it, and what the oracle said."""

    event: Pdu
    state: StateMap
    allowed: bool


@dataclass(frozen=True)
class Merge:
    """States after the ends of a fork, and what the oracle made of them."""

    states: Sequence[StateMap]
    resolved: StateMap


@dataclass
class History:
    """A room that grows by `grow`; `attempts` and `merges` are what there is to compare."""

    random: Random
    version: int
    events: dict[str, Pdu] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    merges: list[Merge] = field(default_factory=list)
    room_id: str = "!room:a.test"

    def grow(self) -> None:
        """Let the room live: a common beginning, then forks that are joined again."""
        oracle = Oracle(self.events, self.version)
        tips, state = self._beginning()
        size = self.random.choice((14, 18, 24, MOST_EVENTS))
        # A room in which nobody may do anything any more does not grow.
        while len(self.events) < size and len(self.attempts) < 3 * MOST_EVENTS:
            forks = []
            for _ in range(self.random.choice((2, 2, 2, 3, 4))):
                length = self.random.randint(1, min(10, max(1, MOST_EVENTS - len(self.events))))
                forks.append(self._live(tips, state, length))
            states = [fork_state for _, fork_state in forks]
            tips = list(dict.fromkeys(tip for fork_tips, _ in forks for tip in fork_tips))
            state = oracle.resolve(states)
            self.merges.append(Merge(states, state))

    def _beginning(self) -> tuple[list[str], StateMap]:
        content: dict[str, Any] = {"room_version": str(self.version)}
        if self.version <= 10:
            content["creator"] = ALICE
        if self.version >= 12 and self.random.random() < 0.3:
            content["additional_creators"] = [BOB]
        state: StateMap = {}
        tips: list[str] = []
        for sender, event_type, state_key, more in self._first_events(content):
            tips, state = self._send(tips, state, sender, event_type, state_key, more)
        return tips, state

    def _first_events(self, create: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
        yield ALICE, "m.room.create", "", create
        yield ALICE, "m.room.member", ALICE, {"membership": "join"}
        if self.random.random() < 0.8:
            users = {} if self.version >= 12 else {ALICE: 100}
            if BOB not in create.get("additional_creators", ()):
                users[BOB] = self.random.choice((50, 100))
            yield ALICE, "m.room.power_levels", "", {"users": users}
        yield ALICE, "m.room.join_rules", "", {"join_rule": "public"}
        for user in USERS[1:]:
            if self.random.random() < 0.8:
                yield user, "m.room.member", user, {"membership": "join"}
        if self.random.random() < 0.4:
            yield ALICE, "m.room.join_rules", "", {"join_rule": self.random.choice(_RULES)}

    def _live(self, tips: list[str], state: StateMap, length: int) -> tuple[list[str], StateMap]:
        for _ in range(length):
            tips, state = self._send(tips, state, *self._something_to_do(state))
        return tips, state

    def _send(
        self,
        tips: list[str],
        state: StateMap,
        sender: str,
        event_type: str,
        state_key: str,
        content: dict[str, Any],
    ) -> tuple[list[str], StateMap]:
        """Try an event; return where the room is after it."""
        before = {key: self.events[event_id] for key, event_id in state.items()}
        # A random beginning, so that ties by event id go either way.
        event_id = f"${self.random.choice('abcdefgh')}{len(self.attempts)}"
        event: Pdu = {
            "event_id": event_id + (":" + sender.partition(":")[2] if self.version <= 2 else ""),
            "room_id": self.room_id,
            "sender": sender,
            "type": event_type,
            "state_key": state_key,
            "content": content,
            "origin_server_ts": len(self.events) // 3 + self.random.randint(0, 4),
            "depth": 1 + max((self.events[tip]["depth"] for tip in tips), default=0),
            "prev_events": tips,
            "signatures": {server: {} for server in ("a.test", "b.test", "c.test")},
        }
        event["auth_events"] = selected_auth_events(event, before, self.version)
        if self.version >= 12 and event_type == "m.room.create":
            self.room_id = f"!{event_id[1:]}"
            del event["room_id"]
        allowed = is_allowed(event, before, self.version)
        self.attempts.append(Attempt(event, state, allowed))
        if not allowed:
            return tips, state
        self.events[event["event_id"]] = event
        return [event["event_id"]], {**state, (event_type, state_key): event["event_id"]}

    def _something_to_do(self, state: StateMap) -> tuple[str, str, str, dict[str, Any]]:
        sender, other = self.random.choice(USERS), self.random.choice(USERS)
        match self.random.randrange(12):
            case 0 | 1:
                return sender, "m.room.member", sender, self._join()
            case 2:
                return sender, "m.room.member", sender, {"membership": "leave"}
            case 3 | 4:
                membership = self.random.choice(("leave", "ban", "ban", "invite"))
                return sender, "m.room.member", other, {"membership": membership}
            case 5:
                return sender, "m.room.member", sender, {"membership": "knock"}
            case 6 | 7 | 8:
                return sender, "m.room.power_levels", "", self._power_levels(state)
            case 9:
                return sender, "m.room.join_rules", "", {"join_rule": self.random.choice(_RULES)}
            case 10:
                return sender, "m.room.topic", "", {"topic": str(len(self.attempts))}
            case _:
                return sender, "org.test.mine", self.random.choice((sender, other)), {}

    def _join(self) -> dict[str, Any]:
        content = {"membership": "join", "displayname": str(len(self.attempts))}
        if self.random.random() < 0.3:
            content["join_authorised_via_users_server"] = self.random.choice(USERS)
        return content

    def _power_levels(self, state: StateMap) -> dict[str, Any]:
        """Return the power levels as they are, with a change or two."""
        event_id = state.get(("m.room.power_levels", ""))
        content: dict[str, Any] = (
            copy.deepcopy(self.events[event_id]["content"]) if event_id else {"users": {ALICE: 100}}
        )
        for _ in range(self.random.randint(1, 2)):
            level: Any = self.random.choice(_LEVELS)
            if self.version <= 9 and self.random.random() < 0.1:
                level = f" {level}"
            match self.random.randrange(6):
                case 0 | 1 | 2:
                    content.setdefault("users", {})[self.random.choice(USERS)] = level
                case 3:
                    content[self.random.choice(("ban", "kick", "invite", "users_default", "state_default"))] = level
                case 4:
                    table = content.setdefault(self.random.choice(("events", "notifications")), {})
                    table[self.random.choice(("m.room.topic", "m.room.power_levels", "room"))] = level
                case _:
                    content.get("users", {}).pop(self.random.choice(USERS), None)
        return content
