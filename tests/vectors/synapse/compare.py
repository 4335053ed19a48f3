"""Ask Synapse's own code what it makes of the oracle's random rooms, and print where it says something else.

    synapse/bin/pip install matrix-synapse orjson pytest
    PYTHONPATH=.:protocol synapse/bin/python tests/vectors/synapse/compare.py 0 1000      # seeds, from and to

The oracle, and with it the library, follows the text of the specification; only in that an event counts into its own
auth chain when auth chains are compared it does what Synapse's database does. What is known to differ is passed over:

- A power level of `true`, which Synapse takes for 1 before room version 10.
- A join of the creator on top of the create event that another sends, which the vectors of gomatrixserverlib refuse.
- Rooms that do not federate, where Synapse also refuses memberships of users of other servers, and all values of
  `m.federate` but `true`.
- Memberships without the fields that they must have, with which Synapse fails outside of its rules.
- Rooms where a server holds refused events for state: Synapse never judges by such an event, the text lets it be used
  where it has been allowed again in the course of the resolution.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections import Counter
from collections.abc import Collection, Coroutine, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from tests.protocol.oracle.auth_rules import Pdu
from tests.protocol.oracle.histories import History, Merge
from tests.protocol.test_against_the_oracle import history_of

event_auth, state_v1, state_v2, errors, versions = map(
    importlib.import_module,
    ("synapse.event_auth", "synapse.state.v1", "synapse.state.v2", "synapse.api.errors", "synapse.api.room_versions"),
)


class Event:
    """What Synapse's rules ask of an event."""

    def __init__(self, pdu: Pdu, history: History) -> None:
        self._pdu = pdu
        self.__dict__.update({key: pdu[key] for key in pdu if key not in ("auth_events", "prev_events")})
        self.room_version = versions.KNOWN_ROOM_VERSIONS[str(history.version)]
        self.format_version = self.room_version.event_format
        self.room_id = pdu.get("room_id", f"!{pdu['event_id'][1:]}")
        self.membership = pdu["content"].get("membership")
        self.redacts = pdu.get("redacts")
        self.rejected_reason = "rejected" if pdu["event_id"] in history.rejected else None
        self.internal_metadata = SimpleNamespace()
        self.auth_events = list(pdu["auth_events"])
        if history.version >= 12 and pdu["type"] != "m.room.create":
            self.auth_events.append(f"${self.room_id[1:]}")

    def auth_event_ids(self) -> list[str]:
        return self.auth_events

    def prev_event_ids(self) -> Any:
        return self._pdu["prev_events"]

    def is_state(self) -> bool:
        return "state_key" in self._pdu

    def get_state_key(self) -> Any:
        return self._pdu.get("state_key")

    def __contains__(self, key: str) -> bool:
        return key in self._pdu


class Store:
    """Synapse's database, as its state resolution knows it."""

    def __init__(self, events: Mapping[str, Event]) -> None:
        self._events = events

    async def get_events(self, event_ids: Collection[str], **_options: object) -> dict[str, Event]:
        return {event_id: self._events[event_id] for event_id in event_ids if event_id in self._events}

    async def get_auth_chain_difference(
        self, _room: str, states: Sequence[Collection[str]], conflicted: Collection[str] | None, _more: object
    ) -> SimpleNamespace:
        chains = [self._chain(state) | set(state) for state in states]
        subgraph = None
        if conflicted is not None:
            leading = {event_id for event_id in self._events if self._chain([event_id]) & set(conflicted)}
            subgraph = (self._chain(conflicted) | set(conflicted)) & (leading | set(conflicted))
        difference = chains[0].union(*chains) - chains[0].intersection(*chains)
        return SimpleNamespace(auth_difference=difference, conflicted_subgraph=subgraph)

    def _chain(self, event_ids: Collection[str]) -> set[str]:
        found: set[str] = set()
        waiting = list(event_ids)
        while waiting:
            for auth_event in self._events[waiting.pop()].auth_event_ids():
                if auth_event not in found:
                    found.add(auth_event)
                    waiting.append(auth_event)
        return found


class Clock:
    async def sleep(self, _duration: object) -> None:
        """Nothing waits."""


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what never really waits."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        return finished.value
    raise AssertionError("it waits for something")


def is_allowed(event: Event, state: Collection[Event]) -> bool:
    try:
        if event._pdu["type"] == "m.room.create":
            event_auth._check_create(event)
        else:
            event_auth.check_state_dependent_auth_rules(event, state)
    except (errors.AuthError, errors.SynapseError):
        return False
    return True


def resolved(history: History, merge: Merge, events: Mapping[str, Event]) -> dict[Any, str]:
    first = next(iter(events.values()))
    store = Store(events)
    states = [dict(state) for state in merge.states]
    if history.version == 1:
        coroutine = state_v1.resolve_events_with_store(
            first.room_id, first.room_version, states, None, store.get_events
        )
    else:
        coroutine = state_v2.resolve_events_with_store(Clock(), first.room_id, first.room_version, states, None, store)
    return dict(at_once(coroutine))


def is_known_to_differ(pdu: Pdu) -> bool:
    content = pdu["content"]
    if pdu["type"] == "m.room.member":
        third_party = content.get("third_party_invite", {"signed": {}})
        others_join = content.get("membership") == "join" and pdu["sender"] != pdu.get("state_key")
        return "state_key" not in pdu or "membership" not in content or "signed" not in third_party or others_join
    tables = [content.get(name, {}) for name in ("users", "events", "notifications")]
    return pdu["type"] == "m.room.power_levels" and any(
        not isinstance(table, dict) or any(level is True for level in table.values()) for table in tables
    )


def main() -> None:
    logging.disable(logging.CRITICAL)
    start, stop = (int(word) for word in sys.argv[1:3])
    counts: Counter[str] = Counter()
    for seed in range(start, stop):
        history = history_of(seed)
        create = next(iter(history.events.values()))
        if "m.federate" in create["content"] or history.rejected:
            counts["rooms passed over"] += 1
            continue
        events = {event_id: Event(pdu, history) for event_id, pdu in history.events.items()}
        for attempt in history.attempts:
            if is_known_to_differ(attempt.event):
                counts["events passed over"] += 1
                continue
            counts["events judged"] += 1
            state = [events[event_id] for event_id in attempt.state.values()]
            if is_allowed(Event(attempt.event, history), state) != attempt.allowed:
                counts["events judged otherwise"] += 1
                print(f"seed {seed}, version {history.version}: {attempt.event}, the oracle: {attempt.allowed}")
        for number, merge in enumerate(history.merges):
            counts["resolutions"] += 1
            if resolved(history, merge, events) != merge.resolved:
                counts["resolutions otherwise"] += 1
                print(f"seed {seed}, version {history.version}: merge {number}")
    print(dict(counts))
    sys.exit(counts["events judged otherwise"] + counts["resolutions otherwise"] > 0)


if __name__ == "__main__":
    main()
