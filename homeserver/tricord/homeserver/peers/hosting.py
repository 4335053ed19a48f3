"""Letting users of other servers into our rooms, out of them, or to their doors; and ours being invited elsewhere.

https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from tricord.homeserver.accounts.profiles import Profiles
from tricord.homeserver.peers.told_state import ToldState
from tricord.homeserver.rooms.admission import Admission
from tricord.homeserver.rooms.append import Log
from tricord.homeserver.rooms.chain import Signer
from tricord.homeserver.rooms.drafts import Draft
from tricord.homeserver.rooms.invite import Invitations
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.outsiders import Outsiders
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.receive import Receiver
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.restricted_joins import RestrictedJoins
from tricord.homeserver.rooms.server_reads import ServerReads
from tricord.homeserver.rooms.standing import standing
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.homeserver.rooms.stripped_state import stripped_room_state
from tricord.homeserver.rooms.verification import Verifier
from tricord.protocol.errors import (
    BadJson,
    Forbidden,
    IncompatibleRoomVersion,
    InvalidParam,
    NotFound,
    UnableToAuthoriseJoin,
)
from tricord.protocol.events import Event, VerifiedEvent, countersigned, parse_event, with_unsigned
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId, is_valid_user_id, server_name_of
from tricord.protocol.room_versions import ROOM_VERSIONS, RoomVersion, room_version
from tricord.protocol.strict_json import JsonObject

# To tell of so few costs less than to be asked for them afterwards.
FEW_MEMBERS = 50
# What a template does not have: these are for whoever makes an event of it.
_SIGNED_KEYS = ("hashes", "signatures", "event_id", "unsigned")


class Hosting:
    """Answers other servers whose users want to be in our rooms."""

    def __init__(
        self,
        log: Log,
        state: RoomState,
        receiver: Receiver,
        reads: ServerReads,
        residence: Residence,
        partial_rooms: PartialRooms,
        restricted_joins: RestrictedJoins,
        invitations: Invitations,
        outsiders: Outsiders,
        memberships: Memberships,
        profiles: Profiles,
        verifier: Verifier,
        told_state: ToldState,
        signer: Signer,
        admission: Admission,
    ) -> None:
        self._log = log
        self._state = state
        self._receiver = receiver
        self._reads = reads
        self._residence = residence
        self._partial_rooms = partial_rooms
        self._restricted_joins = restricted_joins
        self._invitations = invitations
        self._outsiders = outsiders
        self._memberships = memberships
        self._profiles = profiles
        self._verifier = verifier
        self._told_state = told_state
        self._signer = signer
        self._admission = admission

    async def template(
        self, origin: ServerName, room_id: RoomId, user_id: UserId, membership: str, versions: Sequence[str] | None
    ) -> JsonObject:
        """Return a template for a member event of a user of the asking server.

        Raises Forbidden, NotFound, or IncompatibleRoomVersion if the server does not support the room's.
        """
        version = await self._admitted(origin, room_id, user_id, membership)
        if versions is not None and version.name not in versions:
            raise IncompatibleRoomVersion(
                f"the room has version {version.name}, which your server does not support", room_version=version.name
            )
        if membership == "knock" and not version.knocking:
            raise Forbidden(f"rooms of version {version.name} know no knocking")
        content: JsonObject = {"membership": membership}
        if membership == "join":
            content |= await self._granted(room_id, user_id)
        event = await self._log.prepared(Draft(room_id, user_id, "m.room.member", user_id, content))
        proposed = {key: value for key, value in event.pdu.items() if key not in _SIGNED_KEYS}
        return {"room_version": version.name, "event": {**proposed, "origin": self._signer.server_name}}

    async def join(
        self, origin: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject, *, omit_members: bool
    ) -> JsonObject:
        """Let a user of another server in; return the state before, and what vouches for it."""
        event = await self._handed(origin, room_id, event_id, pdu, "join")
        authorising = event.content.get("join_authorised_via_users_server")
        if is_valid_user_id(authorising) and self._residence.is_local(UserId(authorising)):
            # We vouch for it, so we look again.
            if not await self._granted(room_id, event.sender):
                raise Forbidden(f"{event.sender} needs nobody to let them in")
            event = countersigned(event, self._signer.server_name, self._signer.key)
        servers = [self._signer.server_name, *await self._residence.servers_in(room_id)]
        members = len(await self._memberships.joined_members(room_id))
        omit_members = omit_members and members > FEW_MEMBERS
        stored = await self._receiver.accept(origin, await self._verified(event))
        if omit_members:
            state = await self._reads.state_before_without_members(stored)
        else:
            state = await self._reads.state_before(stored)
        told = {one.nid for one in state}
        chain = [one for one in await self._reads.auth_chain([*state, stored]) if one.nid not in told]
        return {
            "origin": self._signer.server_name,
            "event": orjson.Fragment(stored.event.json),
            "state": _fragments(state),
            "auth_chain": _fragments(chain),
            "members_omitted": omit_members,
            "servers_in_room": servers,
        }

    async def leave(self, origin: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject) -> JsonObject:
        """Let a user of another server leave, or reject an invitation."""
        event = await self._handed(origin, room_id, event_id, pdu, "leave")
        await self._receiver.accept(origin, await self._verified(event))
        return {}

    async def knock(self, origin: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject) -> JsonObject:
        """Let a user of another server knock; return what the room shows of itself."""
        event = await self._handed(origin, room_id, event_id, pdu, "knock")
        await self._receiver.accept(origin, await self._verified(event))
        return {"knock_room_state": await stripped_room_state(self._state, room_id, event.sender)}

    async def invited(
        self, origin: ServerName, room_id: RoomId, event_id: EventId, pdu: Any, version_name: str, shown: Any
    ) -> JsonObject:
        """Take an invitation of one of our users to a room elsewhere; return it with our signature.

        `shown` is what the inviting server shows of the room. Raises Forbidden or InviteBlocked if it is not welcome,
        IncompatibleRoomVersion if the room's version is not supported.
        """
        if version_name not in ROOM_VERSIONS:
            raise IncompatibleRoomVersion(f"room version {version_name} is not supported", room_version=version_name)
        if await self._residence.is_in(room_id):
            await self._reads.check_acl(origin, room_id)
        event = _parsed(pdu, room_version(version_name), room_id, event_id, "invite")
        if server_name_of(event.sender) != origin:
            raise InvalidParam(f"{event.sender} is not a user of {origin}")
        user_id = UserId(event.state_key or "")
        if not self._residence.is_local(user_id):
            raise InvalidParam(f"{user_id} is not a user of {self._signer.server_name}")
        await self._profiles.local_profile(user_id)  # raises if there is no such user
        await self._invitations.check_accepts(user_id, by=event.sender, room_id=room_id)
        verified = countersigned(await self._verified(event), self._signer.server_name, self._signer.key)
        if not await self._residence.is_in(room_id):
            told = await self._told_state.of_invitation(shown, event.version, room_id)
            await self._outsiders.note(with_unsigned(verified, {"invite_room_state": told}))
        return verified.pdu

    async def _admitted(self, origin: ServerName, room_id: RoomId, user_id: UserId, membership: str) -> RoomVersion:
        """Refuse servers that ask for others, and whom the room or this server shuts out; return the room's version."""
        if server_name_of(user_id) != origin:
            raise Forbidden(f"{user_id} is not a user of {origin}")
        if not await self._residence.is_in(room_id):
            raise NotFound(f"this server is not in {room_id}")
        if await self._partial_rooms.get(room_id) is not None:
            raise NotFound(f"this server does not know who is in {room_id} yet")
        await self._reads.check_acl(origin, room_id)
        if membership != "leave":
            await self._admission.check_coming_in(user_id, room_id)
        return (await standing(self._state, room_id)).version

    async def _granted(self, room_id: RoomId, user_id: UserId) -> JsonObject:
        """Return what lets a user join a restricted room: one of ours who may invite. Raises Forbidden."""
        room = await standing(self._state, room_id, [user_id])
        restricted = room.version.restricted_joins and room.join_rule in ("restricted", "knock_restricted")
        if not restricted or room.membership(user_id) in ("join", "invite"):
            return {}
        if not self._restricted_joins.has_conditions(room):
            raise Forbidden(f"{room_id} names no room whose members may join")
        if not await self._restricted_joins.knows_conditions(room, self._residence):
            raise UnableToAuthoriseJoin(f"this server is in none of the rooms whose members may join {room_id}")
        return {"join_authorised_via_users_server": await self._restricted_joins.granting_user(room, user_id)}

    async def _handed(
        self, origin: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject, membership: str
    ) -> Event:
        """Return the event that a server hands to us for one of its users, if it is what the path says."""
        sender = pdu.get("sender")
        if not is_valid_user_id(sender) or server_name_of(sender) != origin:
            raise InvalidParam(f"the event's sender is not a user of {origin}")
        version = await self._admitted(origin, room_id, sender, membership)
        event = _parsed(pdu, version, room_id, event_id, membership)
        if event.state_key != event.sender:
            raise InvalidParam("the event is of another user than its sender")
        return event

    async def _verified(self, event: Event) -> VerifiedEvent:
        verified, wrong = await self._verifier.verified([event])
        if not verified:
            raise InvalidParam(wrong[event.event_id])
        return verified[0]


def _parsed(pdu: Any, version: RoomVersion, room_id: RoomId, event_id: EventId, membership: str) -> Event:
    if not isinstance(pdu, dict):
        raise BadJson("the event is not an object")
    event = parse_event(pdu, version)
    if event.room_id != room_id:
        raise BadJson(f"the event is of {event.room_id}, and the path names {room_id}")
    if event.event_id != event_id:
        raise BadJson(f"the event is {event.event_id}, and the path names {event_id}")
    if event.type != "m.room.member" or event.state_key is None or event.content.get("membership") != membership:
        raise InvalidParam(f"the event is not a membership {membership!r}")
    return event


def _fragments(events: Sequence[StoredEvent]) -> list[orjson.Fragment]:
    return [orjson.Fragment(stored.event.json) for stored in events]
