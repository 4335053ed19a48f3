"""State resolution 1, in the words of `rooms/v1`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from tests.protocol.oracle.auth_rules import Pdu, is_allowed

StateMap = dict[tuple[str, str], str]


class OracleV1:
    """Resolves the states of one room of version 1."""

    def __init__(self, events: Mapping[str, Pdu]) -> None:
        self._events = events

    def resolve(self, states: Sequence[StateMap]) -> StateMap:
        # A conflict occurs between states where those states have different event_ids for the same key.
        all_of: dict[tuple[str, str], set[str]] = {}
        for state in states:
            for key, event_id in state.items():
                all_of.setdefault(key, set()).add(event_id)
        # Start by setting R to the union of the states to be resolved, excluding any conflicting events.
        r = {key: next(iter(event_ids)) for key, event_ids in all_of.items() if len(event_ids) == 1}
        conflicts = {key: event_ids for key, event_ids in all_of.items() if len(event_ids) > 1}

        # First we resolve conflicts between m.room.power_levels events. Repeat the above process for conflicts between
        # m.room.join_rules events. Repeat … m.room.member events. (Nothing is said of the order in which conflicts of
        # the same type go; none of them sees the outcome of another.)
        for event_type in ("m.room.power_levels", "m.room.join_rules", "m.room.member"):
            keys = [key for key in conflicts if key[0] == event_type]
            r = {**r, **{key: self._furthest(r, key, conflicts.pop(key)) for key in keys}}

        # For all other conflicts, just pick the event with the highest depth and lowest sha1(event_id) that passes
        # authentication in R. (If none passes: the last of those that were tried.)
        others = {}
        for key, event_ids in conflicts.items():
            best_first = sorted(event_ids, key=lambda event_id: (-self._depth(event_id), _sha1(event_id)))
            others[key] = next((event_id for event_id in best_first if self._passes(event_id, r)), best_first[-1])
        return {**r, **others}

    def _furthest(self, r: StateMap, key: tuple[str, str], event_ids: set[str]) -> str:
        # Sort the list by ascending depth then descending sha1(event_id).
        ordered = sorted(event_ids, key=_sha1, reverse=True)
        ordered.sort(key=self._depth)
        # Add the first event in the list to R.
        r = {**r, key: ordered[0]}
        # For each subsequent event in the list, check that the event would be allowed for a room in state R. If it
        # would, then update R with the event and continue; if not, stop.
        for event_id in ordered[1:]:
            if not self._passes(event_id, r):
                break
            r[key] = event_id
        return r[key]

    def _passes(self, event_id: str, r: StateMap) -> bool:
        return is_allowed(self._events[event_id], {key: self._events[present] for key, present in r.items()}, 1)

    def _depth(self, event_id: str) -> int:
        return int(self._events[event_id]["depth"])


def _sha1(event_id: str) -> str:
    return hashlib.sha1(event_id.encode(), usedforsecurity=False).hexdigest()
