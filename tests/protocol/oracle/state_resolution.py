"""State resolution 2 and 2.1, in the words of `rooms/v2` and `rooms/v12`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from tests.protocol.oracle.auth_rules import Pdu, is_allowed, level_by_auth_events

StateMap = dict[tuple[str, str], str]
Key = tuple[str, str]


class Oracle:
    """Resolves the states of one room."""

    def __init__(self, events: Mapping[str, Pdu], version: int, rejected: Collection[str] = ()) -> None:
        self._events = events
        self._version = version
        self._rejected = rejected
        self._auth_chains: dict[str, frozenset[str]] = {}

    def resolve(self, states: Sequence[StateMap]) -> StateMap:
        unconflicted_state_map, conflicted_state_set = self._divide(states)
        full_conflicted_set = conflicted_state_set | self._auth_difference(states)
        if self._version >= 12:
            full_conflicted_set |= self._conflicted_state_subgraph(conflicted_state_set)
        # "a sorted list of state events"
        full_conflicted_set = {event_id for event_id in full_conflicted_set if "state_key" in self._events[event_id]}

        # 1. Select the set X of all power events that appear in the full conflicted set …
        x = {event_id for event_id in full_conflicted_set if self._is_power_event(event_id)}
        # … For each such power event P, enlarge X by adding the events in the auth chain of P which also belong to the
        # full conflicted set.
        for power_event in list(x):
            x |= self._reach(power_event, full_conflicted_set)
        # 2. Apply the iterative auth checks algorithm, starting from the unconflicted / an empty state map
        start = {} if self._version >= 12 else unconflicted_state_map
        partial = self._iterative_auth_checks(start, self._reverse_topological_power_ordering(x))
        # 3. Take all remaining events that weren't picked in step 1 and order them by the mainline ordering based on
        # the power level in the partially resolved state obtained in step 2.
        remaining = self._mainline_ordering(full_conflicted_set - x, partial.get(("m.room.power_levels", "")))
        # 4.
        result = self._iterative_auth_checks(partial, remaining)
        # 5. Update the result by replacing any event with the event with the same key from the unconflicted state map
        return {**result, **unconflicted_state_map}

    def auth_chain(self, event_id: str) -> frozenset[str]:
        """All of E's auth events, all of their auth events, and so on recursively."""
        if event_id not in self._auth_chains:
            chain: set[str] = set()
            for auth_event in self._events[event_id]["auth_events"]:
                chain |= {auth_event} | self.auth_chain(auth_event)
            self._auth_chains[event_id] = frozenset(chain)
        return self._auth_chains[event_id]

    def _divide(self, states: Sequence[StateMap]) -> tuple[StateMap, set[str]]:
        unconflicted: StateMap = {}
        conflicted: set[str] = set()
        for key in {key for state in states for key in state}:
            values = {state.get(key) for state in states}
            if len(values) == 1:
                unconflicted[key] = states[0][key]
            else:
                conflicted |= {value for value in values if value is not None}
        return unconflicted, conflicted

    def _auth_difference(self, states: Sequence[StateMap]) -> set[str]:
        # An event is counted into its own chain, as servers do: the one point where they all read the text that way.
        full_chains = [
            {found for event_id in state.values() for found in {event_id, *self.auth_chain(event_id)}}
            for state in states
        ]
        return full_chains[0].union(*full_chains) - full_chains[0].intersection(*full_chains)

    def _conflicted_state_subgraph(self, conflicted_state_set: set[str]) -> set[str]:
        subgraph: set[str] = set()
        for start in conflicted_state_set:
            for end in conflicted_state_set & self.auth_chain(start):
                subgraph |= {start, end}
                subgraph |= {between for between in self.auth_chain(start) if end in self.auth_chain(between)}
        return subgraph

    def _is_power_event(self, event_id: str) -> bool:
        event = self._events[event_id]
        if "state_key" not in event:
            return False
        if event["type"] in ("m.room.power_levels", "m.room.join_rules"):
            return True
        return (
            event["type"] == "m.room.member"
            and event["content"].get("membership") in ("leave", "ban")
            and event["sender"] != event["state_key"]
        )

    def _reverse_topological_power_ordering(self, event_ids: Iterable[str]) -> list[str]:
        remaining = set(event_ids)
        ordering = []
        while remaining:
            candidates = [event_id for event_id in remaining if not remaining & self._incoming(event_id)]
            smallest = min(candidates, key=self._power_place)
            remaining.remove(smallest)
            ordering.append(smallest)
        return ordering

    def _reach(self, event_id: str, among: set[str]) -> set[str]:
        reached = {event_id}
        while True:
            more = {auth_event for reached_id in reached for auth_event in self._incoming(reached_id) & among} | reached
            if more == reached:
                return reached
            reached = more

    def _incoming(self, event_id: str) -> set[str]:
        return set(self._events[event_id]["auth_events"])

    def _power_place(self, event_id: str) -> tuple[float, int, str]:
        event = self._events[event_id]
        auth_events = [self._events[auth_event] for auth_event in event["auth_events"]]
        if self._version >= 12 and event["type"] != "m.room.create":
            auth_events.append(self._events["$" + event["room_id"][1:]])
        level = level_by_auth_events(event["sender"], auth_events, self._version)
        return -level, event["origin_server_ts"], event_id

    def _mainline(self, power_levels: str | None) -> list[str]:
        mainline = []
        while power_levels is not None:
            mainline.append(power_levels)
            power_levels = self._power_levels_of(power_levels)
        return mainline

    def _power_levels_of(self, event_id: str) -> str | None:
        for auth_event in self._events[event_id]["auth_events"]:
            if self._events[auth_event]["type"] == "m.room.power_levels":
                return str(auth_event)
        return None

    def _mainline_ordering(self, event_ids: Iterable[str], power_levels: str | None) -> list[str]:
        mainline = self._mainline(power_levels)

        def position(event_id: str) -> float:
            others = self._mainline(self._power_levels_of(event_id))
            for other in others:
                if other in mainline:
                    return mainline.index(other)
            return math.inf

        return sorted(
            event_ids,
            key=lambda event_id: (-position(event_id), self._events[event_id]["origin_server_ts"], event_id),
        )

    def _iterative_auth_checks(self, start: StateMap, event_ids: Iterable[str]) -> StateMap:
        state = dict(start)
        for event_id in event_ids:
            event = self._events[event_id]
            # If a key that is required for checking the authorisation rules is not present in the state, then the
            # appropriate state event from the event's auth_events is used if the auth event is not rejected.
            room = {}
            for auth_event in event["auth_events"]:
                if auth_event not in self._rejected:
                    room[self._key(auth_event)] = self._events[auth_event]
            if self._version >= 12:
                create = self._events["$" + event.get("room_id", event_id)[1:]]
                room["m.room.create", ""] = create
            for key, present in state.items():
                room[key] = self._events[present]
            if is_allowed(event, room, self._version):
                state[self._key(event_id)] = event_id
        return state

    def _key(self, event_id: str) -> Key:
        return self._events[event_id]["type"], self._events[event_id].get("state_key", "")
