"""One process at a time writes to a busy room: the others hand it what they have for the room.

Any process may write to any room, since an append on top of something out of date is refused and computed again. But
where two write to one room all the time, both compute in vain. So who has written to a room is its writer for a moment,
and the others ask it to append for them. Whatever the writer does not do, for whatever reason, who asked does alone;
the log finds out if it has been done after all, by the transaction of the request, or because the state is set already.

Different rooms are written by several at once, but committed one after the other, since each commit takes the next
positions. So who has little to write lets the others finish first: what comes meanwhile goes along, with one commit.
"""

from __future__ import annotations

import pickle
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog
import trio

from tricord.homeserver.rooms.drafts import Draft
from tricord.homeserver.rooms.moves import decode_events, encode_events
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.stream.common_memory import TURN_SECONDS, CommonMemory
from tricord.homeserver.stream.interests import A_TURN, WAKING
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.homeserver.stream.siblings import Siblings
from tricord.protocol.identifiers import RoomId

Append = Callable[[Sequence[Draft]], Awaitable[list[StoredEvent] | None]]

_NOT_DONE = b""

_logger = structlog.get_logger(__name__)


class OtherWriters:
    """The other processes, as writers of rooms; and this one, for them."""

    def __init__(self, siblings: Siblings, memory: CommonMemory, publisher: Publisher) -> None:
        self._publisher = publisher
        self._siblings = siblings
        self._writers = memory.writers
        self._turns = memory.turns
        self._have_written = trio.Event()
        publisher.observe_other_processes(self._note_commit, lambda _position: None)
        self._append: Append | None = None
        siblings.answer_with(self._answer)

    def write_with(self, append: Append) -> None:
        """Append for others by a function that returns the events, or None if it is not done."""
        self._append = append

    async def appended(self, drafts: Sequence[Draft]) -> list[StoredEvent] | None:
        """Have drafts of one room appended by who writes to it now; it is known here then, as what we append is.

        None: that is us, from now on, if nobody else has done it. Nobody knows then whether somebody else may have.
        """
        room_id = drafts[0].room_id
        writer = self._writers.other(room_id)
        if writer is not None and all(map(_is_known_again, drafts)):
            answer = await self._siblings.ask(writer, pickle.dumps(drafts))
            if answer:
                events = decode_events(answer)
                await self._publisher.reach(max(stored.position or 0 for stored in events))
                return events
            if answer is not None:
                return None  # it is there, and goes on with what others want
        self._writers.note(room_id)
        return None

    def claim(self, room_id: RoomId) -> None:
        """Be who writes to a room, from now on."""
        self._writers.note(room_id)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let the others know that there is something to write here, while the block lasts."""
        self._turns.begin()
        try:
            yield
        finally:
            self._turns.end()

    async def let_go_first(self) -> None:
        """Wait until those who have waited longer have written, or take too long."""
        if self._turns.has_come:
            return
        interests = self._siblings.interests
        interests.note(A_TURN, WAKING)
        try:
            with trio.move_on_after(TURN_SECONDS):
                while not self._turns.has_come:
                    await self._have_written.wait()
        finally:
            interests.drop(A_TURN, WAKING)

    def _note_commit(self, _commit: Commit) -> None:
        self._have_written.set()
        self._have_written = trio.Event()

    async def _answer(self, question: bytes) -> bytes:
        drafts: Sequence[Draft] = pickle.loads(question)  # noqa: S301  # our own sibling wrote it
        try:
            events = None if self._append is None else await self._append(drafts)
        except Exception as error:  # noqa: BLE001  # who asked tries it, and is refused in the same way
            _logger.debug("what another process wanted was not appended", reason=repr(error))
            return _NOT_DONE
        return _NOT_DONE if events is None else encode_events(events)


def _is_known_again(draft: Draft) -> bool:
    """Return whether it does no harm to append it a second time."""
    return draft.transaction is not None or draft.state_key is not None
