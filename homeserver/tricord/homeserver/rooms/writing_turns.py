"""The processes of a homeserver write to a room in turns, and to different rooms side by side.

Any process may write to any room, since an append on top of something out of date is refused and computed again. But
where two write to one room all the time, both compute in vain. So while one does, the others wait; what comes for the
room meanwhile goes into one group with what they have. Who has written hands the turn on to the next one that wants it,
which has been told by then what the room has become; or, where that is only a few more messages, once they are computed
(`coming_heads.py`). It is a courtesy, and no lock: who dies, or takes too long, loses the turn, and whoever writes out
of turn costs others time and nothing else.

Who writes alone needs no turns, and spares itself all this. So the first time that another one begins to write to the
same room, one of both may compute in vain.

Different rooms are written by several at once, but committed one after the other, since each commit takes the next
positions. So who has little to write lets the others compute what they write first: what comes meanwhile goes along,
with one commit. While one commits, the next computes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import trio

from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.chain import Chain
from tricord.homeserver.rooms.coming_heads import ComingHeads, gives_only_a_place
from tricord.homeserver.stream.common_memory import TURN_SECONDS, CommonMemory
from tricord.homeserver.stream.interests import A_TURN, WAKING, WRITING
from tricord.homeserver.stream.siblings import Siblings
from tricord.protocol.identifiers import RoomId

# Who has wanted to write to a room is likely to want it again so soon.
_SHARED_SECONDS = 0.1
_MOST_SHARED = 1_000


class WritingTurns:
    """When it is this process's turn to write."""

    def __init__(self, siblings: Siblings, memory: CommonMemory, rooms: CachedRooms) -> None:
        self.heads = ComingHeads(siblings, rooms)
        """What rooms are about to become by what others write."""
        self._siblings = siblings
        self._turns = memory.turns
        self._room_turns = memory.room_turns
        self._place = memory.place
        # Rooms in which we want the next turn, and those of them in which it is awaited here.
        self._wanted: set[RoomId] = set()
        self._awaited: set[RoomId] = set()
        # Rooms that others write to as well, and when that was noticed.
        self._shared: dict[RoomId, float] = {}
        self._rung = trio.Event()
        self._on_change: Callable[[], None] | None = None
        siblings.when_rung(self._look)

    def when_changed(self, look: Callable[[], None]) -> None:
        """Call `look` when the turn in a room that was asked for may have come."""
        self._on_change = look

    def are_needed(self) -> bool:
        """Let the others know that there is something to write here; return whether they write, too."""
        return self._room_turns.begin() or bool(self._wanted)

    def ours(self, room_ids: Collection[RoomId]) -> set[RoomId]:
        """Return those of the rooms that may be written to now. Others will be, each in its turn.

        This is all that there is to write: the turn in rooms that were asked for before is handed on when it comes.
        """
        if not_wanted := self._wanted - set(room_ids) - self._awaited:
            self.hand_on(not_wanted)
        return {room_id for room_id in room_ids if self._has_come(room_id)}

    @property
    def are_awaited(self) -> bool:
        """Whether there is something to write where it was another process's turn."""
        return bool(self._wanted)

    def take(self, room_ids: Iterable[RoomId]) -> None:
        """Begin to write to rooms, as they are now for all that others have told."""
        for room_id in room_ids:
            # Who has the turn keeps it, though the log has nothing to write there.
            self._wanted.discard(room_id)
            self._room_turns.take(room_id)
        self._siblings.hear()

    def hand_on(self, room_ids: Iterable[RoomId]) -> None:
        """Have the next one that wants to write to rooms go on."""
        rung = set()
        for room_id in room_ids:
            self._wanted.discard(room_id)
            self._siblings.interests.drop(room_id, WRITING)
            following = None
            if others := self._siblings.interests.elsewhere(room_id, WRITING):
                self._note_others(room_id)
                # By their places, and round: so each comes once before anybody comes again.
                following = min(others, key=lambda place: (place < self._place, place))
            if self._room_turns.hand_on(room_id, following) and following is not None:
                rung.add(following)
        self._siblings.ring(rung)

    def handed_on_early(self, chains: Iterable[Chain]) -> AbstractContextManager[None]:
        """Let others compute on top of chains, where they can, while these are written in the block."""
        shared = [chain for chain in chains if self.is_shared(chain.room.room_id) and gives_only_a_place(chain)]
        return self._handed_on_early(shared) if shared else nullcontext()

    @contextmanager
    def _handed_on_early(self, chains: Collection[Chain]) -> Iterator[None]:
        heads = {chain: chain.room.head + 1 for chain in chains}
        for chain in chains:
            self.heads.tell(chain)
        self.hand_on(chain.room.room_id for chain in chains)
        try:
            yield
        finally:
            for chain, head in heads.items():
                self.heads.resolve(chain, head)

    async def come(self, room_id: RoomId) -> None:
        """Wait for the turn in a room, and take it; the room is then what others have made of it."""
        self._awaited.add(room_id)
        try:
            while not self._has_come(room_id):
                # Another process that loses its turn does not say so.
                with trio.move_on_after(TURN_SECONDS):
                    await self._rung.wait()
        finally:
            self._awaited.discard(room_id)
        self.take([room_id])
        await self.heads.arrive([room_id])

    def is_shared(self, room_id: RoomId) -> bool:
        """Return whether others have written to a room lately, or want to."""
        noticed = self._shared.get(room_id)
        return noticed is not None and trio.current_time() < noticed + _SHARED_SECONDS

    def begin(self) -> None:
        """Let the others know that there is something to write here, until `end`."""
        self._turns.begin()

    def end(self) -> None:
        """Let the others go on: all is computed."""
        if self._turns.end():
            self._siblings.ring(self._siblings.interests.elsewhere(A_TURN, WAKING))

    async def let_go_first(self) -> None:
        """Wait until those who have waited longer have computed what they write, or take too long."""
        if self._turns.has_come:
            return
        interests = self._siblings.interests
        interests.note(A_TURN, WAKING)
        try:
            with trio.move_on_after(TURN_SECONDS):
                while not self._turns.has_come:
                    await self._rung.wait()
        finally:
            interests.drop(A_TURN, WAKING)

    def _has_come(self, room_id: RoomId) -> bool:
        """Return whether nobody else has the turn in a room; if somebody has, want the next."""
        if self._is_free(room_id):
            return True
        self._note_others(room_id)
        self._wanted.add(room_id)
        self._siblings.interests.note(room_id, WRITING)
        # It may have been left just before that.
        return self._is_free(room_id)

    def _is_free(self, room_id: RoomId) -> bool:
        holder = self._room_turns.holder(room_id)
        return holder is None or not self._siblings.reaches(holder)

    def _note_others(self, room_id: RoomId) -> None:
        self._shared.pop(room_id, None)
        self._shared[room_id] = trio.current_time()
        if len(self._shared) > _MOST_SHARED:
            del self._shared[next(iter(self._shared))]

    def _look(self) -> None:
        self._rung.set()
        self._rung = trio.Event()
        if self._wanted and self._on_change is not None:
            self._on_change()
