"""Requests to send that are not answered yet: a device hears of its own event only after the answer.

A client shows at once what it sends, and puts the event that comes by sync in its place. Which of the two comes first
is left open: https://spec.matrix.org/v1.19/client-server-api/#local-echo. But clients are used to servers whose answer
comes first, and not all are ready for the other order: matrix-js-sdk takes a message in a thread for failed. Here both
are ready at the same moment, so that the order is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.client_format import Reader
from tricord.homeserver.rooms.stored_event import StoredEvent

# Whoever sends may hang for other reasons, with its event long committed; everything else is told nevertheless.
_PATIENCE_SECONDS = 1
# What another process has committed, it answers at the same moment. How old an event is of which that may be so, and
# how long it is given for it.
_YOUNG_MS = 200
_ELSEWHERE_SECONDS = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    transaction_id: str
    answered: trio.Event


class Unanswered:
    """The requests to send that are under way, by device."""

    def __init__(self, clock: Clock, *, elsewhere: bool) -> None:
        self._clock = clock
        # Whether other processes may have to answer requests, too.
        self._elsewhere = elsewhere
        self._by_device: dict[Reader, list[_Request]] = {}

    @contextlib.contextmanager
    def request(self, sender: Reader, transaction_id: str) -> Iterator[None]:
        """Have a request count as unanswered; the answer is to be sent where the block ends, with nothing awaited."""
        request = _Request(transaction_id, trio.Event())
        under_way = self._by_device.setdefault(sender, [])
        under_way.append(request)
        try:
            yield
        finally:
            under_way.remove(request)
            if not under_way:
                del self._by_device[sender]
            request.answered.set()

    async def wait(self, reader: Reader, events: Iterable[StoredEvent]) -> None:
        """Return when a reader may be told of events: once the requests are answered by which its device sent any."""
        under_way = self._by_device.get(reader, ())
        if not under_way and not self._elsewhere:
            return
        own = {stored.transaction_id: stored for stored in events if _is_echo(stored, reader)}
        here = [request for request in under_way if request.transaction_id in own]
        with trio.move_on_after(_PATIENCE_SECONDS):
            for request in here:
                await request.answered.wait()
        if self._elsewhere and not here:
            recently = self._clock.now_ms() - _YOUNG_MS
            if any(stored.event.origin_server_ts > recently for stored in own.values()):
                await trio.sleep(_ELSEWHERE_SECONDS)


def _is_echo(stored: StoredEvent, reader: Reader) -> bool:
    return (
        stored.transaction_id is not None
        and stored.event.sender == reader.user_id
        and stored.sender_device == reader.device_id
    )
