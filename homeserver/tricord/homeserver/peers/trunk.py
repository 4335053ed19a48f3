"""How far back the history that leads up to an event is one trunk, however it may have forked in between.

Where all that was before goes through a single event, and nothing since then has changed the state of the room, the
state at that event and at all since is the one at the end: nobody has to be asked for it, nor believed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import EventId


def trunk(
    ends: Collection[EventId],
    events: Mapping[EventId, VerifiedEvent],
    stops: Callable[[VerifiedEvent, bool], bool],
) -> list[VerifiedEvent]:
    """Return, newest first, the events from some ends back to the last one through which all that was before must go.

    `stops` is asked of each event, and of whether all that was before goes through it, if it ends the trunk instead.
    """
    follow = _followers(ends, events)
    named = set(ends)
    ready = [event_id for event_id in named if event_id in events and not follow[event_id]]
    passed: list[VerifiedEvent] = []
    closed = 0
    while ready:
        event = events[ready.pop()]
        is_alone = named == {event.event_id}
        if stops(event, is_alone):
            break
        passed.append(event)
        if is_alone:
            closed = len(passed)
        named.discard(event.event_id)
        for before in set(event.prev_events):
            named.add(before)
            follow[before] -= 1
            if not follow[before] and before in events:
                ready.append(before)
    return passed[:closed]


def _followers(ends: Collection[EventId], events: Mapping[EventId, VerifiedEvent]) -> Counter[EventId]:
    """Count how many of the events that are reached from the ends follow each."""
    follow: Counter[EventId] = Counter()
    waiting, reached = list(ends), set(ends)
    while waiting:
        event = events.get(waiting.pop())
        for before in set(event.prev_events) if event is not None else ():
            follow[before] += 1
            if before not in reached:
                reached.add(before)
                waiting.append(before)
    return follow
