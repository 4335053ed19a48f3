"""Routes of rooms: making them, getting in and out, state, aliases, typing, receipts."""

from __future__ import annotations

import trio

from tricord.clients.api import directory, membership, receipts, room_creation, rooms, typing
from tricord.clients.testing.call import Call, Route
from tricord.clients.testing.formats import client_event
from tricord.clients.testing.room import MEMBER, Room
from tricord.clients.testing.rooms import Rooms
from tricord.clients.testing.world import World, position_of
from tricord.protocol.errors import AliasTaken, BadJson, BadState, Forbidden, NotFound, Unknown
from tricord.protocol.identifiers import EventId, RoomAlias, UserId, parse_room_alias, parse_user_id
from tricord.protocol.strict_json import JsonObject


class RoomRoutes:
    """What people do with rooms, other than talking."""

    def __init__(self, world: World, rooms: Rooms) -> None:
        self._world = world
        self._rooms = rooms

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            (room_creation.CreateRoom, lambda call: {"room_id": self._rooms.create(call.user_id, call.body).room_id}),
            (membership.JoinedRooms, self.joined_rooms),
            (membership.JoinRoom, self.join),
            (membership.JoinRoomById, self.join),
            (membership.KnockRoom, self.knock),
            (membership.InviteUser, self.invite),
            (membership.LeaveRoom, self.leave),
            (membership.ForgetRoom, self.forget),
            (membership.KickUser, self.kick),
            (membership.BanUser, self.ban),
            (membership.UnbanUser, self.unban),
            (rooms.SetState, self.set_state),
            (rooms.GetState, self.state),
            (rooms.GetFullState, self.full_state),
            (rooms.GetMembers, self.members),
            (rooms.GetJoinedMembers, self.joined_members),
            (directory.SetAlias, self.set_alias),
            (directory.ResolveAlias, self.resolve_alias),
            (directory.DeleteAlias, self.delete_alias),
            (directory.GetAliases, self.aliases),
            (typing.SetTyping, self.set_typing),
            (receipts.SendReceipt, self.receipt),
            (receipts.SetReadMarkers, self.read_markers),
        ]

    def joined_rooms(self, call: Call) -> JsonObject:
        """List the rooms somebody is in."""
        found = self._rooms.with_user(call.user)
        return {"joined_rooms": [room.room_id for room in found if room.membership(call.user_id) == "join"]}

    def join(self, call: Call) -> JsonObject:
        """Join."""
        room = self._rooms.resolve(call.path.get("room_id_or_alias") or call.path["room_id"])
        self._rooms.join(room, call.user, _reason(call))
        return {"room_id": room.room_id}

    def knock(self, call: Call) -> JsonObject:
        """Ask to be invited."""
        room = self._rooms.resolve(call.path["room_id_or_alias"])
        self._rooms.set_own(room, call.user_id, "knock", _reason(call))
        return {"room_id": room.room_id}

    def invite(self, call: Call) -> JsonObject:
        """Invite."""
        room = self._rooms.room(call.path["room_id"])
        room.check_joined(call.user_id)
        if call.body.user_id is None:
            raise Forbidden("this server uses no identity server: invite by user id")
        self._rooms.invite(room, call.user_id, parse_user_id(call.body.user_id), _reason(call))
        return {}

    def leave(self, call: Call) -> JsonObject:
        """Leave."""
        self._rooms.leave(self._rooms.room(call.path["room_id"]), call.user_id, _reason(call))
        return {}

    def forget(self, call: Call) -> JsonObject:
        """Forget a room."""
        room = self._rooms.room(call.path["room_id"])
        if room.membership(call.user_id) in {"join", "invite", "knock"}:
            raise Unknown(f"{call.user_id} is in {room.room_id}: leave it first")
        if room.membership(call.user_id) is not None:
            call.user.forgotten.add(room.room_id)
        return {}

    def kick(self, call: Call) -> JsonObject:
        """Make somebody leave."""
        return self._remove(call, "leave", {"join", "invite", "knock"})

    def ban(self, call: Call) -> JsonObject:
        """Ban somebody."""
        return self._remove(call, "ban", None)

    def unban(self, call: Call) -> JsonObject:
        """Lift a ban."""
        room, user_id = self._rooms.room(call.path["room_id"]), parse_user_id(call.body.user_id)
        room.check_may_ban(call.user_id)
        if room.membership(user_id) != "ban":
            raise BadState(f"{user_id} is not banned from {room.room_id}")
        self._rooms.remove(room, call.user_id, user_id, "leave", _reason(call))
        return {}

    def set_state(self, call: Call) -> JsonObject:
        """Set a piece of state; a membership is set as the other endpoints do."""
        room, event_type, state_key = self._rooms.room(call.path["room_id"]), *_key(call)
        if event_type != MEMBER:
            return {"event_id": room.append(call.user_id, event_type, call.body, state_key).event.event_id}
        wanted, extra = call.body.get("membership"), call.body
        if wanted in {"join", "knock"}:
            if state_key != call.user_id:
                raise Forbidden(f"only {state_key} can {wanted}, not {call.user_id} for them")
            return {"event_id": self._rooms.set_own(room, call.user_id, wanted, extra).event.event_id}
        if wanted == "invite":
            return {"event_id": self._rooms.invite(room, call.user_id, UserId(state_key), extra).event.event_id}
        if wanted in {"leave", "ban"}:
            return {"event_id": room.append(call.user_id, MEMBER, extra, state_key).event.event_id}
        raise BadJson("`membership` is not one of join, knock, invite, leave and ban")

    def state(self, call: Call) -> JsonObject:
        """Read a piece of state."""
        room = self._rooms.room_for(call.user, call.path["room_id"])
        stored = room.state_for(call.user_id).get(_key(call))
        if stored is None:
            raise NotFound("there is no such state")
        if call.query.format == "event":
            return client_event(stored, call.device, self._world)
        return stored.event.content

    def full_state(self, call: Call) -> list[JsonObject]:
        """Read the whole state."""
        room = self._rooms.room_for(call.user, call.path["room_id"])
        state = room.state_for(call.user_id).values()
        return [client_event(stored, call.device, self._world) for stored in state]

    def members(self, call: Call) -> JsonObject:
        """List member events."""
        room, query = self._rooms.room_for(call.user, call.path["room_id"]), call.query
        state = room.state_for(call.user_id)
        if query.at is not None:
            state = room.state_at(position_of(query.at))
        found = [
            stored
            for (event_type, _), stored in state.items()
            if event_type == MEMBER
            and (
                (query.membership is None and query.not_membership is None)
                or query.membership == stored.membership
                or (query.not_membership is not None and query.not_membership != stored.membership)
            )
        ]
        return {"chunk": [client_event(stored, call.device, self._world) for stored in found]}

    def joined_members(self, call: Call) -> JsonObject:
        """Map the joined members to their names."""
        room = self._rooms.room_for(call.user, call.path["room_id"])
        room.check_joined(call.user_id)
        joined = {}
        for user_id in room.members("join"):
            content = room.state[MEMBER, user_id].event.content
            shown = {"display_name": content.get("displayname"), "avatar_url": content.get("avatar_url")}
            joined[user_id] = {key: value for key, value in shown.items() if value is not None}
        return {"joined": joined}

    def set_alias(self, call: Call) -> JsonObject:
        """Give a room another alias."""
        alias = self._own_alias(call)
        room = self._rooms.room(call.body.room_id)
        room.check_joined(call.user_id)
        if alias in self._rooms.aliases:
            raise AliasTaken(f"room alias {alias} already exists")
        self._rooms.aliases[alias] = room.room_id
        return {}

    def resolve_alias(self, call: Call) -> JsonObject:
        """Say which room an alias stands for."""
        room = self._rooms.resolve(parse_room_alias(call.path["room_alias"]))
        return {"room_id": room.room_id, "servers": [self._world.server_name]}

    def delete_alias(self, call: Call) -> JsonObject:
        """Take an alias away."""
        alias = self._own_alias(call)
        room = self._rooms.resolve(alias)
        if room.power.of_user(call.user_id) < room.power.needed_for_state("m.room.canonical_alias"):
            raise Forbidden(f"{call.user_id} may not take aliases away from {room.room_id}")
        del self._rooms.aliases[alias]
        return {}

    def aliases(self, call: Call) -> JsonObject:
        """List the aliases of a room."""
        room = self._rooms.room_for(call.user, call.path["room_id"])
        return {"aliases": [alias for alias, room_id in self._rooms.aliases.items() if room_id == room.room_id]}

    def set_typing(self, call: Call) -> JsonObject:
        """Show somebody as typing, for a while or until they stop."""
        if call.path["user_id"] != call.user_id:
            raise Forbidden("nobody can type for others")
        room = self._joined(call)
        if call.body.typing:
            self._set_typing(room, room.typing | {call.user_id})
            ends = room.typing_ends[call.user_id] = trio.current_time() + call.body.timeout / 1000
            self._world.set_alarm(call.body.timeout / 1000, lambda: self._stop_typing(room, call.user_id, ends))
        else:
            self._set_typing(room, room.typing - {call.user_id})
        return {}

    def receipt(self, call: Call) -> JsonObject:
        """Put one receipt or marker."""
        self._mark(call, self._joined(call), call.path["receipt_type"], call.path["event_id"], call.body.thread_id)
        return {}

    def read_markers(self, call: Call) -> JsonObject:
        """Put several."""
        room, body = self._joined(call), call.body
        markers = {"m.fully_read": body.fully_read, "m.read": body.read, "m.read.private": body.read_private}
        for kind, event_id in markers.items():
            if event_id is not None:
                self._mark(call, room, kind, event_id, None)
        return {}

    def _mark(self, call: Call, room: Room, kind: str, event_id: str, thread: str | None) -> None:
        position = room.find(event_id).position
        if kind == "m.fully_read":
            key = room.room_id, kind
            call.user.account_data[key] = {"event_id": event_id}, self._world.take_position()
            return
        before = room.receipts.get((call.user_id, kind, thread))
        if before is None or room.find(before[0]).position < position:
            data = {"ts": self._world.now_ms(), **({} if thread is None else {"thread_id": thread})}
            room.receipts[call.user_id, kind, thread] = EventId(event_id), data, self._world.take_position()

    def _set_typing(self, room: Room, typing_now: frozenset[UserId]) -> None:
        if room.typing != typing_now:
            room.typing, room.typing_position = typing_now, self._world.take_position()

    def _stop_typing(self, room: Room, user_id: UserId, ends: float) -> None:
        # Unless they have gone on typing since.
        if room.typing_ends[user_id] == ends:
            self._set_typing(room, room.typing - {user_id})

    def _remove(self, call: Call, membership: str, now: set[str] | None) -> JsonObject:
        room, user_id = self._rooms.room(call.path["room_id"]), parse_user_id(call.body.user_id)
        room.check_joined(call.user_id)
        if now is not None and room.membership(user_id) not in now:
            raise Forbidden(f"{user_id} is not in {room.room_id}")
        self._rooms.remove(room, call.user_id, user_id, membership, _reason(call))
        self._set_typing(room, room.typing - {user_id})
        return {}

    def _joined(self, call: Call) -> Room:
        room = self._rooms.room_for(call.user, call.path["room_id"])
        room.check_joined(call.user_id)
        return room

    def _own_alias(self, call: Call) -> RoomAlias:
        return parse_room_alias(call.path["room_alias"])


def _key(call: Call) -> tuple[str, str]:
    return call.path["event_type"], call.path.get("state_key", "")


def _reason(call: Call) -> JsonObject:
    return {} if call.body.reason is None else {"reason": call.body.reason}
