"""What can be asked of other servers, as typed calls. Every answer is checked for its form before it is handed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tricord.clients.endpoint import Endpoint
from tricord.federation.api import history, keys, membership, public_rooms, queries, spaces, transactions
from tricord.federation.client import FederationClient
from tricord.federation.errors import PeerAnswerInvalid, PeerRefused
from tricord.protocol.identifiers import EventId, RoomAlias, RoomId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject

# The state of a room with tens of thousands of members.
_STATE_BYTES = 256 << 20
_JOIN_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Template:
    """An event that another server proposes us to make."""

    room_version: str
    event: JsonObject


@dataclass(frozen=True, slots=True)
class SendJoin:
    """What the server that took our join tells of the room."""

    event: JsonObject | None
    """Our join as that server has it, perhaps with its signature."""
    state: Sequence[JsonObject]
    auth_chain: Sequence[JsonObject]
    members_omitted: bool
    servers_in_room: Sequence[str]


class Peers:
    """Asks other servers. All methods raise PeerError and its kin."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def make_join(
        self, destination: ServerName, room_id: RoomId, user_id: UserId, versions: Sequence[str]
    ) -> Template:
        """Ask for a template for a join."""
        return await self._template(membership.MakeJoin, destination, room_id, user_id, list(versions))

    async def make_leave(self, destination: ServerName, room_id: RoomId, user_id: UserId) -> Template:
        """Ask for a template for a leave."""
        return await self._template(membership.MakeLeave, destination, room_id, user_id, None)

    async def make_knock(
        self, destination: ServerName, room_id: RoomId, user_id: UserId, versions: Sequence[str]
    ) -> Template:
        """Ask for a template for a knock."""
        return await self._template(membership.MakeKnock, destination, room_id, user_id, list(versions))

    async def send_join(
        self, destination: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject, omit_members: bool
    ) -> SendJoin:
        """Hand over a join, and get the state before it."""
        answer = await self._client.call(
            destination,
            membership.SendJoin,
            {"room_id": room_id, "event_id": event_id},
            query={"omit_members": "true" if omit_members else "false"},
            body=pdu,
            timeout_seconds=_JOIN_SECONDS,
            max_bytes=_STATE_BYTES,
        )
        event, servers = answer.get("event"), answer.get("servers_in_room")
        return SendJoin(
            event if isinstance(event, dict) else None,
            _objects(destination, answer, "state"),
            _objects(destination, answer, "auth_chain"),
            answer.get("members_omitted") is True,
            [name for name in servers if isinstance(name, str)] if isinstance(servers, list) else [],
        )

    async def send_leave(self, destination: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject) -> None:
        """Hand over a leave."""
        path = {"room_id": room_id, "event_id": event_id}
        await self._client.call(destination, membership.SendLeave, path, body=pdu)

    async def send_knock(
        self, destination: ServerName, room_id: RoomId, event_id: EventId, pdu: JsonObject
    ) -> list[JsonObject]:
        """Hand over a knock; return what the room shows of itself."""
        path = {"room_id": room_id, "event_id": event_id}
        answer = await self._client.call(destination, membership.SendKnock, path, body=pdu)
        return _objects(destination, answer, "knock_room_state")

    async def invite(
        self,
        destination: ServerName,
        room_id: RoomId,
        event_id: EventId,
        pdu: JsonObject,
        room_version: str,
        room_state: Sequence[JsonObject],
    ) -> JsonObject:
        """Ask the server of an invited user to sign the invitation; return it signed."""
        path = {"room_id": room_id, "event_id": event_id}
        body = {"event": pdu, "room_version": room_version, "invite_room_state": list(room_state)}
        try:
            answer = await self._client.call(destination, membership.Invite, path, body=body)
        except PeerRefused as error:
            # Servers of long ago know the first version only, and rooms that are as old.
            if error.errcode != "M_UNRECOGNIZED" or room_version not in ("1", "2"):
                raise
            old = {**pdu, "unsigned": {**pdu.get("unsigned", {}), "invite_room_state": list(room_state)}}
            # It answers `[200, {…}]`, which newer ones do no more.
            answer = await self._client.call(destination, membership.InviteV1, path, body=old)
        event = answer.get("event")
        if not isinstance(event, dict):
            raise PeerAnswerInvalid(destination, "it returns no signed invitation")
        return event

    async def event(self, destination: ServerName, event_id: EventId) -> JsonObject:
        """Ask for an event."""
        answer = await self._client.call(destination, history.GetEvent, {"event_id": event_id})
        pdus = _objects(destination, answer, "pdus")
        if not pdus:
            raise PeerAnswerInvalid(destination, f"it returns no event for {event_id}")
        return pdus[0]

    async def event_auth(self, destination: ServerName, room_id: RoomId, event_id: EventId) -> list[JsonObject]:
        """Ask for the auth chain of an event."""
        path = {"room_id": room_id, "event_id": event_id}
        answer = await self._client.call(destination, history.GetEventAuth, path, max_bytes=_STATE_BYTES)
        return _objects(destination, answer, "auth_chain")

    async def state(
        self, destination: ServerName, room_id: RoomId, event_id: EventId
    ) -> tuple[list[JsonObject], list[JsonObject]]:
        """Ask for the state before an event; return it, and its auth chain."""
        answer = await self._client.call(
            destination,
            history.GetState,
            {"room_id": room_id},
            query={"event_id": event_id},
            timeout_seconds=_JOIN_SECONDS,
            max_bytes=_STATE_BYTES,
        )
        return _objects(destination, answer, "pdus"), _objects(destination, answer, "auth_chain")

    async def state_ids(
        self, destination: ServerName, room_id: RoomId, event_id: EventId
    ) -> tuple[list[EventId], list[EventId]]:
        """Ask for the ids of the state before an event; return them, and those of its auth chain."""
        answer = await self._client.call(
            destination,
            history.GetStateIds,
            {"room_id": room_id},
            query={"event_id": event_id},
            timeout_seconds=_JOIN_SECONDS,
            max_bytes=_STATE_BYTES,
        )
        state, chain = _strings(destination, answer, "pdu_ids"), _strings(destination, answer, "auth_chain_ids")
        return [EventId(one) for one in state], [EventId(one) for one in chain]

    async def backfill(
        self, destination: ServerName, room_id: RoomId, event_ids: Sequence[EventId], limit: int
    ) -> list[JsonObject]:
        """Ask for some events and those before them."""
        query = {"v": list(event_ids), "limit": limit}
        answer = await self._client.call(
            destination, history.Backfill, {"room_id": room_id}, query=query, max_bytes=32 << 20
        )
        return _objects(destination, answer, "pdus")

    async def missing_events(
        self,
        destination: ServerName,
        room_id: RoomId,
        earliest: Sequence[EventId],
        latest: Sequence[EventId],
        limit: int,
        min_depth: int,
    ) -> list[JsonObject]:
        """Ask for events between some events and others."""
        body = {
            "earliest_events": list(earliest),
            "latest_events": list(latest),
            "limit": limit,
            "min_depth": min_depth,
        }
        answer = await self._client.call(
            destination, history.GetMissingEvents, {"room_id": room_id}, body=body, max_bytes=32 << 20
        )
        return _objects(destination, answer, "events")

    async def timestamp_to_event(
        self, destination: ServerName, room_id: RoomId, ts: int, direction: str
    ) -> tuple[EventId, int]:
        """Ask for the event closest to a time; return its id and its own time."""
        answer = await self._client.call(
            destination, history.TimestampToEvent, {"room_id": room_id}, query={"ts": ts, "dir": direction}
        )
        event_id, origin_server_ts = answer.get("event_id"), answer.get("origin_server_ts")
        if not isinstance(event_id, str) or not isinstance(origin_server_ts, int):
            raise PeerAnswerInvalid(destination, "it names no event")
        return EventId(event_id), origin_server_ts

    async def send_transaction(
        self,
        destination: ServerName,
        transaction_id: str,
        origin_server_ts: int,
        pdus: Sequence[JsonObject],
        edus: Sequence[JsonObject],
    ) -> Mapping[str, Any]:
        """Send events and ephemeral data; return what the server says to each event, by id."""
        body = {
            "origin": self._client.server_name,
            "origin_server_ts": origin_server_ts,
            "pdus": list(pdus),
            "edus": list(edus),
        }
        answer = await self._client.call(
            destination, transactions.SendTransaction, {"txn_id": transaction_id}, body=body, timeout_seconds=60
        )
        results = answer.get("pdus")
        return results if isinstance(results, dict) else {}

    async def query_directory(self, destination: ServerName, alias: RoomAlias) -> tuple[RoomId, list[str]]:
        """Ask for the room that an alias stands for; return it, and servers that are in it."""
        answer = await self._client.call(destination, queries.QueryDirectory, query={"room_alias": alias})
        room_id = answer.get("room_id")
        if not isinstance(room_id, str):
            raise PeerAnswerInvalid(destination, f"it names no room for {alias}")
        return RoomId(room_id), _strings(destination, answer, "servers")

    async def query_profile(self, destination: ServerName, user_id: UserId, field: str | None = None) -> JsonObject:
        """Ask for the profile of a user, or one field of it."""
        query = {"user_id": user_id, "field": field}
        return await self._client.call(destination, queries.QueryProfile, query=query, timeout_seconds=10)

    async def public_rooms(self, destination: ServerName, wanted: JsonObject) -> JsonObject:
        """Ask for the rooms that the server shows to everybody."""
        return await self._client.call(destination, public_rooms.SearchPublicRooms, body=wanted)

    async def hierarchy(self, destination: ServerName, room_id: RoomId, *, suggested_only: bool) -> JsonObject:
        """Ask for a space and the rooms in it."""
        query = {"suggested_only": "true" if suggested_only else "false"}
        return await self._client.call(destination, spaces.GetHierarchy, {"room_id": room_id}, query=query)

    async def server_keys(self, destination: ServerName) -> JsonObject:
        """Ask for the server's own keys."""
        return await self._client.call(
            destination, keys.GetServerKeys, timeout_seconds=15, max_bytes=1 << 16, urgent=True
        )

    async def notary_keys(self, notary: ServerName, server_name: ServerName, minimum_valid_until_ts: int) -> JsonObject:
        """Ask a server for another one's keys."""
        query = {"minimum_valid_until_ts": minimum_valid_until_ts}
        path = {"server_name": server_name}
        return await self._client.call(notary, keys.QueryServerKeys, path, query=query, timeout_seconds=15)

    async def version(self, destination: ServerName) -> JsonObject:
        """Ask what the server runs."""
        return await self._client.call(destination, queries.GetVersion, timeout_seconds=10)

    async def _template(
        self,
        endpoint: type[Endpoint],
        destination: ServerName,
        room_id: RoomId,
        user_id: UserId,
        versions: list[str] | None,
    ) -> Template:
        path = {"room_id": room_id, "user_id": user_id}
        answer = await self._client.call(destination, endpoint, path, query={"ver": versions})
        event, version = answer.get("event"), answer.get("room_version", "1")
        if not isinstance(event, dict) or not isinstance(version, str):
            raise PeerAnswerInvalid(destination, "it proposes no event")
        return Template(version, event)


def _objects(server: ServerName, answer: JsonObject, key: str) -> list[JsonObject]:
    values = answer.get(key, [])
    if not isinstance(values, list):
        raise PeerAnswerInvalid(server, f"`{key}` of its answer is not an array")
    return [value for value in values if isinstance(value, dict)]


def _strings(server: ServerName, answer: JsonObject, key: str) -> list[str]:
    values = answer.get(key, [])
    if not isinstance(values, list):
        raise PeerAnswerInvalid(server, f"`{key}` of its answer is not an array")
    return [value for value in values if isinstance(value, str)]
