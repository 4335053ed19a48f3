"""Memberships that take two servers: leaving and knocking elsewhere, and inviting somebody elsewhere.

https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites
https://spec.matrix.org/v1.19/server-server-api/#knocking-upon-a-room
https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from tricord.federation.errors import PeerError, PeerRefused
from tricord.federation.peers import Peers
from tricord.homeserver.peers.deliveries import Deliveries
from tricord.homeserver.peers.handshake import as_refusal, candidates, event_from, first_that_answers
from tricord.homeserver.peers.joining import RemoteJoins
from tricord.homeserver.peers.told_state import ToldState
from tricord.homeserver.rooms.append import Log
from tricord.homeserver.rooms.chain import Signer
from tricord.homeserver.rooms.drafts import Draft
from tricord.homeserver.rooms.event_policy import EventPolicy
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.outsiders import Outsiders, servers_in_id, servers_shown
from tricord.homeserver.rooms.placement import Arrival, Placement, Verdict
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stripped_state import stripped_room_state
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.verification import Verifier
from tricord.protocol.errors import Forbidden, IncompatibleRoomVersion, MatrixError, NotFound, Unknown
from tricord.protocol.events import VerifiedEvent, build_event, parse_event, with_unsigned
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId, server_name_of
from tricord.protocol.room_versions import ROOM_VERSIONS
from tricord.protocol.strict_json import JsonObject

_logger = structlog.get_logger(__name__)


class RemoteMemberships:
    """Changes memberships together with other servers."""

    def __init__(
        self,
        peers: Peers,
        deliveries: Deliveries,
        joins: RemoteJoins,
        log: Log,
        placement: Placement,
        verifier: Verifier,
        told_state: ToldState,
        outsiders: Outsiders,
        memberships: Memberships,
        state: RoomState,
        timeline: Timeline,
        signer: Signer,
        policy: EventPolicy,
    ) -> None:
        self._policy = policy
        self._peers = peers
        self._deliveries = deliveries
        self._joins = joins
        self._log = log
        self._placement = placement
        self._verifier = verifier
        self._told_state = told_state
        self._outsiders = outsiders
        self._memberships = memberships
        self._state = state
        self._timeline = timeline
        self._signer = signer

    async def join(
        self, user_id: UserId, room_id: RoomId, servers: Sequence[ServerName], content: JsonObject
    ) -> EventId:
        """Join a room elsewhere."""
        return await self._joins.join(user_id, room_id, [*servers, *servers_in_id(room_id)], content)

    async def leave(self, user_id: UserId, room_id: RoomId, content: JsonObject) -> EventId:
        """Reject an invitation to a room elsewhere, or take back a knock.

        Where no server takes part, the user is told that they have left all the same: they want to be rid of it.
        """
        now = await self._memberships.membership(user_id, room_id)
        if now is None:
            raise Forbidden(f"{user_id} is not in {room_id}")
        told = await self._timeline.event(now.event_id)
        servers = candidates(
            [server_name_of(now.sender)],
            servers_in_id(room_id),
            servers_shown(told.event.unsigned) if told else (),
            without=self._signer.server_name,
        )

        async def leave_through(server: ServerName) -> VerifiedEvent:
            template = await self._peers.make_leave(server, room_id, user_id)
            event = event_from(template, room_id, user_id, content, self._signer)
            await self._peers.send_leave(server, room_id, event.event_id, event.pdu)
            return event

        try:
            event = await first_that_answers(servers, leave_through)
        except MatrixError as reason:
            _logger.info("left a room for this server alone", room_id=room_id, user_id=user_id, reason=reason.message)
            event = await self._left_alone(user_id, room_id, now.event_id, content)
        await self._outsiders.note(event)
        return event.event_id

    async def knock(
        self, user_id: UserId, room_id: RoomId, servers: Sequence[ServerName], content: JsonObject
    ) -> EventId:
        """Knock on a room elsewhere."""
        versions = [name for name, version in ROOM_VERSIONS.items() if version.knocking]

        async def knock_through(server: ServerName) -> VerifiedEvent:
            await self._deliveries.wait_for(server, room_id)
            template = await self._peers.make_knock(server, room_id, user_id, versions)
            event = event_from(template, room_id, user_id, content, self._signer)
            told = await self._peers.send_knock(server, room_id, event.event_id, event.pdu)
            shown = await self._told_state.of_knock(told, event.version, room_id)
            return with_unsigned(event, {"knock_room_state": shown})

        known = candidates(servers, servers_in_id(room_id), without=self._signer.server_name)
        try:
            event = await first_that_answers(known, knock_through)
        except IncompatibleRoomVersion as error:
            # We named all versions that have doors to knock on.
            raise Forbidden(f"rooms of the version of {room_id} know no knocking") from error
        await self._outsiders.note(event)
        return event.event_id

    async def invite(self, draft: Draft, user_id: UserId) -> EventId:
        """Invite a user of another server: that server signs the invitation too, before it is part of the room.

        Raises the other server's refusal, or Unknown if it cannot be reached.
        """
        server = server_name_of(user_id)
        event = await self._policy.recommended(await self._log.prepared(draft), urgent=True)
        told = await stripped_room_state(self._state, event.room_id, draft.sender)
        try:
            pdu = await self._peers.invite(server, event.room_id, event.event_id, event.pdu, event.version.name, told)
        except PeerRefused as error:
            raise as_refusal(error) from error
        except PeerError as error:
            raise Unknown(f"{server} could not be reached to invite {user_id}: {error}") from error
        signed = parse_event(pdu, event.version)
        if signed.event_id != event.event_id:
            raise Unknown(f"{server} signed another event than the invitation")
        verified, wrong = await self._verifier.verified([signed])
        if not verified:
            raise Unknown(f"{server} has not signed the invitation as it should: {wrong[event.event_id]}")
        outcomes = await self._placement.place(event.room_id, [Arrival(verified[0], forward=True)])
        outcome = outcomes[event.event_id]
        if outcome.verdict is not Verdict.ACCEPTED:
            raise Forbidden(outcome.reason)
        return event.event_id

    async def _left_alone(
        self, user_id: UserId, room_id: RoomId, last_event_id: EventId, content: JsonObject
    ) -> VerifiedEvent:
        """Make a leave that nobody else will see, on top of what made the user what they were."""
        last = await self._timeline.event(last_event_id)
        if last is None:
            raise NotFound(f"there is no room {room_id} on this server")
        return build_event(
            version=last.event.version,
            room_id=room_id,
            sender=user_id,
            type="m.room.member",
            state_key=user_id,
            content=content,
            origin_server_ts=self._signer.clock.now_ms(),
            depth=last.event.depth + 1,
            prev_events=[last_event_id],
            auth_events=[last_event_id],
            server_name=self._signer.server_name,
            key=self._signer.key,
        )
