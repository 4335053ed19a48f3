"""Changing who is in a room: every way in and out goes through here.

The endpoints (`/join`, `/kick`, …) and `PUT …/state/m.room.member/…` are two spellings of the same acts. The log
authorizes the event; here are the refusals it does not know, and what the event must say.

https://spec.matrix.org/v1.19/client-server-api/#room-membership
"""

from __future__ import annotations

from collections.abc import Sequence

from tricord.homeserver.rooms.admission import Admission
from tricord.homeserver.rooms.append import Draft, Log
from tricord.homeserver.rooms.draft_checks import check_content
from tricord.homeserver.rooms.elsewhere import Elsewhere
from tricord.homeserver.rooms.invite import Invitations
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.people import MovingIn, NoticeRooms, Profiles
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.restricted_joins import RestrictedJoins
from tricord.homeserver.rooms.standing import Standing, standing
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.serving.call import Requester
from tricord.protocol.errors import (
    BadJson,
    BadState,
    CannotLeaveServerNoticeRoom,
    Forbidden,
    GuestAccessForbidden,
    NotFound,
    UnableToGrantJoin,
    Unknown,
)
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId, server_name_of
from tricord.protocol.strict_json import JsonObject

_GUEST_ACCESS = ("m.room.guest_access", "")


class MembershipChanges:
    """Joins, invites, knocks, leaves, kicks, bans."""

    def __init__(
        self,
        log: Log,
        state: RoomState,
        memberships: Memberships,
        invitations: Invitations,
        restricted_joins: RestrictedJoins,
        profiles: Profiles,
        residence: Residence,
        partial_rooms: PartialRooms,
        elsewhere: Elsewhere | None = None,
        moving_in: MovingIn | None = None,
        notice_rooms: NoticeRooms | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._log = log
        self._state = state
        self._memberships = memberships
        self._invitations = invitations
        self._restricted_joins = restricted_joins
        self._profiles = profiles
        self._residence = residence
        self._partial_rooms = partial_rooms
        self._elsewhere_or_none = elsewhere
        self._moving_in = moving_in
        self._notice_rooms = notice_rooms
        self._admission = admission

    async def join(
        self,
        requester: Requester,
        room_id: RoomId,
        reason: str | None = None,
        servers: Sequence[ServerName] = (),
        extra: JsonObject | None = None,
    ) -> None:
        """Join the room; somebody who is in it already stays as they are. `servers` are said to be in it too."""
        extra = {**(extra or {}), **_because(reason)}
        await self._check_coming_in(requester.user_id, room_id)
        if not await self._residence.decides(room_id):
            await self._join_elsewhere(requester, room_id, servers, extra)
            await self._move_in(requester.user_id, room_id)
            return
        room = await standing(self._state, room_id, [requester.user_id], [_GUEST_ACCESS])
        if room.membership(requester.user_id) != "join" and await self._partial_rooms.get(room_id) is not None:
            # Only its members say who may come in.
            await self._partial_rooms.until_complete(room_id)
            room = await standing(self._state, room_id, [requester.user_id], [_GUEST_ACCESS])
        if room.membership(requester.user_id) != "join":
            await self._join(requester, room, extra)
            await self._move_in(requester.user_id, room_id)

    async def knock(
        self, user_id: UserId, room_id: RoomId, reason: str | None = None, servers: Sequence[ServerName] = ()
    ) -> None:
        """Ask to be invited. `servers` are said to be in the room."""
        await self._check_coming_in(user_id, room_id)
        if not await self._residence.decides(room_id):
            content = {**await self._profiles.member_profile(user_id), **_because(reason), "membership": "knock"}
            known = [*servers, *await self._residence.servers_in(room_id)]
            await self._elsewhere.knock(user_id, room_id, known, content)
            return
        await self._partial_rooms.until_complete(room_id)
        room = await standing(self._state, room_id, [user_id])
        if not room.version.knocking:
            raise Forbidden(f"rooms of version {room.version.name} know no knocking")
        await self._append_own(room_id, user_id, "knock", _because(reason))

    async def leave(self, user_id: UserId, room_id: RoomId, reason: str | None = None) -> None:
        """Leave the room, reject the invitation or take back the knock; having left already is success."""
        if not await self._residence.decides(room_id):
            now = await self._memberships.membership(user_id, room_id)
            if now is None:
                raise Forbidden(f"{user_id} is not in {room_id}")
            if now.membership in {"invite", "knock"}:
                await self._elsewhere.leave(user_id, room_id, {"membership": "leave", **_because(reason)})
            return
        room = await standing(self._state, room_id, [user_id])
        if room.membership(user_id) is None:
            await self._partial_rooms.until_complete(room_id)
            room = await standing(self._state, room_id, [user_id])
        membership = room.membership(user_id)
        if membership is None:
            raise Forbidden(f"{user_id} is not in {room_id}")
        await self._check_may_leave(user_id, room_id, membership)
        if membership != "leave":
            await self._append(room_id, user_id, user_id, {"membership": "leave", **_because(reason)})

    async def invite(self, sender: UserId, room_id: RoomId, user_id: UserId, reason: str | None = None) -> None:
        """Invite a user; one who is invited already stays so."""
        await self._partial_rooms.until_complete(room_id)
        room = await standing(self._state, room_id, [sender, user_id])
        room.check_joined(sender)
        if room.membership(user_id) == "join":
            raise Forbidden(f"{user_id} is in {room_id} already")
        await self._invite(sender, room_id, user_id, _because(reason))

    async def kick(self, sender: UserId, room_id: RoomId, user_id: UserId, reason: str | None = None) -> None:
        """Make a user leave, whether they are in the room, invited or knocking."""
        await self._partial_rooms.until_complete(room_id)
        room = await standing(self._state, room_id, [sender, user_id])
        room.check_joined(sender)
        if room.membership(user_id) not in {"join", "invite", "knock"}:
            raise Forbidden(f"{user_id} is not in {room_id}")
        await self._append(room_id, sender, user_id, {"membership": "leave", **_because(reason)})

    async def ban(self, sender: UserId, room_id: RoomId, user_id: UserId, reason: str | None = None) -> None:
        """Ban a user, whether they are in the room or not."""
        await self._partial_rooms.until_complete(room_id)
        await self._append(room_id, sender, user_id, {"membership": "ban", **_because(reason)})

    async def unban(self, sender: UserId, room_id: RoomId, user_id: UserId, reason: str | None = None) -> None:
        """Lift a ban."""
        await self._partial_rooms.until_complete(room_id)
        room = await standing(self._state, room_id, [sender, user_id])
        room.check_may_ban(sender)
        if room.membership(user_id) != "ban":
            raise BadState(f"{user_id} is not banned from {room_id}")
        await self._append(room_id, sender, user_id, {"membership": "leave", **_because(reason)})

    async def forget(self, user_id: UserId, room_id: RoomId) -> None:
        """Let the user no longer see that they were ever in the room; those who are in it must leave first."""
        if not await self._memberships.forget(user_id, room_id):
            raise Unknown(f"{user_id} is in {room_id}: leave it first")

    async def set(self, requester: Requester, room_id: RoomId, user_id: UserId, content: JsonObject) -> EventId:
        """Set the member event of a user as given; what it means is what the methods above do."""
        sender = requester.user_id
        membership, extra = content.get("membership"), _without_membership(content)
        if user_id == sender and membership in ("join", "knock"):
            await self._check_coming_in(user_id, room_id)
        if user_id != sender or room_id not in await self._memberships.joined_rooms(sender):
            # What becomes of others depends on what they are, and so does who may come in.
            await self._partial_rooms.until_complete(room_id)
        match membership:
            case "join" if user_id == sender:
                room = await standing(self._state, room_id, [user_id], [_GUEST_ACCESS])
                event_id = await self._join(requester, room, extra)
                if room.membership(user_id) != "join":
                    await self._move_in(user_id, room_id)
                return event_id
            case "knock" if user_id == sender:
                return await self._append_own(room_id, user_id, "knock", extra)
            case "invite":
                return await self._invite(sender, room_id, user_id, extra)
            case "join" | "knock":
                raise Forbidden(f"only {user_id} can {membership}, not {sender} for them")
            case "leave" | "ban":
                if user_id == sender:
                    room = await standing(self._state, room_id, [user_id])
                    await self._check_may_leave(user_id, room_id, room.membership(user_id))
                return await self._append(room_id, sender, user_id, content)
        raise BadJson("`membership` is not one of join, knock, invite, leave and ban")

    async def _join(self, requester: Requester, room: Standing, extra: JsonObject) -> EventId:
        user_id = requester.user_id
        if requester.is_guest and room.content("m.room.guest_access").get("guest_access") != "can_join":
            raise GuestAccessForbidden(f"guests may not join {room.room_id}")
        # Only the server says who grants a restricted join.
        content = {key: value for key, value in extra.items() if key != "join_authorised_via_users_server"}
        restricted = room.version.restricted_joins and room.join_rule in {"restricted", "knock_restricted"}
        if restricted and room.membership(user_id) not in {"join", "invite", "ban"}:
            try:
                granting = await self._restricted_joins.granting_user(room, user_id)
            except UnableToGrantJoin:
                return await self._join_elsewhere(requester, room.room_id, (), content)
            content["join_authorised_via_users_server"] = granting
        return await self._append_own(room.room_id, user_id, "join", content)

    async def _check_coming_in(self, user_id: UserId, room_id: RoomId) -> None:
        if self._admission is not None:
            await self._admission.check_coming_in(user_id, room_id)

    async def _check_may_leave(self, user_id: UserId, room_id: RoomId, membership: str | None) -> None:
        """Refuse who would decline an invitation to be told what those who run the server have to say.

        https://spec.matrix.org/v1.19/client-server-api/#server-notices
        """
        if membership != "invite" or self._notice_rooms is None:
            return
        if await self._notice_rooms.must_stay_invited(user_id, room_id):
            raise CannotLeaveServerNoticeRoom("this room is where your server tells you what matters: join it instead")

    async def _move_in(self, user_id: UserId, room_id: RoomId) -> None:
        if self._moving_in is not None:
            await self._moving_in.move_in(user_id, room_id)

    @property
    def _elsewhere(self) -> Elsewhere:
        if self._elsewhere_or_none is None:
            raise NotFound("the room or the user is not of this server, and this server meets no others")
        return self._elsewhere_or_none

    async def _join_elsewhere(
        self, requester: Requester, room_id: RoomId, servers: Sequence[ServerName], extra: JsonObject
    ) -> EventId:
        user_id = requester.user_id
        if requester.is_guest:
            raise GuestAccessForbidden("guests may not join rooms of other servers")
        now = await self._memberships.membership(user_id, room_id)
        inviting = [server_name_of(now.sender)] if now is not None and now.membership == "invite" else []
        known = [*inviting, *servers, *await self._residence.servers_in(room_id)]
        content = {**await self._profiles.member_profile(user_id), **extra, "membership": "join"}
        return await self._elsewhere.join(user_id, room_id, known, content)

    async def _invite(self, sender: UserId, room_id: RoomId, user_id: UserId, extra: JsonObject) -> EventId:
        await self._invitations.check_accepts(user_id, by=sender, room_id=room_id)
        if not self._residence.is_local(user_id):
            if self._elsewhere_or_none is None:
                raise Forbidden(f"{user_id} is on another server, and this server meets no others")
            content = {**extra, "membership": "invite"}
            check_content("m.room.member", user_id, content)
            return await self._elsewhere.invite(Draft(room_id, sender, "m.room.member", user_id, content), user_id)
        profile = await self._profiles.member_profile(user_id)
        return await self._append(room_id, sender, user_id, {**profile, **extra, "membership": "invite"})

    async def _append_own(self, room_id: RoomId, user_id: UserId, membership: str, extra: JsonObject) -> EventId:
        profile = await self._profiles.member_profile(user_id)
        return await self._append(room_id, user_id, user_id, {**profile, **extra, "membership": membership})

    async def _append(self, room_id: RoomId, sender: UserId, user_id: UserId, content: JsonObject) -> EventId:
        check_content("m.room.member", user_id, content)
        stored = await self._log.append(Draft(room_id, sender, "m.room.member", user_id, content))
        return stored.event.event_id


def _because(reason: str | None) -> JsonObject:
    return {} if reason is None else {"reason": reason}


def _without_membership(content: JsonObject) -> JsonObject:
    return {key: value for key, value in content.items() if key != "membership"}
