"""The only writer of events: everything that enters a room's log goes through `Log`.

Compare and append: a write names the head of each room that it was computed against. A room that another process has
moved meanwhile is left as it is, and its events are computed again on top of what is there now. So any number of
processes append to the same rooms, with no leader and no lock service. They do so in turns (`writing_turns.py`), which
is quicker, and no more than that.

Group commit: what waits while a write is under way goes into the next one. Events of one room are chained in memory,
many rooms side by side, all in one statement with one fsync.

Nobody is answered before COMMIT.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import structlog
import trio

from tricord.homeserver.rooms.append_requests import AppendRequest, Repetitions, apart_from_repeated
from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.chain import Chain, Signer, keys_to_know
from tricord.homeserver.rooms.coming_heads import needs_only_a_place
from tricord.homeserver.rooms.commit import Committer
from tricord.homeserver.rooms.drafts import ClientTransaction, Draft, check_storable
from tricord.homeserver.rooms.event_numbers import EventNumbers
from tricord.homeserver.rooms.event_policy import EventPolicy
from tricord.homeserver.rooms.new_rooms import NewRooms
from tricord.homeserver.rooms.room_write import Link, RoomWrite
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.writing_turns import WritingTurns
from tricord.homeserver.storage.client_transactions import prune_client_transactions
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError, DatabaseUnavailable, SerializationFailure
from tricord.homeserver.storage.events import events_by_id
from tricord.homeserver.stream.common_memory import TURN_SECONDS
from tricord.protocol.errors import NotFound
from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.room_versions import RoomVersion
from tricord.protocol.strict_json import JsonObject

__all__ = ["ClientTransaction", "Draft", "Log"]

_MOST_EVENTS = 200
# Where so much waits, what is spared by more is little.
_MANY_EVENTS = 50
# A room that moves each time is moved by others that get on; still, nobody should wait for ever.
_MOST_TRIES = 100
# So often a policy server is asked before others have to wait for its answer too.
_TRIES_WHILE_OTHERS_WRITE = 3
# Of a busy room that several processes write to; to write a group takes longer than this.
_GATHER_SECONDS, _GATHER_STEPS = 0.002, 5
_TRANSACTIONS_LAST_MS = 24 * 3600 * 1000
_PRUNE_EVERY_SECONDS = 3600

_logger = structlog.get_logger(__name__)


class Log:
    """The events of all rooms."""

    def __init__(
        self,
        database: Database,
        rooms: CachedRooms,
        committer: Committer,
        signer: Signer,
        policy: EventPolicy | None = None,
        turns: WritingTurns | None = None,
    ) -> None:
        self._policy = policy
        self._turns = turns
        if turns is not None:
            turns.when_changed(self._look_again)
        self._database = database
        self._rooms = rooms
        self._signer = signer
        self._waiting: list[AppendRequest] = []
        self._last_size = 0
        self._has_work = trio.Event()
        # Rooms whose log somebody has for themselves, and rooms in the group that is being written.
        self._held: set[RoomId] = set()
        self._in_group: frozenset[RoomId] = frozenset()
        self._changed_hands = trio.Event()
        self._numbers = EventNumbers(database)
        self._repetitions = Repetitions(database)
        self._committer = committer
        self._new_rooms = NewRooms(database, rooms, signer, self._numbers, committer)

    async def append(self, draft: Draft) -> StoredEvent:
        """Append an event; return it once it is committed.

        Raises Forbidden if the state before it does not allow it, NotFound if there is no such room. A repeated
        transaction returns the event of the first; state that is set already returns the event that set it.
        """
        (stored,) = await self.append_all([draft])
        return stored

    async def append_all(self, drafts: Sequence[Draft]) -> list[StoredEvent]:
        """Append events of one room, each after the other; all of them or none."""
        if not drafts:
            return []
        if any(draft.room_id != drafts[0].room_id for draft in drafts):
            raise ValueError("events of several rooms cannot be appended as one")
        for draft in drafts:
            check_storable(draft)
        stored = await self._appended(AppendRequest(drafts))
        return await self._append_recommended(drafts) if stored is None else stored

    async def _appended(self, request: AppendRequest) -> list[StoredEvent] | None:
        """Have a request written; None if the room's policy server must be asked first."""
        self._waiting.append(request)
        self._has_work.set()
        try:
            await request.done.wait()
        finally:
            # Gone before it was taken up: then it need not be.
            request.is_wanted = False
        if request.error is not None:
            raise request.error
        return None if request.needs_recommendation else request.stored

    async def _append_recommended(self, drafts: Sequence[Draft]) -> list[StoredEvent]:
        """Append events that the room's policy server signs; raise what it says if it does not.

        While it is asked, others may write to the room: then it is asked about new events. Only who finds the room
        moved again and again has it for themselves meanwhile.
        """
        room_id = drafts[0].room_id
        for number in range(_MOST_TRIES):
            async with contextlib.AsyncExitStack() as stack:
                if number >= _TRIES_WHILE_OTHERS_WRITE:
                    await stack.enter_async_context(self.held(room_id))
                request = AppendRequest(drafts)
                chain = (await self._chains([request], self._turns)).get(room_id)
                if chain is None:
                    raise NotFound(f"there is no room {room_id} on this server")
                head = chain.room.head
                if not await self._repetitions.not_yet_answered([request]):
                    return request.stored
                new, _ = await self._repetitions.not_yet_said([request], {room_id: chain})
                if not new and request.error is not None:
                    raise request.error
                results = chain.add(drafts, await self._numbers.take(len(drafts)))
                if self._policy is not None:
                    for link in chain.links:
                        link.event = await self._policy.recommended(link.event, urgent=True)
                if number < _TRIES_WHILE_OTHERS_WRITE:
                    await stack.enter_async_context(self.held(room_id))
                if chain.room.head != head:
                    continue
                await self._committer.settle([chain])
                if not chain.links or await self.write(chain.settled()):
                    written = await self._database.read(events_by_id, [result.event.event_id for result in results])
                    return [written[result.event.event_id] for result in results]
                self._rooms.forget(room_id)
        raise DatabaseError(f"{room_id} is being written to by too many others")

    async def prepared(self, draft: Draft) -> VerifiedEvent:
        """Return the event that a draft would become now, without appending it: for others to sign first.

        Raises as `append` does.
        """
        check_storable(draft)
        request = AppendRequest([draft])
        chain = (await self._chains([request], self._turns)).get(draft.room_id)
        if chain is None:
            raise NotFound(f"there is no room {draft.room_id} on this server")
        return chain.add([draft], iter([0]))[0].event

    async def create_room(
        self, version: RoomVersion, creator: UserId, create_content: JsonObject, drafts: Sequence[Draft]
    ) -> tuple[RoomId, list[StoredEvent]]:
        """Make a room of a create event and the drafts, all of them or nothing.

        The drafts need not name the room: they get its id, which may be the hash of the create event. The create event
        comes first in the list.
        """
        return await self._new_rooms.create(version, creator, create_content, drafts)

    @contextlib.asynccontextmanager
    async def held(self, room_id: RoomId) -> AsyncIterator[None]:
        """Have the log of a room for oneself in this process, to compute what takes long; appends to it wait.

        Other processes wait for some time only, so that `write` may still find that the room has moved.
        """
        while room_id in self._held or room_id in self._in_group:
            await self._changed_hands.wait()
        self._held.add(room_id)
        try:
            if self._turns is not None:
                await self._turns.come(room_id)
            yield
        finally:
            self._held.discard(room_id)
            if self._turns is not None:
                self._turns.hand_on([room_id])
            self._hand_over()
            self._has_work.set()

    async def write(self, write: RoomWrite) -> bool:
        """Write to a room that is held; return False, with nothing written, if the room is no longer where it was.

        Who tries again has the turn of the other processes once more: they would otherwise, while they are busy, have
        moved the room each time.
        """
        # Once written, it must also be announced, whoever asked for it.
        with trio.CancelScope(shield=True):
            moved, positions = await self._committer.put([write])
            self._committer.take_in([write], moved, positions)
        is_written = write.room.nid in moved
        if not is_written and self._turns is not None:
            self._turns.take([write.room.room_id])
        return is_written

    async def run(self) -> None:
        """Write what is appended, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._prune)
            nursery.start_soon(self._new_rooms.run)
            while True:
                while not self._writable(turns := self._turns_needed()):
                    self._has_work = trio.Event()
                    await self._work()
                if turns is None:
                    await self._write_group(None)
                else:
                    if any(turns.is_shared(request.room_id) for request in self._waiting):
                        await self._gather()
                    turns.begin()
                    try:
                        if len(self._waiting) < _MANY_EVENTS:
                            await turns.let_go_first()
                        await self._write_group(turns)
                    finally:
                        turns.end()
                # So that who waits to hold a room gets its turn.
                await trio.lowlevel.checkpoint()

    async def _gather(self) -> None:
        """Wait a moment for those who were answered together, and are likely to have more to write together."""
        for _ in range(_GATHER_STEPS):
            if len(self._waiting) >= self._last_size:
                return
            await trio.sleep(_GATHER_SECONDS / _GATHER_STEPS)

    def _turns_needed(self) -> WritingTurns | None:
        """Return the turns, if there is something to write and others write as well."""
        turns = self._turns
        if turns is None or not (self._waiting or turns.are_awaited):
            return None
        return turns if turns.are_needed() else None

    def _writable(self, turns: WritingTurns | None) -> Collection[RoomId]:
        """Return the rooms that something waits to be written to, and that nobody else writes to now."""
        wanted = {request.room_id for request in self._waiting if request.is_wanted} - self._held
        return wanted if turns is None else turns.ours(wanted)

    async def _work(self) -> None:
        if self._turns is None or not self._turns.are_awaited:
            await self._has_work.wait()
            return
        # Another process that loses its turn does not say so.
        with trio.move_on_after(TURN_SECONDS):
            await self._has_work.wait()

    def _look_again(self) -> None:
        self._has_work.set()

    async def _write_group(self, turns: WritingTurns | None) -> None:
        """Write what waits now, in turns with other processes if there are any."""
        group = self._next_group(turns)
        rooms = self._in_group = frozenset(request.room_id for request in group)
        if turns is not None:
            turns.take(rooms)
        try:
            await self._write(group, turns)
        finally:
            self._in_group = frozenset()
            if turns is not None:
                turns.hand_on(rooms)
            self._hand_over()

    def _hand_over(self) -> None:
        self._changed_hands.set()
        self._changed_hands = trio.Event()

    def _next_group(self, turns: WritingTurns | None) -> list[AppendRequest]:
        writable = self._writable(turns)
        group: list[AppendRequest] = []
        later: list[AppendRequest] = []
        size = 0
        for number, request in enumerate(self._waiting):
            if group and size + len(request.drafts) > _MOST_EVENTS:
                later += self._waiting[number:]
                break
            if not request.is_wanted:
                continue
            if request.room_id not in writable:
                later.append(request)
                continue
            group.append(request)
            size += len(request.drafts)
        self._waiting = later
        self._last_size = len(group)
        return group

    async def _write(self, requests: list[AppendRequest], turns: WritingTurns | None) -> None:
        """Write requests; each is answered in the end, with its events or with what is wrong with it."""
        for number in range(_MOST_TRIES):
            # A try that fails in the end may have answered some.
            requests = [request for request in requests if not request.done.is_set()]
            if not requests:
                return
            try:
                requests = await self._write_once(requests, turns, is_first=number == 0)
            except SerializationFailure:
                continue
            except Exception as error:  # noqa: BLE001 - it is the waiting caller's, and raised there
                if len(requests) == 1 or isinstance(error, DatabaseUnavailable):
                    self._give_up(requests, error)
                    return
                _logger.warning("a group of appends failed; each is tried by itself", reason=repr(error))
                for request in requests:
                    if not request.done.is_set():
                        await self._write([request], turns)
                return
        self._give_up(requests, DatabaseError("the room is being written to by too many others"))

    def _give_up(self, requests: Collection[AppendRequest], error: Exception) -> None:
        for request in requests:
            # Whether it was written is not known.
            self._rooms.forget(request.room_id)
            if not request.done.is_set():
                request.fail(error)

    async def _write_once(
        self, requests: list[AppendRequest], turns: WritingTurns | None, *, is_first: bool
    ) -> list[AppendRequest]:
        """Write requests, and return those that have to be tried again."""
        # Heads first: what another process answers after the statement has looked has moved its room from this head.
        # Once such a head has not come, nothing is computed for another that may not come either.
        chains = await self._chains(requests, turns, ahead=is_first)
        requests, again = apart_from_repeated(requests)
        requests, equal = await self._repetitions.not_yet_said(requests, chains)
        again += equal
        nids = await self._numbers.take(sum(len(request.drafts) for request in requests))
        built: list[tuple[AppendRequest, list[StoredEvent | Link]]] = []
        refusals: dict[AppendRequest, Exception] = {}
        for request in requests:
            try:
                results = _built(request, chains, nids)
            except Exception as error:  # noqa: BLE001 - one draft must not fail those of others; its caller raises it
                refusals[request] = error
            else:
                if results is not None:
                    built.append((request, results))
        written = [chain for chain in chains.values() if chain.links]
        await self._committer.settle(written)
        with _others_computing(turns, written):
            if not await _are_as_expected(turns, chains.values()):
                return requests + again
            if refusals:
                await self._repetitions.refuse(refusals)
            moved, positions = await self._put([chain.settled() for chain in written])
        refused = []
        for request, results in built:
            chain = chains[request.room_id]
            if chain.links and chain.room.nid not in moved:
                refused.append(request)
            else:
                request.succeed([_stored(result, positions) for result in results])
        return await self._still_to_write(again, refused, chains) if again or refused else []

    async def _put(self, writes: Collection[RoomWrite]) -> tuple[Collection[int], dict[int, int]]:
        """Commit what rooms become; return which of them have, and the positions of the events."""
        if not writes:
            return (), {}
        moved, positions = await self._committer.put(writes)
        self._committer.take_in(writes, moved, positions)
        return moved, positions

    async def _still_to_write(
        self, waiting: list[AppendRequest], refused: list[AppendRequest], chains: Mapping[RoomId, Chain]
    ) -> list[AppendRequest]:
        """Answer who repeats what has been answered; return the others, to be tried again.

        The rooms of those that were `refused` were not written to, because of such a one or because they have moved.
        """
        left = await self._repetitions.not_yet_answered(waiting + refused)
        as_known = {request.room_id for request in refused if request.done.is_set()}
        for room_id in {request.room_id for request in refused} - as_known:
            # Another process has moved it: all this was computed on top of what is no longer the end of it.
            self._rooms.outdate(chains[room_id].room)
        return left

    async def _chains(
        self, requests: Collection[AppendRequest], turns: WritingTurns | None, *, ahead: bool = False
    ) -> dict[RoomId, Chain]:
        """Start a chain for each room that is here, with all known that building it asks for.

        `ahead`: on top of what another process is about to commit, where that is known.
        """
        room_ids = {request.room_id for request in requests}
        rooms = await self._rooms.rooms(room_ids)
        # Where more must be known of what another process commits now than that it comes before this.
        exacting = {request.room_id for request in requests if not needs_only_a_place(request)}
        if turns is not None and await turns.heads.arrive(exacting):
            rooms = await self._rooms.rooms(room_ids)
        known = [
            (room, draft)
            for request in requests
            if (room := rooms.get(request.room_id)) is not None
            for draft in request.drafts
        ]
        await self._rooms.read_state((room, keys_to_know(draft, room.version)) for room, draft in known)
        redacted = {draft.redacts for _, draft in known if draft.redacts is not None}
        targets = await self._database.read(events_by_id, list(redacted)) if redacted else {}
        coming = {}
        if turns is not None and ahead:
            coming = turns.heads.ahead(room for room_id, room in rooms.items() if room_id not in exacting)
        return {
            room_id: Chain(coming.get(room_id, room), self._signer, targets, is_ahead=room_id in coming)
            for room_id, room in rooms.items()
        }

    async def _prune(self) -> None:
        while True:
            try:
                before = self._signer.clock.now_ms() - _TRANSACTIONS_LAST_MS
                await self._database.run(prune_client_transactions, before)
            except DatabaseError as error:
                _logger.warning("old client transactions could not be pruned", reason=str(error))
            await trio.sleep(_PRUNE_EVERY_SECONDS)


def _built(
    request: AppendRequest, chains: Mapping[RoomId, Chain], nids: Iterator[int]
) -> list[StoredEvent | Link] | None:
    """Add a request to its room's chain; None if it must be recommended, which it is told. Raises why it cannot be."""
    chain = chains.get(request.room_id)
    if chain is None:
        raise NotFound(f"there is no room {request.room_id} on this server")
    if chain.names_policy_server:
        # It takes its time to answer, and nobody else's event shall wait for that.
        request.needs_recommendation = True
        request.done.set()
        return None
    return chain.add(request.drafts, nids)


def _others_computing(turns: WritingTurns | None, written: Collection[Chain]) -> AbstractContextManager[None]:
    """Let other processes compute, where they can on top of this, what they write next."""
    if turns is None:
        return contextlib.nullcontext()
    turns.end()
    return turns.handed_on_early(written)


async def _are_as_expected(turns: WritingTurns | None, chains: Iterable[Chain]) -> bool:
    """Return whether rooms have become what they were expected to be, once they have become anything."""
    expected = [chain for chain in chains if chain.is_ahead]
    return turns is None or not expected or await turns.heads.have_come(expected)


def _stored(result: StoredEvent | Link, positions: Mapping[int, int]) -> StoredEvent:
    return result.stored(positions[result.nid]) if isinstance(result, Link) else result
