"""What other processes know of users whose clients they talk to: nobody is gone who is still there in another process.

Before a process lowers somebody's presence it asks the others, and waits a moment for those who see the user to say so.
Idle clients cost nothing by that, since only who is about to be forgotten is asked for. What a process has written
itself, it tells, so that the others do not go on with what they remember.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import orjson
import structlog
import trio

from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError
from tricord.protocol.identifiers import UserId

ANSWER_SECONDS = 2.0
_PAUSE_SECONDS = 0.5
# Names of 255 bytes fit into PostgreSQL's 8,000.
_MOST_NAMES = 25

_logger = structlog.get_logger(__name__)

SeenHere = Callable[[Collection[UserId]], Mapping[UserId, float]]
"""Tells which of some users are here, and how many seconds ago there was a sign of them."""
SeenElsewhere = Callable[[UserId, float], None]
"""Takes in that a user is elsewhere, and how many seconds ago there was a sign of them there."""
Written = Callable[[Collection[UserId]], None]
"""Takes in that another process has written the presence of users."""


class PresenceElsewhere:
    """Asks other processes, and answers them."""

    def __init__(
        self,
        database: Database,
        channel: str,
        seen_here: SeenHere,
        seen_elsewhere: SeenElsewhere,
        written: Written = lambda _: None,
    ) -> None:
        self._database = database
        self._channel = channel
        self._seen_here = seen_here
        self._seen_elsewhere = seen_elsewhere
        self._written = written
        self._origin = secrets.token_hex(8)
        self._to_answer: dict[UserId, None] = {}
        self._asked = trio.Event()
        self._unanswered: set[UserId] = set()
        self._answered = trio.Event()
        database.listen(channel, self._hear)

    async def ask(self, user_ids: Collection[UserId]) -> None:
        """Ask who else sees some users; what is answered has been taken in on return."""
        self._unanswered, self._answered = set(user_ids), trio.Event()
        await self._tell("asks", list(user_ids))
        with trio.move_on_after(ANSWER_SECONDS):
            await self._answered.wait()

    async def tell_written(self, user_ids: Collection[UserId]) -> None:
        """Tell that the presence of some users has been written here."""
        await self._tell("wrote", list(user_ids))

    async def run(self) -> None:
        """Answer, for ever."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            asked, self._to_answer = self._to_answer, {}
            if here := self._seen_here(asked):
                try:
                    await self._tell("sees", list(here.items()))
                except DatabaseError as error:
                    _logger.warning("other processes cannot be told who is here", reason=str(error))
                    await trio.sleep(_PAUSE_SECONDS)
                    self._to_answer = asked | self._to_answer
                    self._asked.set()

    async def _tell(self, what: str, told: list[Any]) -> None:
        for part in _parts(told):
            await self._database.notify(self._channel, orjson.dumps([self._origin, what, part]).decode())

    def _hear(self, payload: str) -> None:
        if not payload:
            return  # after a gap; what was missed is asked for again
        origin, what, told = orjson.loads(payload)
        if origin == self._origin:
            return
        if what == "asks":
            self._to_answer.update(dict.fromkeys(told))
            self._asked.set()
        elif what == "sees":
            for user_id, seconds_ago in told:
                self._seen_elsewhere(user_id, seconds_ago)
                self._unanswered.discard(user_id)
            if not self._unanswered:
                self._answered.set()
        else:
            self._written(told)


def _parts(told: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(told), _MOST_NAMES):
        yield told[start : start + _MOST_NAMES]
