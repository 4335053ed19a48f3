"""Inviting somebody of whom only an e-mail address or telephone number is known.

If an identity server knows whose it is, that user is invited. Else it keeps the invitation, and the room is told by an
`m.room.third_party_invite`, in exchange for which the user is invited once they are known (by
`peers/third_party_invites.py`).

https://spec.matrix.org/v1.19/client-server-api/#third-party-invites
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from tricord.homeserver.rooms.append import Draft, Log
from tricord.homeserver.rooms.membership_changes import MembershipChanges
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.people import Profiles
from tricord.homeserver.rooms.state import RoomState
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import RoomId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject

_OFFER = "m.room.third_party_invite"
# Who may not invite is told so before anybody's address is told to anybody.
_PROBE = "probe"
# What the invited are shown, and where it is found in the state.
_SHOWN = {
    "room_alias": ("m.room.canonical_alias", "alias"),
    "room_avatar_url": ("m.room.avatar", "url"),
    "room_join_rules": ("m.room.join_rules", "join_rule"),
    "room_name": ("m.room.name", "name"),
    "room_type": ("m.room.create", "type"),
}

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ThirdParty:
    """Somebody of whom an address is known, and who can be asked about it, with a token of the inviter's."""

    id_server: ServerName
    access_token: str
    medium: str
    address: str


@dataclass(frozen=True, slots=True)
class StoredInvite:
    """An invitation that an identity server keeps until it knows whose address it is."""

    token: str
    display_name: str
    public_keys: Sequence[Mapping[str, str]]


class AddressBooks(Protocol):
    """Who knows whose address is whose; identity servers do."""

    def third_party(self, id_server: str, access_token: str, medium: str, address: str) -> ThirdParty:
        """Return whom a client means; ServerNotTrusted if the identity server is none that is asked."""
        ...

    async def user_of(self, who: ThirdParty) -> UserId | None:
        """Return the user whose address it is, if that is known."""
        ...

    async def store_invite(self, who: ThirdParty, about: JsonObject) -> StoredInvite:
        """Have an invitation kept, and the address told of it; `about` is what the room is to be shown as."""
        ...


class ThirdPartyInvitations:
    """Invites by address."""

    def __init__(
        self,
        log: Log,
        state: RoomState,
        profiles: Profiles,
        partial_rooms: PartialRooms,
        changes: MembershipChanges,
        books: AddressBooks,
    ) -> None:
        self._log = log
        self._state = state
        self._profiles = profiles
        self._partial_rooms = partial_rooms
        self._changes = changes
        self._books = books

    def third_party(self, id_server: str, access_token: str, medium: str, address: str) -> ThirdParty:
        """Return whom a client means; ServerNotTrusted if the identity server is none that is asked."""
        return self._books.third_party(id_server, access_token, medium, address)

    async def invite(self, sender: UserId, room_id: RoomId, who: ThirdParty, reason: str | None = None) -> None:
        """Invite somebody, now or when it is known who they are. Raises Forbidden if the sender may not."""
        await self._partial_rooms.until_complete(room_id)
        await self._log.prepared(Draft(room_id, sender, _OFFER, _PROBE, {}))
        user_id = await self._books.user_of(who)
        if user_id is not None:
            await self._changes.invite(sender, room_id, user_id, reason)
            return
        stored = await self._books.store_invite(who, await self._shown(sender, room_id))
        first = stored.public_keys[0]
        content = {
            "display_name": stored.display_name,
            "public_key": first["public_key"],
            "key_validity_url": first["key_validity_url"],
            "public_keys": [dict(key) for key in stored.public_keys],
        }
        await self._log.append(Draft(room_id, sender, _OFFER, stored.token, content))

    async def invite_all(self, sender: UserId, room_id: RoomId, third_parties: Sequence[ThirdParty]) -> None:
        """Invite some to a new room, which is there whether they can be reached or not."""
        for who in third_parties:
            try:
                await self.invite(sender, room_id, who)
            except MatrixError as reason:
                _logger.info("nobody was invited by address", room_id=room_id, reason=reason.message)

    async def _shown(self, sender: UserId, room_id: RoomId) -> JsonObject:
        """Return what the invited are told of the room, and of who invites."""
        state = await self._state.current(room_id, [(kind, "") for kind, _ in _SHOWN.values()])
        shown: JsonObject = {"room_id": room_id, "sender": sender}
        for name, (kind, field) in _SHOWN.items():
            stored = state.get((kind, ""))
            value = None if stored is None else stored.event.content.get(field)
            if isinstance(value, str):
                shown[name] = value
        profile = await self._profiles.member_profile(sender)
        for name, field in (("sender_display_name", "displayname"), ("sender_avatar_url", "avatar_url")):
            if field in profile:
                shown[name] = profile[field]
        return shown
