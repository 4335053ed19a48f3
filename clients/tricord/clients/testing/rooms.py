"""The rooms of the homeserver in memory: how they are made, and how people get in and out of them."""

from __future__ import annotations

from collections.abc import Sequence

from tricord.clients.api.room_creation import CreateRoom
from tricord.clients.testing.accounts import Accounts, User
from tricord.clients.testing.room import MEMBER, Room, Stored
from tricord.clients.testing.world import World
from tricord.protocol.errors import BadJson, Forbidden, InvalidParam, NotFound, RoomInUse
from tricord.protocol.identifiers import RoomAlias, RoomId, UserId, parse_user_id, server_name_of
from tricord.protocol.room_versions import RoomVersion, room_version
from tricord.protocol.strict_json import JsonObject

_DEFAULT_VERSION = "12"
# Who is in a private room may bring somebody along.
_JOIN_RULES = {"public_chat": "public", "private_chat": "invite", "trusted_private_chat": "invite"}


class Rooms:
    """Finds and makes rooms, and changes who is in them."""

    def __init__(self, world: World, accounts: Accounts) -> None:
        self._world = world
        self._accounts = accounts
        self._rooms: dict[RoomId, Room] = {}
        self.aliases: dict[RoomAlias, RoomId] = {}

    def room(self, room_id: str) -> Room:
        """Return a room. Raises NotFound."""
        room = self._rooms.get(RoomId(room_id))
        if room is None:
            raise NotFound(f"there is no room {room_id} on this server")
        return room

    def room_for(self, user: User, room_id: str) -> Room:
        """Return a room to somebody who may read it; to others it is all the same whether it exists."""
        room = self._rooms.get(RoomId(room_id))
        if room is None or (room.room_id in user.forgotten and not room.is_world_readable):
            raise Forbidden(f"{user.user_id} is not in {room_id}")
        room.state_for(user.user_id)
        return room

    def with_user(self, user: User) -> list[Room]:
        """Return the rooms that a user has to do with, and has not forgotten."""
        return [
            room
            for room in self._rooms.values()
            if room.membership(user.user_id) is not None and room.room_id not in user.forgotten
        ]

    def resolve(self, room_id_or_alias: str) -> Room:
        """Return the room that an id or an alias stands for. Raises NotFound."""
        if not room_id_or_alias.startswith("#"):
            return self.room(room_id_or_alias)
        found = self.aliases.get(RoomAlias(room_id_or_alias))
        if found is None:
            raise NotFound(f"room alias {room_id_or_alias} not found")
        return self.room(found)

    def create(self, creator: UserId, wanted: CreateRoom.Body) -> Room:
        """Make a room and its first events, all of them or none.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom
        """
        version = room_version(wanted.room_version or _DEFAULT_VERSION)
        preset = wanted.preset or ("public_chat" if wanted.visibility == "public" else "private_chat")
        invitees = [parse_user_id(user_id) for user_id in dict.fromkeys(wanted.invite)]
        if creator in invitees:
            raise BadJson(f"{creator} is in the room already and cannot be invited")
        alias = self._free_alias(wanted.room_alias_name)
        equals = invitees if preset == "trusted_private_chat" else []
        room = Room(self._world, version)
        if not version.room_id_is_create_event_id:
            room.room_id = RoomId(f"!{self._world.position}:{self._world.server_name}")
        room.append(creator, "m.room.create", _create_content(creator, version, equals, wanted.creation_content), "")
        room.append(creator, MEMBER, self._member_content(creator, "join"), creator)
        levels = _power_levels(creator, version, preset, equals) | wanted.power_level_content_override
        room.append(creator, "m.room.power_levels", levels, "")
        for event_type, state_key, content in _first_state(preset, alias, wanted):
            room.append(creator, event_type, content, state_key)
        self._rooms[room.room_id] = room
        if alias is not None:
            self.aliases[alias] = room.room_id
        for user_id in invitees:
            self.invite(room, creator, user_id, {"is_direct": True} if wanted.is_direct else {})
        return room

    def join(self, room: Room, user: User, extra: JsonObject) -> None:
        """Let somebody in, if the room does; who is in it already stays as they are."""
        if room.membership(user.user_id) != "join":
            self.set_own(room, user.user_id, "join", extra)

    def invite(self, room: Room, sender: UserId, user_id: UserId, extra: JsonObject) -> Stored:
        """Invite a user of this server."""
        if server_name_of(user_id) != self._world.server_name:
            raise Forbidden(f"{user_id} is on another server, and this server meets no others")
        if room.membership(user_id) == "join":
            raise Forbidden(f"{user_id} is in {room.room_id} already")
        content = {**self._member_content(user_id, "invite"), **extra, "membership": "invite"}
        stored = room.append(sender, MEMBER, content, user_id)
        if (invited := self._accounts.known(user_id)) is not None:
            invited.forgotten.discard(room.room_id)
        return stored

    def leave(self, room: Room, user_id: UserId, extra: JsonObject) -> None:
        """Let somebody go, reject an invitation or take back a knock; having left already is success."""
        membership = room.membership(user_id)
        if membership is None:
            raise Forbidden(f"{user_id} is not in {room.room_id}")
        if membership != "leave":
            room.append(user_id, MEMBER, {**extra, "membership": "leave"}, user_id)

    def remove(self, room: Room, sender: UserId, user_id: UserId, membership: str, extra: JsonObject) -> None:
        """Kick (`leave`), ban (`ban`) or unban (`leave`) somebody."""
        room.append(sender, MEMBER, {**extra, "membership": membership}, user_id)

    def set_own(self, room: Room, user_id: UserId, membership: str, extra: JsonObject) -> Stored:
        """Join or knock."""
        content = {**self._member_content(user_id, membership), **extra, "membership": membership}
        stored = room.append(user_id, MEMBER, content, user_id)
        self._accounts.user(user_id).forgotten.discard(room.room_id)
        return stored

    def tell_profile(self, user: User) -> None:
        """Let the rooms of a user know of their new name or picture."""
        for room in self.with_user(user):
            if room.membership(user.user_id) == "join":
                self.set_own(room, user.user_id, "join", {})

    def _member_content(self, user_id: UserId, membership: str) -> JsonObject:
        user = self._accounts.known(user_id)
        profile = {} if user is None else user.profile
        shown: JsonObject = {key: profile[key] for key in ("displayname", "avatar_url") if key in profile}
        return {**shown, "membership": membership}

    def _free_alias(self, localpart: str | None) -> RoomAlias | None:
        if localpart is None:
            return None
        if any(character.isspace() for character in localpart):
            raise InvalidParam("a room alias cannot contain white space")
        alias = RoomAlias(f"#{localpart}:{self._world.server_name}")
        if alias in self.aliases:
            raise RoomInUse(f"room alias {alias} is already taken")
        return alias


def _create_content(creator: UserId, version: RoomVersion, equals: Sequence[UserId], extra: JsonObject) -> JsonObject:
    content = {**extra, "room_version": version.name}
    if version.create_content_names_creator:
        content["creator"] = creator
    if version.creators_have_infinite_power and equals:
        content["additional_creators"] = list(equals)
    return content


def _power_levels(creator: UserId, version: RoomVersion, preset: str, equals: Sequence[UserId]) -> JsonObject:
    above = version.creators_have_infinite_power
    return {
        "users": {} if above else dict.fromkeys((creator, *equals), 100),
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.server_acl": 100,
            "m.room.encryption": 100,
            "m.room.tombstone": 150 if above else 100,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": 50 if preset == "public_chat" else 0,
    }


def _first_state(preset: str, alias: RoomAlias | None, wanted: CreateRoom.Body) -> list[tuple[str, str, JsonObject]]:
    """Return the state that a room begins with, in order and each piece once: what is asked for outdoes the preset."""
    state: dict[tuple[str, str], JsonObject] = {}
    if alias is not None:
        state["m.room.canonical_alias", ""] = {"alias": alias}
    of_preset: dict[str, JsonObject] = {
        "m.room.join_rules": {"join_rule": _JOIN_RULES[preset]},
        "m.room.history_visibility": {"history_visibility": "shared"},
        "m.room.guest_access": {"guest_access": "forbidden" if preset == "public_chat" else "can_join"},
    }
    asked = {(event.type, event.state_key): event.content for event in wanted.initial_state}
    state |= {(kind, ""): content for kind, content in of_preset.items() if (kind, "") not in asked} | asked
    if wanted.name is not None:
        state["m.room.name", ""] = {"name": wanted.name}
    if wanted.topic is not None:
        plain = {"mimetype": "text/plain", "body": wanted.topic}
        state["m.room.topic", ""] = {"topic": wanted.topic, "m.topic": {"m.text": [plain]}}
    return [(event_type, state_key, content) for (event_type, state_key), content in state.items()]
