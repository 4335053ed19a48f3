"""That sessions have ended is told at once to all who rely on them, in this process and in the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.stream import take_positions
from tricord.homeserver.stream.publisher import Commit, Publisher

SessionsEnded: TypeAlias = Callable[[frozenset[int]], None]

_CHANNEL = "sessions_ended"
# PostgreSQL refuses payloads of 8000 bytes; an id has at most 19 digits and a comma.
_IDS_A_PAYLOAD = 390


class Revocations:
    """Where the end of a session is announced and heard of."""

    def __init__(self, database: Database, publisher: Publisher | None = None) -> None:
        self._database = database
        self._publisher = publisher
        self._listeners: list[SessionsEnded] = []
        self._gap_listeners: list[Callable[[], None]] = []
        self._waiting: dict[int, set[Callable[[], None]]] = {}
        database.listen(_CHANNEL, self._heard)

    def on_revoked(self, listener: SessionsEnded) -> Callable[[], None]:
        """Call `listener` with the ids of sessions that have ended; return what stops that.

        It must be quick and must not fail: it is called in the task of whoever ended the session.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def on_gap(self, listener: Callable[[], None]) -> None:
        """Call `listener` when announcements of other processes may have been missed."""
        self._gap_listeners.append(listener)

    @contextmanager
    def when_ended(self, session_id: int, interrupt: Callable[[], None]) -> Iterator[None]:
        """Call `interrupt`, while inside the block, when a session has ended, or may have."""
        waiting = self._waiting.setdefault(session_id, set())
        waiting.add(interrupt)
        try:
            yield
        finally:
            waiting.discard(interrupt)
            if not waiting and self._waiting.get(session_id) is waiting:
                del self._waiting[session_id]

    async def announce(self, session_ids: Collection[int]) -> None:
        """Tell everybody that these sessions have ended. Call it after the transaction that ended them."""
        if not session_ids:
            return
        # First, without an await, so that no request of this process slips in between.
        self._tell(frozenset(session_ids))
        for payload in _payloads(sorted(session_ids)):
            await self._database.notify(_CHANNEL, payload)
        if self._publisher is not None and self._publisher.has_others:
            # Notifications come in order: who has heard of this position has heard of the sessions.
            position = await self._database.run(take_positions, 1)
            self._publisher.publish(Commit(position, rooms=frozenset(), users=frozenset()))

    def _heard(self, payload: str) -> None:
        if payload:
            self._tell(frozenset(int(number) for number in payload.split(",")))
        else:
            for listener in self._gap_listeners:
                listener()
            self._interrupt(self._waiting.keys())

    def _tell(self, session_ids: frozenset[int]) -> None:
        for listener in tuple(self._listeners):
            listener(session_ids)
        # Last, so that whoever is asked now whose token it is does not know it any more.
        self._interrupt(session_ids)

    def _interrupt(self, session_ids: Iterable[int]) -> None:
        for session_id in tuple(session_ids):
            for interrupt in tuple(self._waiting.get(session_id, ())):
                interrupt()


def _payloads(session_ids: list[int]) -> Iterator[str]:
    for start in range(0, len(session_ids), _IDS_A_PAYLOAD):
        yield ",".join(map(str, session_ids[start : start + _IDS_A_PAYLOAD]))
