"""Asking the policy servers of rooms for their signatures.

https://spec.matrix.org/v1.19/server-server-api/#asking-for-a-policy-server-signature-on-an-event
"""

from __future__ import annotations

import orjson

from tricord.federation.errors import PeerError, PeerRefused
from tricord.federation.peers import Peers
from tricord.homeserver.peers.recommendations import Recommendations
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StateKey
from tricord.protocol.errors import NotRecommended, SignatureInvalid
from tricord.protocol.events import VerifiedEvent, with_signature
from tricord.protocol.identifiers import RoomId, ServerName, server_name_of
from tricord.protocol.policy_server import (
    POLICY_KEY_ID,
    POLICY_TYPE,
    RoomPolicy,
    needs_recommendation,
    room_policy,
)

_POLICY: StateKey = (POLICY_TYPE, "")
_LONGEST_WORDS = 500
_LONGEST_ERRCODE = 255
_MOST_BYTES = 4096
# Those that are described for the endpoint; another one would mean something else to a client.
_STATUSES = frozenset({400, 403, 404, 429})
# To a client, these say something about its own session, its user, or this server.
_NOT_OF_AN_EVENT = frozenset(
    {
        "M_CONSENT_NOT_GIVEN",
        "M_EXPIRED_ACCOUNT",
        "M_MISSING_TOKEN",
        "M_RESOURCE_LIMIT_EXCEEDED",
        "M_UNAUTHORIZED",
        "M_UNKNOWN_TOKEN",
        "M_UNRECOGNIZED",
        "M_USER_DEACTIVATED",
        "M_USER_LOCKED",
        "M_USER_SUSPENDED",
    }
)


class PolicyServers:
    """Has policy servers recommend events, this server itself where it is one."""

    def __init__(
        self,
        server_name: ServerName,
        state: RoomState,
        memberships: Memberships,
        peers: Peers,
        own: Recommendations | None,
    ) -> None:
        self.server_name = server_name
        self._state = state
        self._memberships = memberships
        self._peers = peers
        self._own = own

    async def of_room(self, room_id: RoomId) -> RoomPolicy | None:
        """Return the policy server that a room uses: one that it names, and that has a user in it."""
        stored = (await self._state.current(room_id, [_POLICY])).get(_POLICY)
        policy = None if stored is None else room_policy(stored.event.content)
        if policy is None:
            return None
        members = await self._memberships.joined_members(room_id)
        return policy if any(server_name_of(user_id) == policy.server for user_id in members) else None

    async def is_used_in(self, room_id: RoomId) -> bool:
        """Return whether a room has a policy server."""
        return await self.of_room(room_id) is not None

    async def recommended(self, event: VerifiedEvent, *, urgent: bool = False) -> VerifiedEvent:
        """Return an event with the signature of its room's policy server, if the room has one.

        Raises NotRecommended, with the policy server's own words, if that does not sign it. `urgent` is what a user
        waits for.
        """
        policy = await self.of_room(event.room_id)
        if policy is None or not needs_recommendation(event):
            return event
        try:
            policy.check(event)
        except SignatureInvalid:
            # It may have been made by an older key: a new one is asked for.
            signed = with_signature(event, policy.server, POLICY_KEY_ID, await self._signature(policy, event, urgent))
            try:
                policy.check(signed)
            except SignatureInvalid as error:
                raise NotRecommended(
                    f"the room's policy server gave a signature that does not count: {error}"
                ) from error
            return signed
        return event

    async def _signature(self, policy: RoomPolicy, event: VerifiedEvent, urgent: bool) -> str:
        if policy.server == self.server_name:
            if self._own is None:
                raise NotRecommended("the room names this server as its policy server, which it is not")
            return self._own.signature(event)
        try:
            signatures = await self._peers.policy_signatures(policy.server, event.pdu, urgent=urgent)
        except PeerRefused as error:
            raise _as_said(error) from error
        except PeerError as error:
            raise NotRecommended(f"the room's policy server could not be asked: {error}") from error
        if POLICY_KEY_ID not in signatures:
            raise NotRecommended(f"{policy.server} does not sign the event")
        return signatures[POLICY_KEY_ID]


def _as_said(error: PeerRefused) -> NotRecommended:
    """Return what a policy server's refusal is to a client: the same, as the text has it, within bounds.

    https://spec.matrix.org/v1.19/server-server-api/#validating-policy-server-signatures
    """
    if error.status not in _STATUSES or error.errcode in _NOT_OF_AN_EVENT or len(error.errcode) > _LONGEST_ERRCODE:
        return NotRecommended(error.message[:_LONGEST_WORDS])
    extra = {name: value for name, value in error.body.items() if name not in ("errcode", "error")}
    if len(orjson.dumps(extra)) > _MOST_BYTES:
        extra = {}
    return NotRecommended.as_said(error.status, error.errcode, error.message[:_LONGEST_WORDS], extra)
