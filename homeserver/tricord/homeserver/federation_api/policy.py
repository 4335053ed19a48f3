"""The route by which other servers have events recommended."""

from __future__ import annotations

from typing import Any

from tricord.federation.api.policy import SignByPolicy
from tricord.homeserver.peers.policy_servers import PolicyServers
from tricord.homeserver.peers.recommendations import Recommendations
from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.server_reads import ServerReads
from tricord.homeserver.rooms.verification import Verifier
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import BadJson, NotFound, NotRecommended
from tricord.protocol.events import parse_event
from tricord.protocol.identifiers import ServerName, parse_room_id
from tricord.protocol.policy_server import POLICY_KEY_ID, needs_recommendation
from tricord.protocol.strict_json import JsonObject


class PolicyApi:
    """Recommends events in rooms that use this server as their policy server."""

    def __init__(
        self,
        recommendations: Recommendations,
        rooms: CachedRooms,
        policies: PolicyServers,
        reads: ServerReads,
        verifier: Verifier,
    ) -> None:
        self._recommendations = recommendations
        self._rooms = rooms
        self._policies = policies
        self._reads = reads
        self._verifier = verifier

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(SignByPolicy, self.sign)]

    async def sign(self, call: Call[JsonObject, Any]) -> JsonObject:
        """Sign an event, or say why not."""
        room_id = call.body.get("room_id")
        if not isinstance(room_id, str):
            raise BadJson("the event names no room")
        room = await self._rooms.room(parse_room_id(room_id))
        policy = None if room is None else await self._policies.of_room(room.room_id)
        if room is None or policy is None or policy.server != self._policies.server_name:
            raise NotFound(f"{room_id} does not use this server as its policy server")
        await self._reads.check_acl(call.origin, room.room_id)
        event = parse_event(call.body, room.version)
        if not needs_recommendation(event):
            raise NotRecommended("what names the policy server is not signed by it")
        # Else anybody could have a word put into the mouth of somebody else.
        _, wrong = await self._verifier.verified([event])
        if wrong:
            raise NotRecommended(wrong[event.event_id])
        return _answer(policy.server, self._recommendations.signature(event))


def _answer(server: ServerName, signature: str) -> JsonObject:
    return {server: {POLICY_KEY_ID: signature}}
