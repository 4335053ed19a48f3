"""What waits to be appended, and what of it is answered without being written: repeated requests and annotations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import trio

from tricord.homeserver.rooms.annotations import Annotation, annotation_in, annotations_there
from tricord.homeserver.rooms.chain import Chain, transaction_digest
from tricord.homeserver.rooms.drafts import Draft
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.storage.client_transactions import answered_transactions
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.events import events_by_nid
from tricord.protocol.errors import DuplicateAnnotation, NotFound
from tricord.protocol.identifiers import RoomId, UserId


@dataclass(slots=True, eq=False)
class AppendRequest:
    """Drafts of one room that belong together, and who waits for them."""

    drafts: Sequence[Draft]
    done: trio.Event = field(default_factory=trio.Event)
    stored: list[StoredEvent] = field(default_factory=list)
    error: Exception | None = None
    is_wanted: bool = True
    needs_recommendation: bool = False

    @property
    def room_id(self) -> RoomId:
        """The room."""
        return self.drafts[0].room_id

    def fail(self, error: Exception) -> None:
        """Say what is wrong with them."""
        self.error = error
        self.done.set()

    def succeed(self, stored: list[StoredEvent]) -> None:
        """Give their events."""
        self.stored = stored
        self.done.set()


class Repetitions:
    """Answers requests that say again what was said before."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def refuse(self, refusals: Mapping[AppendRequest, Exception]) -> None:
        """Tell requests what is wrong with them; but who repeats one that was answered gets its answer."""
        for request in await self.not_yet_answered(list(refusals)):
            request.fail(refusals[request])

    async def not_yet_answered(self, requests: list[AppendRequest]) -> list[AppendRequest]:
        """Answer repeated transactions; return the other requests."""
        digests = {request: digest for request in requests if (digest := transaction_digest(request.drafts[0]))}
        answered = await self._database.read(_answers, list(set(digests.values()))) if digests else {}
        for request, digest in digests.items():
            if digest in answered and (stored := answered[digest]) is not None:
                request.succeed([stored])
            elif digest in answered:
                request.fail(NotFound("the event that this request was answered with has been deleted"))
        return [request for request in requests if not request.done.is_set()]

    async def not_yet_said(
        self, requests: list[AppendRequest], chains: Mapping[RoomId, Chain]
    ) -> tuple[list[AppendRequest], list[AppendRequest]]:
        """Refuse to annotate an event twice in the same way; return the others, and those that repeat one of these.

        Whoever is not in the room is left to be refused for that.
        """
        wanted = {
            request: {annotation for draft in request.drafts if (annotation := annotation_in(draft)) is not None}
            for request in requests
        }
        asked = set[Annotation]().union(*wanted.values())
        if not asked:
            return requests, []
        said = await self._database.read(annotations_there, asked)
        new, equal = [], []
        refusals: dict[AppendRequest, Exception] = {}
        under_way: set[Annotation] = set()
        for request, made in wanted.items():
            repeated = next((one for one in made & said if _is_in(one.sender, chains.get(one.room_id))), None)
            if repeated is not None:
                words = f"{repeated.sender} has annotated {repeated.parent_id} like that already"
                refusals[request] = DuplicateAnnotation(words)
            elif made & under_way:
                equal.append(request)
            else:
                under_way |= made
                new.append(request)
        if refusals:
            await self.refuse(refusals)
        return new, equal


def apart_from_repeated(requests: Iterable[AppendRequest]) -> tuple[list[AppendRequest], list[AppendRequest]]:
    """Return the first of each transaction, and those that repeat one of these."""
    first, repeated = [], []
    seen: set[bytes] = set()
    for request in requests:
        digest = transaction_digest(request.drafts[0])
        if digest is None:
            first.append(request)
        elif digest in seen:
            repeated.append(request)
        else:
            seen.add(digest)
            first.append(request)
    return first, repeated


def _is_in(user_id: UserId, chain: Chain | None) -> bool:
    member = None if chain is None else chain.room.state.get(("m.room.member", user_id))
    return member is not None and member.event.content.get("membership") == "join"


async def _answers(tx: Transaction, digests: Sequence[bytes]) -> dict[bytes, StoredEvent | None]:
    """Return what transactions were answered with; None where that has been deleted since."""
    nids = await answered_transactions(tx, digests)
    events = await events_by_nid(tx, list(nids.values())) if nids else {}
    return {digest: events.get(nid) for digest, nid in nids.items()}
