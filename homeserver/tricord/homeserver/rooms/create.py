"""Creating rooms: one request becomes the first events of a room, all of them or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import structlog

from tricord.clients.api.room_creation import CreateRoom
from tricord.homeserver.clock import Clock
from tricord.homeserver.rooms.aliases import Aliases
from tricord.homeserver.rooms.append import Draft, Log
from tricord.homeserver.rooms.canonical_alias import check_canonical_alias_form
from tricord.homeserver.rooms.directory import Directory
from tricord.homeserver.rooms.draft_checks import check_content, check_server_acl
from tricord.homeserver.rooms.elsewhere import Elsewhere
from tricord.homeserver.rooms.invite import Invitations
from tricord.homeserver.rooms.people import Profiles
from tricord.homeserver.rooms.presets import PRESETS, Preset, power_levels
from tricord.homeserver.rooms.third_parties import ThirdParty, ThirdPartyInvitations
from tricord.protocol.errors import BadJson, Forbidden, InvalidRoomState, MatrixError, ServerNotTrusted
from tricord.protocol.identifiers import RoomAlias, RoomId, UserId, parse_user_id
from tricord.protocol.room_versions import RoomVersion, room_version
from tricord.protocol.strict_json import JsonObject

_logger = structlog.get_logger(__name__)

# A draft is given its room id when the create event has been made: in some versions that is its hash.
_NOT_YET = RoomId("")


class RoomCreation:
    """Makes rooms."""

    def __init__(
        self,
        log: Log,
        aliases: Aliases,
        directory: Directory,
        invitations: Invitations,
        profiles: Profiles,
        clock: Clock,
        *,
        default_version: str,
        elsewhere: Elsewhere | None = None,
        third_parties: ThirdPartyInvitations | None = None,
    ) -> None:
        self._third_parties = third_parties
        self._log = log
        self._aliases = aliases
        self._directory = directory
        self._invitations = invitations
        self._profiles = profiles
        self._clock = clock
        self._default_version = default_version
        self._elsewhere = elsewhere

    async def create(self, creator: UserId, wanted: CreateRoom.Body) -> RoomId:
        """Create the room; raises what the specification names for requests that cannot be met."""
        version = room_version(wanted.room_version or self._default_version)
        preset = PRESETS[wanted.preset or ("public_chat" if wanted.visibility == "public" else "private_chat")]
        third_parties = self._invited_by_address(wanted)
        invitees = await self._invitees(creator, wanted.invite)
        named = invitees if preset.invitees_equal_creator else ()
        content = create_content(creator, version, named, wanted.creation_content)
        if wanted.room_alias_name is None:
            drafts = await self._drafts(creator, version, preset, invitees, None, wanted)
            room_id = await self._append(version, creator, content, drafts)
        else:
            async with self._aliases.reserved(wanted.room_alias_name, creator) as reservation:
                drafts = await self._drafts(creator, version, preset, invitees, reservation.alias, wanted)
                room_id = await self._append(version, creator, content, drafts)
                await reservation.settle(room_id)
        if wanted.visibility == "public":
            await self._directory.publish(room_id, creator)
        await self._invite_elsewhere(creator, room_id, invitees, wanted)
        if self._third_parties is not None:
            await self._third_parties.invite_all(creator, room_id, third_parties)
        return room_id

    def _invited_by_address(self, wanted: CreateRoom.Body) -> list[ThirdParty]:
        """Return who is to be invited by address; refuse identity servers that are not asked."""
        if wanted.invite_3pid and self._third_parties is None:
            raise ServerNotTrusted("this server uses no identity server: invite by user id")
        return [
            self._third_parties.third_party(each.id_server, each.id_access_token, each.medium, each.address)
            for each in wanted.invite_3pid
            if self._third_parties is not None
        ]

    async def _invite_elsewhere(
        self, creator: UserId, room_id: RoomId, invitees: Sequence[UserId], wanted: CreateRoom.Body
    ) -> None:
        """Invite those of other servers; the room is there whether these can be reached or not."""
        remote = [user_id for user_id in invitees if not self._invitations.is_local(user_id)]
        if not remote or self._elsewhere is None:
            return
        content = {"membership": "invite", **({"is_direct": True} if wanted.is_direct else {})}
        for user_id in remote:
            try:
                await self._elsewhere.invite(Draft(room_id, creator, "m.room.member", user_id, content), user_id)
            except MatrixError as reason:
                _logger.info("an invitation was not taken", user_id=user_id, room_id=room_id, reason=reason.message)

    async def _append(
        self, version: RoomVersion, creator: UserId, content: JsonObject, drafts: Sequence[Draft]
    ) -> RoomId:
        try:
            room_id, _ = await self._log.create_room(version, creator, content, drafts)
        except Forbidden as refusal:
            raise InvalidRoomState(refusal.message) from refusal
        return room_id

    async def _invitees(self, creator: UserId, invite: Sequence[str]) -> list[UserId]:
        """Return who is to be invited, each once. A room for somebody who would not be there is not made."""
        asked = list(dict.fromkeys(parse_user_id(user_id) for user_id in invite))
        if creator in asked:
            raise BadJson(f"{creator} is in the room already and cannot be invited")
        if self._elsewhere is None and not all(map(self._invitations.is_local, asked)):
            raise Forbidden("users of other servers cannot be invited: this server meets no others")
        await self._invitations.check_all_accept(asked, by=creator)
        return asked

    async def _drafts(
        self,
        creator: UserId,
        version: RoomVersion,
        preset: Preset,
        invitees: Sequence[UserId],
        alias: RoomAlias | None,
        wanted: CreateRoom.Body,
    ) -> list[Draft]:
        """Return the events after the create event; the numbers are those of the specification's list.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom
        """

        def state(event_type: str, content: JsonObject, state_key: str = "") -> Draft:
            check_content(event_type, state_key, content)
            check_server_acl(event_type, state_key, content, creator)
            return Draft(_NOT_YET, creator, event_type, state_key, content)

        initial_state = _initial_state(wanted)
        joined = {"membership": "join", **await self._profiles.member_profile(creator)}
        levels = power_levels(preset, version, creator, invitees, wanted.power_level_content_override)
        drafts = [state("m.room.member", joined, creator)]  # 2
        drafts.append(state("m.room.power_levels", levels))  # 3
        if alias is not None:
            drafts.append(state("m.room.canonical_alias", {"alias": alias}))  # 4
        for event_type, content in preset.state().items():  # 5
            if (event_type, "") not in initial_state:
                drafts.append(state(event_type, content))
        for (event_type, state_key), content in initial_state.items():  # 6
            drafts.append(state(event_type, content, state_key))
        for event_type, content in _name_and_topic(wanted):  # 7
            drafts.append(state(event_type, content))
        for invitee in filter(self._invitations.is_local, invitees):  # 8
            content = {"membership": "invite", **await self._profiles.member_profile(invitee)}
            if wanted.is_direct:
                content["is_direct"] = True
            drafts.append(state("m.room.member", content, invitee))
        return drafts


def create_content(
    creator: UserId, version: RoomVersion, further_creators: Sequence[UserId], extra: JsonObject
) -> JsonObject:
    """Return the content of a create event; further creators count where the version knows them."""
    content = {**extra, "room_version": version.name}
    # Only the server says who the creator is; later versions take it from the sender.
    content.pop("creator", None)
    if version.create_content_names_creator:
        content["creator"] = creator
    if version.creators_have_infinite_power:
        named = content.get("additional_creators", [])
        if not isinstance(named, list) or not all(isinstance(user_id, str) for user_id in named):
            raise BadJson("`additional_creators` is not a list of user ids")
        creators = [*(parse_user_id(user_id) for user_id in named), *further_creators]
        content.pop("additional_creators", None)
        if creators := list(dict.fromkeys(creators)):
            content["additional_creators"] = creators
    check_content("m.room.create", "", content)
    return content


def _initial_state(wanted: CreateRoom.Body) -> dict[tuple[str, str], JsonObject]:
    """Return the wanted state, without what `name` and `topic` replace; of two for one key the later one."""
    state: dict[tuple[str, str], JsonObject] = {}
    for event in wanted.initial_state:
        if event.type == "m.room.create":
            raise InvalidRoomState("`initial_state` cannot hold m.room.create: use `creation_content`")
        if event.type == "m.room.member":
            raise InvalidRoomState("`initial_state` cannot hold m.room.member: use `invite`")
        if event.type == "m.room.canonical_alias":
            check_canonical_alias_form(event.content)
        state[event.type, event.state_key] = event.content
    for event_type, _ in _name_and_topic(wanted):
        state.pop((event_type, ""), None)
    return state


def _name_and_topic(wanted: CreateRoom.Body) -> Iterator[tuple[str, JsonObject]]:
    if wanted.name is not None:
        yield "m.room.name", {"name": wanted.name}
    if wanted.topic is not None:
        plain = {"mimetype": "text/plain", "body": wanted.topic}
        yield "m.room.topic", {"topic": wanted.topic, "m.topic": {"m.text": [plain]}}
