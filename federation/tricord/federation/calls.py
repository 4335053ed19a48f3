"""What one server asks of another, call by call. What comes back has the shape it must have; no more is known of it.

Events come as the JSON they were: nothing about them is checked here, whoever takes them verifies them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from tricord.clients.api.directory import DirectoryFilter, PublicRoomsPage
from tricord.federation.api import (
    encryption,
    history,
    keys,
    membership,
    openid,
    policy,
    public_rooms,
    queries,
    spaces,
    third_party,
    transactions,
)
from tricord.federation.client import FederationClient
from tricord.federation.errors import PeerAnswerInvalid, PeerRefused
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import (
    DeviceId,
    EventId,
    KeyId,
    RoomAlias,
    RoomId,
    ServerName,
    UserId,
    parse_server_name,
    server_name_of,
)
from tricord.protocol.strict_json import JsonObject, parse_event_object

# The state of the largest rooms is that large.
_WHOLE_ROOM_BYTES = 256 << 20
_WHOLE_ROOM_SECONDS = 300.0
_EVENTS_BYTES = 16 << 20
_EVENTS_SECONDS = 60.0
_QUICK_SECONDS = 10.0
_MOST_SERVERS = 10_000


@dataclass(frozen=True, slots=True)
class Template:
    """An event that another server proposes. Never sign it: make your own, and take what must come from it."""

    room_version: str
    event: JsonObject


@dataclass(frozen=True, slots=True)
class SendJoin:
    """How a room is that was joined: the state before the join, and the auth chain of that and of the join."""

    event: JsonObject | None
    state: list[JsonObject]
    auth_chain: list[JsonObject]
    members_omitted: bool
    servers_in_room: list[ServerName]


class RoomOfAlias(NamedTuple):
    """What an alias stands for, and servers that are in the room."""

    room_id: RoomId
    servers: list[ServerName]


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A room, the rooms directly in it, and those that the asking server may not see."""

    room: JsonObject
    children: list[JsonObject]
    inaccessible_children: list[RoomId]


class Peers:
    """Other servers, by what they can be asked.

    Every method raises PeerRefused, PeerUnreachable or PeerAnswerInvalid, and nothing else. What a user waits for is
    tried even while a server is backed off from.
    """

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    # Membership

    async def make_join(
        self, destination: ServerName, room_id: RoomId, user_id: UserId, versions: Sequence[str]
    ) -> Template:
        """Ask for the template of a join."""
        answer = await self._client.typed(
            destination,
            membership.MakeJoin,
            membership.TemplateResponse,
            {"room_id": room_id, "user_id": user_id},
            {"ver": list(versions)},
            urgent=True,
        )
        return Template(answer.room_version, answer.event)

    async def send_join(
        self, destination: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject, omit_members: bool
    ) -> SendJoin:
        """Send a join, and learn the state of the room."""
        answer = await self._client.typed(
            destination,
            membership.SendJoin,
            membership.SendJoin.Response,
            {"room_id": room_id, "event_id": event_id},
            {"omit_members": omit_members},
            pdu,
            timeout_seconds=_WHOLE_ROOM_SECONDS,
            max_bytes=_WHOLE_ROOM_BYTES,
            urgent=True,
        )
        return SendJoin(
            answer.event,
            answer.state,
            answer.auth_chain,
            answer.members_omitted,
            _server_names(answer.servers_in_room or []),
        )

    async def make_leave(self, destination: ServerName, room_id: RoomId, user_id: UserId) -> Template:
        """Ask for the template of a leave."""
        path = {"room_id": room_id, "user_id": user_id}
        answer = await self._client.typed(
            destination, membership.MakeLeave, membership.TemplateResponse, path, urgent=True
        )
        return Template(answer.room_version, answer.event)

    async def send_leave(self, destination: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject) -> None:
        """Send a leave."""
        path = {"room_id": room_id, "event_id": event_id}
        await self._client.call(destination, membership.SendLeave, path, body=pdu, urgent=True)

    async def make_knock(
        self, destination: ServerName, room_id: RoomId, user_id: UserId, versions: Sequence[str]
    ) -> Template:
        """Ask for the template of a knock."""
        answer = await self._client.typed(
            destination,
            membership.MakeKnock,
            membership.TemplateResponse,
            {"room_id": room_id, "user_id": user_id},
            {"ver": list(versions)},
            urgent=True,
        )
        return Template(answer.room_version, answer.event)

    async def send_knock(
        self, destination: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject
    ) -> list[JsonObject]:
        """Send a knock; return the events that show what was knocked upon."""
        path = {"room_id": room_id, "event_id": event_id}
        answer = await self._client.typed(
            destination, membership.SendKnock, membership.SendKnock.Response, path, body=pdu, urgent=True
        )
        return answer.knock_room_state

    async def invite(
        self,
        destination: ServerName,
        room_id: RoomId,
        event_id: EventId,
        pdu: JsonObject,
        room_version: str,
        invite_room_state: Sequence[JsonObject],
    ) -> JsonObject:
        """Have a user's server sign an invitation; return the event with its signature."""
        path = {"room_id": room_id, "event_id": event_id}
        body = {"room_version": room_version, "event": pdu, "invite_room_state": list(invite_room_state)}
        try:
            answer = await self._client.typed(
                destination, membership.Invite, membership.Invite.Response, path, body=body, urgent=True
            )
        except PeerRefused as error:
            # Servers that know only the older endpoint know only the two oldest room versions.
            if error.status not in (400, 404) or room_version not in ("1", "2"):
                raise
            try:
                return await self._invite_v1(destination, path, pdu, invite_room_state)
            except PeerRefused as older:
                if older.errcode == "M_UNRECOGNIZED":
                    raise error from older
                raise
        return answer.event

    async def _invite_v1(
        self,
        destination: ServerName,
        path: Mapping[str, str],
        pdu: JsonObject,
        invite_room_state: Sequence[JsonObject],
    ) -> JsonObject:
        body = {**pdu, "unsigned": {**pdu.get("unsigned", {}), "invite_room_state": list(invite_room_state)}}
        match await self._client.call(destination, membership.InviteV1, path, body=body, urgent=True):
            case [200, {"event": dict(event)}]:
                return event
        raise PeerAnswerInvalid(destination, "an invitation is answered with 200 and the event")

    # History and state of rooms

    async def backfill(
        self, destination: ServerName, room_id: RoomId, event_ids: Sequence[EventId], limit: int
    ) -> list[JsonObject]:
        """Return events up to and before some, newest first."""
        answer = await self._client.typed(
            destination,
            history.Backfill,
            history.TransactionOfPdus,
            {"room_id": room_id},
            {"v": list(event_ids), "limit": limit},
            timeout_seconds=_EVENTS_SECONDS,
            max_bytes=_EVENTS_BYTES,
        )
        return answer.pdus

    async def missing_events(
        self,
        destination: ServerName,
        room_id: RoomId,
        earliest: Collection[EventId],
        latest: Collection[EventId],
        limit: int,
        min_depth: int = 0,
    ) -> list[JsonObject]:
        """Return the events between some that we have and some newer ones."""
        answer = await self._client.typed(
            destination,
            history.GetMissingEvents,
            history.GetMissingEvents.Response,
            {"room_id": room_id},
            body={
                "earliest_events": list(earliest),
                "latest_events": list(latest),
                "limit": limit,
                "min_depth": min_depth,
            },
            timeout_seconds=_EVENTS_SECONDS,
            max_bytes=_EVENTS_BYTES,
        )
        return answer.events

    async def event(self, destination: ServerName, event_id: EventId) -> JsonObject:
        """Return one event."""
        answer = await self._client.typed(
            destination, history.GetEvent, history.TransactionOfPdus, {"event_id": event_id}
        )
        if len(answer.pdus) != 1:
            raise PeerAnswerInvalid(destination, f"was asked for one event and gave {len(answer.pdus)}")
        return answer.pdus[0]

    async def event_auth(self, destination: ServerName, room_id: RoomId, event_id: EventId) -> list[JsonObject]:
        """Return the auth chain of an event."""
        answer = await self._client.typed(
            destination,
            history.GetEventAuth,
            history.GetEventAuth.Response,
            {"room_id": room_id, "event_id": event_id},
            timeout_seconds=_EVENTS_SECONDS,
            max_bytes=_WHOLE_ROOM_BYTES,
        )
        return answer.auth_chain

    async def state(
        self, destination: ServerName, room_id: RoomId, event_id: EventId
    ) -> tuple[list[JsonObject], list[JsonObject]]:
        """Return the state before an event, and its auth chain."""
        answer = await self._client.typed(
            destination,
            history.GetState,
            history.GetState.Response,
            {"room_id": room_id},
            {"event_id": event_id},
            timeout_seconds=_WHOLE_ROOM_SECONDS,
            max_bytes=_WHOLE_ROOM_BYTES,
        )
        return answer.pdus, answer.auth_chain

    async def state_ids(
        self, destination: ServerName, room_id: RoomId, event_id: EventId
    ) -> tuple[list[EventId], list[EventId]]:
        """Return the ids of the state before an event, and of its auth chain."""
        answer = await self._client.typed(
            destination,
            history.GetStateIds,
            history.GetStateIds.Response,
            {"room_id": room_id},
            {"event_id": event_id},
            timeout_seconds=_EVENTS_SECONDS,
            max_bytes=_EVENTS_BYTES,
        )
        return answer.pdu_ids, answer.auth_chain_ids

    async def timestamp_to_event(
        self, destination: ServerName, room_id: RoomId, timestamp_ms: int, direction: str
    ) -> tuple[EventId, int]:
        """Return the event closest to a time, "f"orwards or "b"ackwards from it, and its `origin_server_ts`."""
        answer = await self._client.typed(
            destination,
            history.TimestampToEvent,
            history.TimestampToEvent.Response,
            {"room_id": room_id},
            {"ts": timestamp_ms, "dir": direction},
            timeout_seconds=_QUICK_SECONDS,
        )
        return answer.event_id, answer.origin_server_ts

    # Questions

    async def query_directory(self, destination: ServerName, alias: RoomAlias) -> RoomOfAlias:
        """Return what an alias of the server stands for."""
        answer = await self._client.typed(
            destination,
            queries.QueryDirectory,
            queries.QueryDirectory.Response,
            query={"room_alias": alias},
            urgent=True,
        )
        return RoomOfAlias(answer.room_id, _server_names(answer.servers))

    async def query_profile(self, destination: ServerName, user_id: UserId, field: str | None = None) -> JsonObject:
        """Return the profile of a user of the server, or one field of it: an object of what is set."""
        answer = await self._client.call(
            destination,
            queries.QueryProfile,
            query={"user_id": user_id, "field": field},
            timeout_seconds=_QUICK_SECONDS,
        )
        return _object(destination, answer)

    async def version(self, destination: ServerName) -> tuple[str | None, str | None]:
        """Return the name and version of the server's software."""
        answer = await self._client.typed(
            destination, queries.GetVersion, queries.GetVersion.Response, timeout_seconds=_QUICK_SECONDS, urgent=True
        )
        return answer.server.name, answer.server.version

    async def public_rooms(
        self,
        destination: ServerName,
        *,
        limit: int | None = None,
        since: str | None = None,
        search: DirectoryFilter | None = None,
        include_all_networks: bool = False,
        third_party_instance_id: str | None = None,
    ) -> PublicRoomsPage:
        """Return a page of the server's published rooms, of those that match `search` if it is given."""
        page: dict[str, Any] = {"limit": limit, "since": since, "third_party_instance_id": third_party_instance_id}
        page = {name: value for name, value in page.items() if value is not None}
        page["include_all_networks"] = include_all_networks
        if search is None:
            return await self._client.typed(
                destination, public_rooms.GetPublicRooms, PublicRoomsPage, query=page, urgent=True
            )
        page["filter"] = search.model_dump(exclude_none=True)
        return await self._client.typed(
            destination, public_rooms.SearchPublicRooms, PublicRoomsPage, body=page, urgent=True
        )

    async def hierarchy(self, destination: ServerName, room_id: RoomId, *, suggested_only: bool = False) -> Hierarchy:
        """Return what the server tells of a room and the rooms in it."""
        answer = await self._client.typed(
            destination,
            spaces.GetHierarchy,
            spaces.GetHierarchy.Response,
            {"room_id": room_id},
            {"suggested_only": suggested_only},
        )
        return Hierarchy(answer.room, answer.children, answer.inaccessible_children)

    # Devices and keys of users

    async def user_devices(self, destination: ServerName, user_id: UserId) -> encryption.GetUserDevices.Response:
        """Return the devices of a user of the server."""
        answer = await self._client.typed(
            destination, encryption.GetUserDevices, encryption.GetUserDevices.Response, {"user_id": user_id}
        )
        if answer.user_id != user_id:
            raise PeerAnswerInvalid(destination, f"was asked for the devices of {user_id} and gave somebody else's")
        return answer

    async def keys_query(
        self, destination: ServerName, device_keys: Mapping[UserId, Sequence[DeviceId]]
    ) -> encryption.QueryKeys.Response:
        """Return the keys of devices of users of the server, and nobody's but theirs."""
        body = {"device_keys": {user_id: list(devices) for user_id, devices in device_keys.items()}}
        answer = await self._client.typed(
            destination, encryption.QueryKeys, encryption.QueryKeys.Response, body=body, max_bytes=_EVENTS_BYTES
        )
        return encryption.QueryKeys.Response(
            device_keys=_only(answer.device_keys, device_keys),
            master_keys=_only(answer.master_keys, device_keys),
            self_signing_keys=_only(answer.self_signing_keys, device_keys),
        )

    async def keys_claim(
        self, destination: ServerName, one_time_keys: Mapping[UserId, Mapping[DeviceId, str]]
    ) -> dict[str, dict[str, JsonObject]]:
        """Take one-time keys of devices of users of the server: by user, by device, the key under its id."""
        body = {"one_time_keys": {user_id: dict(devices) for user_id, devices in one_time_keys.items()}}
        answer = await self._client.typed(
            destination, encryption.ClaimKeys, encryption.ClaimKeys.Response, body=body, max_bytes=_EVENTS_BYTES
        )
        return {
            user_id: _only(devices, one_time_keys[UserId(user_id)])
            for user_id, devices in answer.one_time_keys.items()
            if user_id in one_time_keys
        }

    async def openid_userinfo(self, destination: ServerName, access_token: str) -> UserId:
        """Return whose OpenID token it is: a user of the server, which knows of no others."""
        answer = await self._client.typed(
            destination,
            openid.GetOpenIdUserInfo,
            openid.GetOpenIdUserInfo.Response,
            query={"access_token": access_token},
            timeout_seconds=_QUICK_SECONDS,
            urgent=True,
        )
        if server_name_of(answer.sub) != destination:
            raise PeerAnswerInvalid(destination, f"says that the token is that of {answer.sub}, who is not its user")
        return answer.sub

    # Sending

    async def send_transaction(
        self,
        destination: ServerName,
        transaction_id: str,
        origin_server_ts: int,
        pdus: Sequence[bytes],
        edus: Sequence[JsonObject],
    ) -> dict[EventId, str | None]:
        """Send a transaction; return why events were not taken, None for those that were.

        The sender knows itself when a server may be tried again, so back-off does not stop this.
        """
        body = {
            "origin": self._client.server_name,
            "origin_server_ts": origin_server_ts,
            "pdus": [_event(pdu) for pdu in pdus],
            "edus": list(edus),
        }
        answer = await self._client.call(
            destination,
            transactions.SendTransaction,
            {"txn_id": transaction_id},
            body=body,
            timeout_seconds=60,
            urgent=True,
        )
        return _results(answer)

    async def exchange_third_party_invite(self, destination: ServerName, room_id: RoomId, invite: JsonObject) -> None:
        """Have a server in the room make an invitation of a third party's."""
        path = {"room_id": room_id}
        await self._client.call(destination, third_party.ExchangeThirdPartyInvite, path, body=invite, urgent=True)

    async def policy_signatures(self, destination: ServerName, pdu: JsonObject, *, urgent: bool) -> dict[KeyId, str]:
        """Ask a policy server to sign an event; return its signatures by the ids of its keys."""
        answer = await self._client.call(
            destination, policy.SignByPolicy, body=pdu, timeout_seconds=_QUICK_SECONDS, urgent=urgent
        )
        signatures = _object(destination, answer).get(destination, {})
        if not isinstance(signatures, dict) or not all(isinstance(one, str) for one in signatures.values()):
            raise PeerAnswerInvalid(destination, "signatures are strings by the ids of keys")
        return {KeyId(key_id): signature for key_id, signature in signatures.items()}

    # Keys of servers

    async def server_keys(self, destination: ServerName) -> JsonObject:
        """Return the keys that a server publishes, signed as they are."""
        answer = await self._client.call(
            destination, keys.GetServerKeys, timeout_seconds=_QUICK_SECONDS, max_bytes=64 << 10, urgent=True
        )
        return _object(destination, answer)

    async def notary_keys(
        self, notary: ServerName, wanted: Mapping[ServerName, Mapping[KeyId, int]]
    ) -> list[JsonObject]:
        """Ask a notary for keys of servers, valid until some times; return their objects, signed as they are."""
        criteria = {
            server: {key_id: {"minimum_valid_until_ts": until} for key_id, until in of_server.items()}
            for server, of_server in wanted.items()
        }
        answer = await self._client.typed(
            notary,
            keys.QueryManyServerKeys,
            keys.NotaryAnswer,
            body={"server_keys": criteria},
            max_bytes=_EVENTS_BYTES,
            urgent=True,
        )
        return answer.server_keys


@lru_cache(maxsize=128)
def _event(pdu: bytes) -> JsonObject:
    """Parse an event that goes to many servers at about the same time; nobody changes the result."""
    return parse_event_object(pdu, strict=False)


def _results(answer: Any) -> dict[EventId, str | None]:
    """Read what became of the events of a transaction.

    The server has answered 200, so it has the events: nothing in its answer could be worth sending them again.
    """
    pdus = answer.get("pdus") if isinstance(answer, dict) else None
    if not isinstance(pdus, dict):
        return {}
    return {EventId(event_id): _error(result) for event_id, result in pdus.items()}


def _error(result: Any) -> str | None:
    error = result.get("error") if isinstance(result, dict) else None
    return error[:1000] if isinstance(error, str) and error else None


def _server_names(texts: Sequence[str]) -> list[ServerName]:
    """Return those that are server names, each once: they say whom to ask, and one bad name spoils nothing."""
    names: dict[ServerName, None] = {}
    for text in texts[:_MOST_SERVERS]:
        try:
            names[parse_server_name(text)] = None
        except InvalidParam:
            continue
    return list(names)


def _only(answered: Mapping[str, Any], asked: Collection[str]) -> dict[str, Any]:
    """Return what was asked for, and nothing about anybody else."""
    return {name: value for name, value in answered.items() if name in asked}


def _object(destination: ServerName, answer: Any) -> JsonObject:
    if type(answer) is not dict:
        raise PeerAnswerInvalid(destination, "the answer is not an object")
    return answer
