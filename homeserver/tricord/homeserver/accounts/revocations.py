"""That sessions or tokens have ended is told at once to all who rely on them, in this process and in the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TypeAlias

import trio

from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.stream import take_positions
from tricord.homeserver.stream.publisher import Commit, Publisher

SessionsEnded: TypeAlias = Callable[[frozenset[int]], None]

_CHANNEL = "sessions_ended"
_REPLACED_CHANNEL = "tokens_replaced"
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
        self.ends = 0
        """How often it was heard that sessions or tokens have ended, or may have."""
        self._replaced_listeners: list[Callable[[int], None]] = []
        database.listen(_CHANNEL, self._heard)
        # Gaps are heard of in the other channel: whoever had them heard nothing in either.
        database.listen(_REPLACED_CHANNEL, self._heard_replaced)

    def on_revoked(self, listener: SessionsEnded) -> Callable[[], None]:
        """Call `listener` with the ids of sessions that have ended; return what stops that.

        It must be quick and must not fail: it is called in the task of whoever ended the session.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def on_replaced(self, listener: Callable[[int], None]) -> None:
        """Call `listener` with the id of a session some of whose tokens have given way to newer ones."""
        self._replaced_listeners.append(listener)

    def on_gap(self, listener: Callable[[], None]) -> None:
        """Call `listener` when announcements of other processes may have been missed."""
        self._gap_listeners.append(listener)

    def when_ended(self, session_id: int, interrupt: Callable[[], None]) -> AbstractContextManager[None]:
        """Call `interrupt`, while inside the block, when a session or a token of it has ended, or may have."""
        return _Waiting(self._waiting, session_id, interrupt)

    async def announce(self, session_ids: Collection[int]) -> None:
        """Tell everybody that these sessions have ended. Call it after the transaction that ended them."""
        if not session_ids:
            return
        # First, without an await, so that no request of this process slips in between.
        self._tell(frozenset(session_ids))
        # The others must hear of it even if whoever asked for it has gone, or this was their own session.
        with trio.CancelScope(shield=True):
            for payload in _payloads(sorted(session_ids)):
                await self._database.notify(_CHANNEL, payload)
            await self._hold_others()

    async def announce_replaced(self, session_id: int) -> None:
        """Tell everybody that tokens of a session have given way to newer ones. Call it after the transaction."""
        self._tell_replaced(session_id)
        with trio.CancelScope(shield=True):
            await self._database.notify(_REPLACED_CHANNEL, str(session_id))
            await self._hold_others()

    async def _hold_others(self) -> None:
        """Let no request of another process begin that has not heard of what was announced."""
        if self._publisher is not None and self._publisher.has_others:
            # Notifications come in order: who has heard of this position has heard of the sessions.
            position = await self._database.run(take_positions, 1)
            self._publisher.publish(Commit(position, rooms=frozenset(), users=frozenset()))

    def _heard(self, payload: str) -> None:
        if payload:
            self._tell(frozenset(int(number) for number in payload.split(",")))
        else:
            self.ends += 1
            for listener in self._gap_listeners:
                listener()
            self._interrupt(self._waiting.keys())

    def _heard_replaced(self, payload: str) -> None:
        if payload:
            self._tell_replaced(int(payload))

    def _tell_replaced(self, session_id: int) -> None:
        self.ends += 1
        for listener in self._replaced_listeners:
            listener(session_id)
        # Who has the newer token goes on.
        self._interrupt((session_id,))

    def _tell(self, session_ids: frozenset[int]) -> None:
        self.ends += 1
        for listener in tuple(self._listeners):
            listener(session_ids)
        # Last, so that whoever is asked now whose token it is does not know it any more.
        self._interrupt(session_ids)

    def _interrupt(self, session_ids: Iterable[int]) -> None:
        for session_id in tuple(session_ids):
            for interrupt in tuple(self._waiting.get(session_id, ())):
                interrupt()


class _Waiting(AbstractContextManager[None]):
    """Somebody who is interrupted when a session has ended; no generator, since there is one for each `/sync`."""

    __slots__ = ("_interrupt", "_session_id", "_waiting")

    def __init__(
        self, waiting: dict[int, set[Callable[[], None]]], session_id: int, interrupt: Callable[[], None]
    ) -> None:
        self._waiting = waiting
        self._session_id = session_id
        self._interrupt = interrupt

    def __enter__(self) -> None:
        self._waiting.setdefault(self._session_id, set()).add(self._interrupt)

    def __exit__(self, *_: object) -> None:
        interrupts = self._waiting[self._session_id]
        interrupts.discard(self._interrupt)
        if not interrupts:
            del self._waiting[self._session_id]


def _payloads(session_ids: list[int]) -> Iterator[str]:
    for start in range(0, len(session_ids), _IDS_A_PAYLOAD):
        yield ",".join(map(str, session_ids[start : start + _IDS_A_PAYLOAD]))
