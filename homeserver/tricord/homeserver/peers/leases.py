"""Sharing work between processes: each of them has some of its parts, and nobody else has those.

Parts are leased with advisory locks on a connection kept for that, so whatever ends a process ends its leases. Every
few seconds each process sees how many there are, takes no more than its share, and gives back what is beyond it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import structlog
import trio

from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.leases import attend, attendance, end_leases, try_leases

PARTS = 64
_LOOK_SECONDS = 5

_logger = structlog.get_logger(__name__)


def part_of(name: str) -> int:
    """Return the part that a name belongs to, the same in every process."""
    return zlib.crc32(name.encode()) % PARTS


class Leases:
    """The parts of one kind of work that this process does."""

    def __init__(self, database: Database, kind: int, *, look_seconds: float = _LOOK_SECONDS) -> None:
        self.held: frozenset[int] = frozenset()
        self._database = database
        self._kind = kind
        self._look_seconds = look_seconds

    def covers(self, name: str) -> bool:
        """Return whether what belongs to a name is this process's to do."""
        return part_of(name) in self.held

    async def run(self, on_change: Callable[[], None]) -> None:
        """Hold a fair share of the parts, for ever; call back whenever `held` has changed.

        Parts given up are called back first, and given to others later.
        """
        while True:
            try:
                async with self._database.session() as session:
                    await attend(session, self._kind)
                    while True:
                        await self._hold_fair_share(session, on_change)
                        await trio.sleep(self._look_seconds)
            except DatabaseError as error:
                _logger.warning("leases are lost with their connection", reason=str(error))
                self._hold(frozenset(), on_change)
                await trio.sleep(min(1, self._look_seconds))

    async def _hold_fair_share(self, session: Transaction, on_change: Callable[[], None]) -> None:
        share = -(-PARTS // max(1, await attendance(session, self._kind)))
        surplus = sorted(self.held)[share:]
        if surplus:
            self._hold(self.held.difference(surplus), on_change)
            await end_leases(session, self._kind, surplus)
        wanted = share - len(self.held)
        if wanted > 0:
            free = [part for part in range(PARTS) if part not in self.held]
            taken = await try_leases(session, self._kind, free)
            if taken[wanted:]:
                await end_leases(session, self._kind, taken[wanted:])
            if taken:
                self._hold(self.held.union(taken[:wanted]), on_change)

    def _hold(self, parts: frozenset[int], on_change: Callable[[], None]) -> None:
        if parts != self.held:
            self.held = parts
            on_change()
