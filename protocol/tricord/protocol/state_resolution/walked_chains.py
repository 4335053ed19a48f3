"""Auth chains found by walking them, many events at a time and each event once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from tricord.protocol.identifiers import EventId
from tricord.protocol.state_resolution.sources import Steps

AuthEdges = Callable[[Collection[EventId]], Mapping[EventId, Sequence[EventId]]]
"""Returns the `auth_events` of some events; one that is unknown may be missing, and has none."""


class WalkedAuthChains:
    """`AuthChains` for who knows no more than the `auth_events` of each event."""

    def __init__(self, edges: AuthEdges, steps: Steps | None = None) -> None:
        self._edges = edges
        self._steps = steps or Steps()

    def difference(self, shared: Collection[EventId], forks: Sequence[Collection[EventId]]) -> set[EventId]:
        """Return the events in the chain of some fork which are not in that of every fork, nor in that of `shared`."""
        chains = [self._chain(fork) for fork in forks]
        in_all = set.intersection(*chains)
        difference = set.union(*chains) - in_all
        if difference:
            # Chains are closed: whoever is in all of them leads to nothing but what is in all. So it is only walked
            # around, and that makes this walk short even from the memberships of a large room.
            difference -= self._chain(shared, without=in_all) | set(shared)
        return difference

    def between(self, event_ids: Collection[EventId]) -> set[EventId]:
        """Return all events on any path by `auth_events` from one of some events to another, with its ends."""
        pointing_to: defaultdict[EventId, list[EventId]] = defaultdict(list)
        for event_id, targets in self._walk(event_ids, without=()):
            for target in targets:
                pointing_to[target].append(event_id)
        found: set[EventId] = set()
        waiting = list(event_ids)
        while waiting:
            for event_id in pointing_to.get(waiting.pop(), ()):
                if event_id not in found:
                    found.add(event_id)
                    waiting.append(event_id)
        # Found is what leads to one of the events; those which nothing leads on from are ends, if anything led there.
        return found | {event_id for event_id in event_ids if event_id in pointing_to}

    def _chain(self, event_ids: Collection[EventId], without: Collection[EventId] = ()) -> set[EventId]:
        return {target for _, targets in self._walk(event_ids, without) for target in targets}

    def _walk(
        self, event_ids: Iterable[EventId], without: Collection[EventId]
    ) -> Iterable[tuple[EventId, Sequence[EventId]]]:
        """Yield each event that can be reached with its `auth_events`, going around some."""
        seen = {*event_ids, *without}
        layer: Collection[EventId] = set(event_ids)
        while layer:
            self._steps.take(len(layer))
            edges = self._edges(layer)
            yield from edges.items()
            layer = {target for targets in edges.values() for target in targets} - seen
            seen |= layer
