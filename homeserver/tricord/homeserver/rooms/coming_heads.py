"""The heads that rooms are about to have: on top of what one process commits now, the next one computes already.

A commit takes as long as the computing before it. Of a room that gets nothing but messages, all that whoever comes next
must know is which events come last; so it is told before they are committed. It is no more than a guess at what will be
there: what was computed on top of it is written only after that has been committed, and has been told as it is. Where
it never is, it is computed again.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import trio

from tricord.homeserver.rooms.annotations import annotation_in
from tricord.homeserver.rooms.append_requests import AppendRequest
from tricord.homeserver.rooms.cached_rooms import CachedRoom, CachedRooms
from tricord.homeserver.rooms.chain import Chain
from tricord.homeserver.rooms.moves import Extremity
from tricord.homeserver.stream.interests import COMING
from tricord.homeserver.stream.siblings import Siblings, Topic
from tricord.protocol.identifiers import EventId, RoomId

# A commit that takes longer is not waited for: what is computed again then waits for it in the database.
_PATIENCE_SECONDS = 2
_MOST = 1_000


@dataclass(frozen=True, slots=True)
class _Coming:
    """A head that a room is about to have; without events, that it will not."""

    first: int
    """The first of the heads, up to this one, of which all have been told: none of them changes more than the place."""
    head: int
    extremities: tuple[Extremity, ...]

    def leads_to(self, head: int, follows: Sequence[EventId]) -> bool:
        """Return whether a head is the next one, and follows these very events.

        Who was about to commit these may have died, or lost its turn; what came in their place may change the state.
        """
        own = [one.event_id for one in self.extremities]
        return bool(own) and self.head == head - 1 and own == follows


class ComingHeads:
    """What other processes are about to commit, and what they are told of ours."""

    def __init__(self, siblings: Siblings, rooms: CachedRooms) -> None:
        self._siblings = siblings
        self._rooms = rooms
        self._coming: dict[RoomId, _Coming] = {}
        self._rung = trio.Event()
        siblings.listen(Topic.HEADS, self._hear)
        siblings.when_rung(self._look)

    def tell(self, chain: Chain) -> None:
        """Tell what a room is about to become."""
        self._tell(chain.room.room_id, chain.room.head + 1, chain.extremities, chain.room.extremities)

    def resolve(self, chain: Chain, head: int) -> None:
        """Have those who wait for a head that was told go on: the room has become that, or it will not."""
        if chain.room.head != head:
            self._tell(chain.room.room_id, head, ())
        self._siblings.ring(self._siblings.interests.elsewhere(chain.room.room_id, COMING))

    def ahead(self, rooms: Iterable[CachedRoom]) -> dict[RoomId, CachedRoom]:
        """Return those of the rooms that are about to be something else, as they will be then."""
        return {
            room.room_id: replace(room, head=coming.head, extremities=coming.extremities)
            for room in rooms
            if (coming := self._follows(room)) is not None
        }

    async def arrive(self, room_ids: Iterable[RoomId]) -> bool:
        """Wait until those of some rooms that are remembered are what they are about to be; return whether any was."""
        has_waited = False
        for room_id in room_ids:
            room = self._rooms.known(room_id)
            if room is not None and (coming := self._follows(room)) is not None:
                await self._reached(room_id, coming.head)
                has_waited = True
        return has_waited

    async def have_come(self, chains: Iterable[Chain]) -> bool:
        """Wait until rooms are what chains were begun with; return False if they have become something else."""
        for chain in chains:
            room = await self._reached(chain.room.room_id, chain.room.head)
            if room is None or room.head != chain.room.head or room.extremities != chain.room.extremities:
                return False
            chain.room = room
        return True

    def _follows(self, room: CachedRoom) -> _Coming | None:
        coming = self._coming.get(room.room_id)
        if coming is None or not coming.extremities or not coming.first <= room.head + 1 <= coming.head:
            return None
        return coming

    async def _reached(self, room_id: RoomId, head: int) -> CachedRoom | None:
        """Wait until a room has a head that it is about to have; return it as it is then, if it is remembered."""
        if self._is_over(room_id, head):
            return self._rooms.known(room_id)
        interests = self._siblings.interests
        interests.note(room_id, COMING)
        try:
            # It may have been told just before that.
            self._siblings.hear()
            with trio.move_on_after(_PATIENCE_SECONDS):
                while not self._is_over(room_id, head):
                    await self._rung.wait()
        finally:
            interests.drop(room_id, COMING)
        return self._rooms.known(room_id)

    def _is_over(self, room_id: RoomId, head: int) -> bool:
        """Return whether a room has a head, or will not have it, or nothing is known of it any more."""
        room, coming = self._rooms.known(room_id), self._coming.get(room_id)
        return room is None or room.head >= head or coming is None or (coming.head == head and not coming.extremities)

    def _tell(
        self, room_id: RoomId, head: int, extremities: Sequence[Extremity], follows: Sequence[Extremity] = ()
    ) -> None:
        last = [(one.event_id, one.nid, one.depth) for one in extremities]
        self._siblings.tell(Topic.HEADS, pickle.dumps((room_id, head, last, [one.event_id for one in follows])))

    def _hear(self, news: bytes) -> None:
        room_id, head, extremities, follows = pickle.loads(news)  # noqa: S301  # our own sibling wrote it
        before = self._coming.pop(room_id, None)
        first = before.first if before is not None and before.leads_to(head, follows) else head
        self._coming[room_id] = _Coming(first, head, tuple(Extremity(*one) for one in extremities))
        if len(self._coming) > _MOST:
            del self._coming[next(iter(self._coming))]

    def _look(self) -> None:
        self._rung.set()
        self._rung = trio.Event()


def needs_only_a_place(request: AppendRequest) -> bool:
    """Return whether a request can be computed without knowing more of what comes before it."""
    return all(
        draft.state_key is None and draft.redacts is None and annotation_in(draft) is None for draft in request.drafts
    )


def gives_only_a_place(chain: Chain) -> bool:
    """Return whether what comes after a chain need not know more of it."""
    return not chain.redactions and all(link.key is None for link in chain.links)
