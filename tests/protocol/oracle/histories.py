"""Random histories of small rooms, as the oracle judges them: forks, bans, fights for power, and servers that cheat."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.protocol.oracle.auth_rules import Pdu, are_auth_events_right, is_allowed, selected_auth_events
from tests.protocol.oracle.signed_invites import OFFER, TOKEN, signed_for
from tests.protocol.oracle.state_resolution import Oracle, StateMap
from tests.protocol.oracle.state_resolution_v1 import OracleV1

ALICE, BOB, CAROL, DAVE = USERS = ("@alice:a.test", "@bob:b.test", "@carol:c.test", "@dave:a.test")
SERVERS = ("a.test", "b.test", "c.test")
MOST_EVENTS = 60

_LEVELS = (0, 0, 10, 50, 50, 75, 100)
_RULES = ("public", "public", "invite", "knock", "restricted", "knock_restricted")
_PROPERTIES = ("ban", "kick", "invite", "users_default", "state_default", "events_default", "redact")
_TYPES = ("m.room.topic", "m.room.power_levels", "m.room.message", "room")

Draft = tuple[str, str, str | None, dict[str, Any]]


@dataclass(frozen=True)
class Attempt:
    """An event that somebody tried to send, the state before it, and what the oracle said."""

    event: Pdu
    state: StateMap
    allowed: bool
    right_auth_events: bool


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
    rejected: set[str] = field(default_factory=set)
    """Events that a server took for state although the rules refuse them."""
    attempts: list[Attempt] = field(default_factory=list)
    merges: list[Merge] = field(default_factory=list)
    room_id: str = "!room:a.test"

    def grow(self) -> None:
        """Let the room live: a common beginning, then forks that are joined again, in any order."""
        self._oracle = OracleV1(self.events) if self.version == 1 else Oracle(self.events, self.version, self.rejected)
        # Where history ends: the event, and the state after it.
        ends = [self._beginning()]
        size = self.random.choice((16, 20, 28, 40, MOST_EVENTS))
        # A room in which nobody may do anything any more does not grow.
        while len(self.events) < size and len(self.attempts) < 3 * MOST_EVENTS:
            if len(ends) > 1 and self.random.random() < 0.25:
                merged = self.random.sample(ends, self.random.randint(2, len(ends)))
                ends = [end for end in ends if end not in merged]
                ends.append(self._merge(merged))
                continue
            where = self.random.randrange(len(ends))
            tips, state = ends[where]
            if len(ends) == 1 or (len(ends) < 4 and self.random.random() < 0.1):
                ends.append((tips, state))
            for _ in range(self.random.randint(1, 6)):
                if len(self.events) < MOST_EVENTS:
                    tips, state = self._send(tips, state, *self._something_to_do(state))
            ends[where] = tips, state
        if len(ends) > 1:
            self._merge(ends)

    def _merge(self, ends: Sequence[tuple[list[str], StateMap]]) -> tuple[list[str], StateMap]:
        states = [state for _, state in ends]
        resolved = self._oracle.resolve(states)
        self.merges.append(Merge(states, resolved))
        return list(dict.fromkeys(tip for tips, _ in ends for tip in tips)), resolved

    def _beginning(self) -> tuple[list[str], StateMap]:
        content: dict[str, Any] = {"room_version": str(self.version)}
        if self.version <= 10:
            content["creator"] = ALICE
        if self.version >= 12 and self.random.random() < 0.3:
            content["additional_creators"] = [BOB]
        if self.random.random() < 0.03:
            content["m.federate"] = self.random.choice((False, "false"))
        state: StateMap = {}
        tips: list[str] = []
        for sender, event_type, state_key, more in self._first_events(content):
            tips, state = self._send(tips, state, sender, event_type, state_key, more, honest=True)
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

    def _send(
        self,
        tips: list[str],
        state: StateMap,
        sender: str,
        event_type: str,
        state_key: str | None,
        content: dict[str, Any],
        *,
        honest: bool = False,
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
            "content": content,
            "origin_server_ts": len(self.events) // 3 + self.random.randint(0, 4),
            "depth": 1 + max((self.events[tip]["depth"] for tip in tips), default=0),
            "prev_events": tips,
            "signatures": {server: {} for server in SERVERS},
        }
        if state_key is not None:
            event["state_key"] = state_key
        if event_type == "m.room.redaction":
            event["redacts"] = self.random.choice([*self.events])
        event["auth_events"] = selected_auth_events(event, before, self.version)
        if self.version >= 12 and not self.events:
            self.room_id = f"!{event_id[1:]}"
            del event["room_id"]
        if not honest and self.random.random() < 0.06:
            self._spoil(event)
        allowed = is_allowed(event, before, self.version)
        named = [self.events[auth_event] for auth_event in event["auth_events"]]
        right = are_auth_events_right(event, named, self.rejected, self.version)
        self.attempts.append(Attempt(event, state, allowed, right))
        if not allowed or not right:
            if self.random.random() > 0.01 or state_key is None or event_type == "m.room.create":
                return tips, state
            self.rejected.add(event["event_id"])
        self.events[event["event_id"]] = event
        if state_key is None:
            return [event["event_id"]], state
        return [event["event_id"]], {**state, (event_type, state_key): event["event_id"]}

    def _spoil(self, event: Pdu) -> None:
        """Let a server name other `auth_events` than it should, or hang an event where it does not belong."""
        auth_events = event["auth_events"] = list(event["auth_events"])
        match self.random.randrange(4):
            case 0 if auth_events:
                auth_events.remove(self.random.choice(auth_events))
            case 1:
                auth_events.append(self.random.choice([*self.events]))
            case 2 if auth_events:
                # An older one in place of the one that counts.
                replaced = self.events[auth_events.pop(self.random.randrange(len(auth_events)))]
                auth_events.append(
                    self.random.choice(
                        [
                            event_id
                            for event_id, other in self.events.items()
                            if (other["type"], other.get("state_key")) == (replaced["type"], replaced.get("state_key"))
                        ]
                    )
                )
            case _:
                event["prev_events"] = [next(iter(self.events))]

    def _something_to_do(self, state: StateMap) -> Draft:
        # Those with power more often: what most others try is refused at once.
        sender, other = self.random.choice((ALICE, BOB, *USERS)), self.random.choice(USERS)
        match self.random.randrange(16):
            case 0 | 1:
                return sender, "m.room.member", sender, self._join()
            case 2:
                return sender, "m.room.member", sender, {"membership": "leave"}
            case 3 | 4:
                membership = self.random.choice(("leave", "ban", "ban", "invite"))
                return sender, "m.room.member", other, {"membership": membership}
            case 5:
                return sender, "m.room.member", self.random.choice((sender, sender, other)), {"membership": "knock"}
            case 6 | 7 | 8:
                sender = self.random.choice((ALICE, BOB, sender))
                return sender, "m.room.power_levels", "", self._power_levels(state)
            case 9:
                return sender, "m.room.join_rules", "", {"join_rule": self.random.choice(_RULES)}
            case 10 | 11:
                return sender, "m.room.topic", "", {"topic": str(len(self.attempts))}
            case 12:
                return self._third_party_invite(sender, other)
            case 13:
                return self._something_odd(sender, other)
            case 14:
                return sender, "m.room.message", None, {}
            case _:
                return sender, "org.test.mine", self.random.choice((sender, other)), {}

    def _something_odd(self, sender: str, other: str) -> Draft:
        match self.random.randrange(6):
            case 0:
                return sender, "m.room.member", other, {"membership": self.random.choice(("join", "dance"))}
            case 1:
                return sender, "m.room.member", None, {"membership": "join"}
            case 2:
                return sender, "m.room.aliases", self.random.choice((*SERVERS, None)), {"aliases": []}
            case 3:
                return sender, "m.room.redaction", None, {}
            case 4:
                return sender, "m.room.create", "", {"creator": sender}
            case _:
                return sender, "m.room.member", sender, {}

    def _third_party_invite(self, sender: str, other: str) -> Draft:
        if self.random.random() < 0.4:
            return sender, "m.room.third_party_invite", TOKEN, dict(OFFER)
        signed = signed_for(other, self.random.randrange(8))
        return sender, "m.room.member", other, {"membership": "invite", "third_party_invite": signed}

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
        for name in ("users", "events", "notifications"):
            if not isinstance(content.get(name, {}), dict):
                del content[name]
        for _ in range(self.random.randint(1, 2)):
            match self.random.randrange(7):
                case 0 | 1 | 2:
                    content.setdefault("users", {})[self.random.choice(USERS)] = self._level()
                case 3:
                    content[self.random.choice(_PROPERTIES)] = self._level()
                case 4:
                    table = content.setdefault(self.random.choice(("events", "notifications")), {})
                    table[self.random.choice(_TYPES)] = self._level()
                case 5:
                    content.get("users", {}).pop(self.random.choice(USERS), None)
                case _ if self.random.random() < 0.2:
                    name = self.random.choice(("users", "events", "notifications"))
                    # The text of the older versions does not say what other values of these mean.
                    if name == "users" or self.version >= 10:
                        content[name] = self.random.choice(([], "50", {"carol": 50}, {CAROL: "fifty"}, {CAROL: True}))
                        return content
                case _:
                    content.pop(self.random.choice(("ban", "users_default", "events", "state_default")), None)
        return content

    def _level(self) -> Any:
        level = self.random.choice(_LEVELS)
        if self.random.random() > 0.08:
            return level
        return self.random.choice((f" {level}", f"+{level} ", level + 0.7 if self.version <= 5 else f"00{level}"))
