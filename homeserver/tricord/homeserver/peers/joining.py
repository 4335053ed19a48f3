"""Joining a room that this server is not in, through one that is.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import structlog

from tricord.federation.calls.membership import SendJoin
from tricord.federation.peers import Peers
from tricord.homeserver.peers.deliveries import Deliveries
from tricord.homeserver.peers.handshake import Handshake, candidates, event_from, first_that_answers
from tricord.homeserver.rooms.cached_rooms import CachedRoom
from tricord.homeserver.rooms.chain import Signer
from tricord.homeserver.rooms.outliers import Outliers
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.placement import Arrival, Placement, Verdict
from tricord.homeserver.rooms.receive import Receiver
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.state_map import NodeId, StateRoot
from tricord.homeserver.rooms.verification import Verifier, parsed
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.remote_memberships import forget_hearsay, known_room
from tricord.homeserver.turns import Turns
from tricord.protocol.errors import BadJson, Forbidden, MatrixError
from tricord.protocol.events import Event, VerifiedEvent, parse_event
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId
from tricord.protocol.room_versions import ROOM_VERSIONS
from tricord.protocol.strict_json import JsonObject

_logger = structlog.get_logger(__name__)


class RemoteJoins:
    """Joins rooms elsewhere."""

    def __init__(
        self,
        database: Database,
        peers: Peers,
        deliveries: Deliveries,
        outliers: Outliers,
        placement: Placement,
        verifier: Verifier,
        receiver: Receiver,
        residence: Residence,
        partial_rooms: PartialRooms,
        signer: Signer,
    ) -> None:
        self._database = database
        self._peers = peers
        self._deliveries = deliveries
        self._outliers = outliers
        self._placement = placement
        self._verifier = verifier
        self._receiver = receiver
        self._residence = residence
        self._partial_rooms = partial_rooms
        self._signer = signer
        self._turns: Turns[RoomId] = Turns()

    async def join(
        self, user_id: UserId, room_id: RoomId, servers: Sequence[ServerName], content: JsonObject
    ) -> EventId:
        """Join through the first of some servers that lets us; return the id of the join.

        Raises the refusal of the server that said most, or Unknown if none could be reached.
        """
        known = candidates(servers, without=self._signer.server_name)

        async def join_through(server: ServerName) -> EventId:
            await self._deliveries.wait_for(server, room_id)
            template = await self._peers.make_join(server, room_id, user_id, list(ROOM_VERSIONS))
            event = event_from(template, room_id, user_id, content, self._signer)
            handshake = Handshake(server, event.version, event)
            # Its members can come later, unless this server has use for them at once: they are most of a large room.
            omit_members = not await self._residence.is_in(room_id)
            answer = await self._peers.send_join(server, room_id, event.event_id, event.pdu, omit_members)
            return await self._settle_in(handshake, answer)

        return await first_that_answers(known, join_through)

    async def _settle_in(self, handshake: Handshake, answer: SendJoin) -> EventId:
        """Make the room ours, with the state before our join as the server tells it."""
        event, version = handshake.event, handshake.version
        if answer.event is not None:
            event = await self._countersigned(event, answer.event)
        state = await parsed(answer.state, version, event.room_id)
        chain = await parsed(answer.auth_chain, version, event.room_id)
        events, _ = await self._verifier.verified((chain | state).values())
        if not any(one.type == "m.room.create" for one in events):
            raise BadJson(f"{handshake.destination} tells of no create event of {event.room_id}")
        async with self._turns.of(event.room_id):
            known = await self._database.run(_known_room, event.room_id, version.name)
            if known is None:
                raise BadJson(
                    f"{handshake.destination} says that {event.room_id} has version {version.name}: it has not"
                )
            nid, head, root = known
            await self._outliers.keep(nid, events)
            room = CachedRoom(nid, event.room_id, version, head, StateRoot(root), ())
            # Somebody else of ours may have come in meanwhile, or been there before: what they were told stays true.
            anew = not await self._residence.is_in(event.room_id)
            told = [*state, *(_vouching_members(event, state, chain) if answer.members_omitted else ())]
            before, nodes = await self._state_before(handshake, room, told, answer, anew=anew)
            arrival = Arrival(event, before, nodes, starts_anew=anew)
            outcome = (await self._placement.place(event.room_id, [arrival], new_room=room))[event.event_id]
            is_partial = answer.members_omitted and anew
            if outcome.verdict is not Verdict.ACCEPTED:
                if is_partial:
                    await self._partial_rooms.forget(event.room_id)
                raise Forbidden(
                    f"the state that {handshake.destination} tells does not allow the join: {outcome.reason}"
                )
        # Now there is something to be completed, or what was once not judged can be.
        self._partial_rooms.look_again()
        _logger.info(
            "joined a room elsewhere",
            room_id=event.room_id,
            through=handshake.destination,
            events=len(events),
            members="to be fetched" if is_partial else "known",
        )
        return event.event_id

    async def _state_before(
        self, handshake: Handshake, room: CachedRoom, told: Collection[EventId], answer: SendJoin, *, anew: bool
    ) -> tuple[StateRoot, Mapping[NodeId, bytes]]:
        """Return the state before our join; if members were left out of it, note that they are to be fetched."""
        if answer.members_omitted and not anew:
            # We know more of the room than we were told now.
            await self._partial_rooms.until_complete(room.room_id)
            before = await self._receiver.told_state(handshake.destination, room, handshake.event)
        else:
            before = await self._outliers.state_of(room.room_id, told)
        if before is None:
            raise BadJson(f"{handshake.destination} tells of no create event in the state of {room.room_id}")
        if answer.members_omitted and anew:
            servers = candidates([handshake.destination], answer.servers_in_room, without=self._signer.server_name)
            now_ms = self._signer.clock.now_ms()
            await self._partial_rooms.begin(room.nid, handshake.event.event_id, servers, before[0], now_ms)
        elif anew:
            # It may have been partial when we were in it the last time.
            await self._partial_rooms.join_wholly(room.room_id, handshake.event.event_id)
        return before

    async def _countersigned(self, event: VerifiedEvent, pdu: JsonObject) -> VerifiedEvent:
        """Return our join with the further signature that the server gave, if it is still ours."""
        try:
            theirs = parse_event(pdu, event.version)
        except MatrixError:
            return event
        if theirs.event_id != event.event_id:
            return event
        verified, _ = await self._verifier.verified([theirs])
        return verified[0] if verified else event


def _vouching_members(
    event: VerifiedEvent, state: Mapping[EventId, Event], chain: Mapping[EventId, Event]
) -> list[EventId]:
    """Return the members whom our join stands on and whom the state leaves out: what vouches for the join has them.

    Such is, in a restricted room, whoever lets the user in: without them, the join would not be authorized.
    """
    told = {(one.type, one.state_key) for one in state.values()}
    return [
        auth_id
        for auth_id in event.auth_events
        if (one := chain.get(auth_id)) is not None
        and one.type == "m.room.member"
        and (one.type, one.state_key) not in told
    ]


async def _known_room(tx: Transaction, room_id: RoomId, version: str) -> tuple[int, int, bytes] | None:
    known = await known_room(tx, room_id, version)
    if known is None:
        # A server that a user joins through is believed before one that invited somebody.
        await forget_hearsay(tx, room_id, version)
        known = await known_room(tx, room_id, version)
    return known
