"""One process at a time writes to a busy room: the others hand it what they have for the room.

Any process may write to any room, since an append on top of something out of date is refused and computed again. But
where two write to one room all the time, both compute in vain. So who has written to a room is its writer for a moment,
and the others ask it to append for them. Whatever the writer does not do, for whatever reason, who asked does alone;
the log finds out if it has been done after all, by the transaction of the request, or because the state is set already.

Different rooms are written by several at once, but committed one after the other, since each commit takes the next
positions. So who has little to write lets the others compute what they write first: what comes meanwhile goes along,
with one commit. While one commits, the next computes.
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
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.siblings import Siblings, Topic
from tricord.protocol.identifiers import RoomId

Append = Callable[[Sequence[Sequence[Draft]]], Awaitable[list[list[StoredEvent] | None]]]
"""Appends drafts of some requests; returns the events of each, or None where it is not done."""

_logger = structlog.get_logger(__name__)


class _Question:
    """What is asked of another process at once: drafts of several requests, all for one room."""

    def __init__(self) -> None:
        self.drafts: list[Sequence[Draft]] = []
        self.answered = trio.Event()
        self.answers: list[bytes | None] | None = None
        """What became of each of them; None: nobody knows."""


class OtherWriters:
    """The other processes, as writers of rooms; and this one, for them."""

    def __init__(self, siblings: Siblings, memory: CommonMemory, publisher: Publisher) -> None:
        self._publisher = publisher
        self._siblings = siblings
        self._writers = memory.writers
        self._turns = memory.turns
        self._turn_ended = trio.Event()
        siblings.listen(Topic.TURNS, self._note_turn)
        self._append: Append | None = None
        # What will be asked in a moment, by who is asked, and about which room.
        self._questions: dict[tuple[int, RoomId], _Question] = {}
        siblings.answer_with(self._answer)

    def write_with(self, append: Append) -> None:
        """Append for others by a function."""
        self._append = append

    async def appended(self, drafts: Sequence[Draft]) -> list[StoredEvent] | None:
        """Have drafts of one room appended by who writes to it now; it is known here then, as what we append is.

        None: that is us, from now on, if nobody else has done it. Nobody knows then whether somebody else may have.
        """
        room_id = drafts[0].room_id
        writer = self._writers.other(room_id)
        if writer is not None and all(map(_is_known_again, drafts)):
            question, number = await self._asked(writer, drafts)
            if question.answers is not None:
                answer = question.answers[number]
                if answer is None:
                    return None  # it is there, and goes on with what others want
                events = decode_events(answer)
                await self._publisher.reach(max(stored.position or 0 for stored in events))
                return events
        self._writers.note(room_id)
        return None

    async def _asked(self, writer: int, drafts: Sequence[Draft]) -> tuple[_Question, int]:
        """Return an answered question, and the number of some drafts in it. What is to be asked now goes along."""
        key = writer, drafts[0].room_id
        question = self._questions.get(key)
        if question is not None:
            question.drafts.append(drafts)
            number = len(question.drafts) - 1
            await question.answered.wait()
            return question, number
        question = self._questions[key] = _Question()
        question.drafts.append(drafts)
        try:
            try:
                await trio.lowlevel.checkpoint()
            finally:
                del self._questions[key]
            if answer := await self._siblings.ask(writer, pickle.dumps(question.drafts)):
                question.answers = pickle.loads(answer)  # noqa: S301  # our own sibling wrote it
        finally:
            question.answered.set()
        return question, 0

    def claim(self, room_id: RoomId) -> None:
        """Be who writes to a room, from now on."""
        self._writers.note(room_id)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let the others know that there is something to write here, while the block lasts, or until `end_turn`."""
        self._turns.begin()
        try:
            yield
        finally:
            self.end_turn()

    def end_turn(self) -> None:
        """Let the others go on: all is computed."""
        self._turns.end()
        if awaiting := self._siblings.interests.elsewhere(A_TURN, WAKING):
            self._siblings.tell(Topic.TURNS, b"")
            self._siblings.wake(awaiting)

    async def let_go_first(self) -> None:
        """Wait until those who have waited longer have computed what they write, or take too long."""
        if self._turns.has_come:
            return
        interests = self._siblings.interests
        interests.note(A_TURN, WAKING)
        try:
            with trio.move_on_after(TURN_SECONDS):
                while not self._turns.has_come:
                    await self._turn_ended.wait()
        finally:
            interests.drop(A_TURN, WAKING)

    def _note_turn(self, _news: bytes) -> None:
        self._turn_ended.set()
        self._turn_ended = trio.Event()

    async def _answer(self, question: bytes) -> bytes:
        asked: Sequence[Sequence[Draft]] = pickle.loads(question)  # noqa: S301  # our own sibling wrote it
        answers: Sequence[Sequence[StoredEvent] | None] = [None] * len(asked)
        try:
            if self._append is not None:
                answers = await self._append(asked)
        except Exception as error:  # noqa: BLE001  # who asked tries it
            _logger.debug("what another process wanted was not appended", reason=repr(error))
        return pickle.dumps([None if events is None else encode_events(events) for events in answers])


def _is_known_again(draft: Draft) -> bool:
    """Return whether it does no harm to append it a second time."""
    return draft.transaction is not None or draft.state_key is not None
