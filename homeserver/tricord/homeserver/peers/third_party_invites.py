"""Invitations by e-mail address and the like, once it is known which user was meant.

The inviting user's server put an `m.room.third_party_invite` into the room, with the keys of an identity server. That
signs who the address belongs to, tells the user's server, and this has the inviting server make the invitation.

https://spec.matrix.org/v1.19/server-server-api/#third-party-invites
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from tricord.federation.api.third_party import Invitation
from tricord.federation.errors import PeerError
from tricord.federation.peers import Peers
from tricord.homeserver.peers.memberships import RemoteMemberships
from tricord.homeserver.rooms.append import Log
from tricord.homeserver.rooms.drafts import Draft
from tricord.homeserver.rooms.invite import Invitations
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.server_reads import ServerReads
from tricord.homeserver.rooms.state import RoomState
from tricord.protocol.errors import BadJson, Forbidden, MatrixError, NotFound
from tricord.protocol.identifiers import RoomId, ServerName, UserId, server_name_of
from tricord.protocol.strict_json import JsonObject

_MOST_INVITES = 50
# What the rules look at, and nothing else that somebody might want signed.
_SIGNED_KEYS = ("mxid", "token", "signatures")

_logger = structlog.get_logger(__name__)


class ThirdPartyInvites:
    """Turns invitations of third parties into invitations of users."""

    def __init__(
        self,
        log: Log,
        state: RoomState,
        residence: Residence,
        reads: ServerReads,
        invitations: Invitations,
        elsewhere: RemoteMemberships,
        peers: Peers,
    ) -> None:
        self._log = log
        self._state = state
        self._residence = residence
        self._reads = reads
        self._invitations = invitations
        self._elsewhere = elsewhere
        self._peers = peers

    async def bound(self, user_id: UserId, invites: Sequence[Invitation]) -> None:
        """Have one of our users invited wherever somebody waited to know who they are.

        Who tells us is not known, but what they tell is signed for the room. One that is no good harms no other.
        """
        if not self._residence.is_local(user_id):
            raise NotFound(f"{user_id} is not a user of this server")
        for invite in invites[:_MOST_INVITES]:
            if invite.mxid != user_id:
                continue
            try:
                await self._accepted(invite.room_id, invite.sender, user_id, invite.signed)
            except (MatrixError, PeerError) as reason:
                _logger.info(
                    "an invitation of a third party came to nothing", room_id=invite.room_id, reason=str(reason)
                )

    async def exchange(
        self, origin: ServerName, room_id: RoomId, sender: UserId, user_id: UserId, signed: JsonObject
    ) -> None:
        """Invite a user of another server in the name of who invited the third party that they are.

        Raises Forbidden if the room does not know of it, or it is not signed as it should be.
        """
        if server_name_of(user_id) != origin:
            raise Forbidden(f"{user_id} is not a user of {origin}")
        if not await self._residence.is_in(room_id):
            raise NotFound(f"this server is not in {room_id}")
        await self._reads.check_acl(origin, room_id)
        await self._elsewhere.invite(await self._draft(room_id, sender, user_id, signed), user_id)

    async def _accepted(self, room_id: RoomId, sender: UserId, user_id: UserId, signed: JsonObject) -> None:
        """Have one of our users invited: here if we are in the room, else by the server that invited."""
        if await self._residence.is_in(room_id):
            await self._invitations.check_accepts(user_id, by=sender, room_id=room_id)
            await self._log.append(await self._draft(room_id, sender, user_id, signed))
            return
        proposed = {
            "type": "m.room.member",
            "room_id": room_id,
            "sender": sender,
            "state_key": user_id,
            # The name is for the schema: who invited knows a better one.
            "content": {
                "membership": "invite",
                "third_party_invite": {"display_name": user_id, "signed": _only_what_counts(signed)},
            },
        }
        await self._peers.exchange_third_party_invite(server_name_of(sender), room_id, proposed)

    async def _draft(self, room_id: RoomId, sender: UserId, user_id: UserId, signed: JsonObject) -> Draft:
        signed = _only_what_counts(signed)
        key = ("m.room.third_party_invite", str(signed["token"]))
        offer = (await self._state.current(room_id, [key])).get(key)
        if offer is None:
            raise Forbidden(f"nobody was invited to {room_id} with that token")
        shown: Any = offer.event.content.get("display_name")
        invite = {"display_name": shown if isinstance(shown, str) else "", "signed": signed}
        content = {"membership": "invite", "third_party_invite": invite}
        return Draft(room_id, sender, "m.room.member", user_id, content)


def _only_what_counts(signed: JsonObject) -> JsonObject:
    if not isinstance(signed.get("token"), str) or not all(key in signed for key in _SIGNED_KEYS):
        raise BadJson("the proof of who was invited has `mxid`, `token` and `signatures`")
    return {key: signed[key] for key in _SIGNED_KEYS}
