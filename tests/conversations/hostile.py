"""Another server, as far as a test tells it what to say: it has a real key, and lies at will.

It answers requests on the network of the test, signs what it sends, and knows the rooms that it joined well enough to
make good events in them; a bad one is a good one that was bent.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import quote, unquote

import httpx
import orjson
import trio

from tests.conversations.network import Network
from tests.federation.web import Host, Seen, hosting, reply
from tests.servers import AUTHORITIES
from tricord.federation.key_documents import own_document
from tricord.federation.request_auth import authorization_header
from tricord.homeserver.clock import SystemClock
from tricord.protocol.authorization import auth_event_keys
from tricord.protocol.canonical_json import lenient_canonical_json
from tricord.protocol.errors import MatrixError
from tricord.protocol.event_format import MAX_PREV_EVENTS, write_references
from tricord.protocol.events import Event, VerifiedEvent, build_event, parse_event
from tricord.protocol.hashes import content_hash, signed_form
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId
from tricord.protocol.redaction import redact
from tricord.protocol.room_versions import RoomVersion, room_version
from tricord.protocol.signing import SigningKey
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import encode_base64

Answer = JsonObject | list[Any] | bytes | int | tuple[int, JsonObject]
"""What a script says: JSON, the body as it is, a status without words, or a status and a refusal."""
Script = Callable[[Seen], Answer | Awaitable[Answer]]
State = dict[tuple[str, str], Event]

_FEDERATION = "/_matrix/federation/v1"


@dataclass
class Room:
    """A room as the peer knows it."""

    room_id: RoomId
    version: RoomVersion
    state: State = field(default_factory=dict)
    ends: list[Event] = field(default_factory=list)
    events: dict[EventId, Event] = field(default_factory=dict)

    def take_in(self, event: Event) -> None:
        """Follow the room by one event."""
        if event.event_id in self.events:
            return
        self.events[event.event_id] = event
        self.ends = [end for end in self.ends if end.event_id not in event.prev_events] + [event]
        if event.state_key is not None:
            self.state[event.type, event.state_key] = event


class Peer:
    """A scripted server."""

    def __init__(self, name: str, network: Network, host: Host) -> None:
        self.name = ServerName(name)
        self.key = SigningKey.generate()
        self.rooms: dict[RoomId, Room] = {}
        self.received: list[JsonObject] = []
        """The transactions that came."""
        self.asked: list[str] = []
        """What else was asked for."""
        self.script: list[tuple[str, Script]] = []
        """What is answered to requests whose method and path match: the last that does, counts."""
        self.keys: Callable[[], JsonObject] = lambda: own_document(self.name, self.key, SystemClock().now_ms())
        self._network = network
        self._news = trio.Event()
        self._numbers = itertools.count(1)
        self._http = httpx.AsyncClient(verify=AUTHORITIES, timeout=60)
        self._ts = SystemClock().now_ms()
        host.answer = self._answer
        network.urls[self.name] = f"http://127.0.0.1:{host.port}"

    def user(self, localpart: str) -> UserId:
        """Name a user of this server."""
        return UserId(f"@{localpart}:{self.name}")

    def answers(self, pattern: str, answer: Answer | Script) -> None:
        """Script the answer to requests of which `METHOD path?query` has a pattern; a number is a status."""
        self.script.append((pattern, answer if callable(answer) else lambda _: answer))

    # Asking

    async def request(
        self,
        destination: ServerName,
        method: str,
        uri: str,
        body: Any = None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        origin: ServerName | None = None,
        named: ServerName | None = None,
        key: SigningKey | None = None,
    ) -> httpx.Response:
        """Send a request, signed unless `headers` are given; `named` is for whom it says to be."""
        if content is None and body is not None:
            content = lenient_canonical_json(body)
        if headers is None:
            signed = authorization_header(
                method, uri, origin or self.name, named or destination, key or self.key, content
            )
            headers = {"Authorization": signed}
        return await self._http.request(method, self._network.urls[destination] + uri, content=content, headers=headers)

    async def send(
        self,
        destination: ServerName,
        pdus: Sequence[Any] = (),
        edus: Sequence[Any] = (),
        *,
        transaction_id: str | None = None,
        **options: Any,
    ) -> httpx.Response:
        """Send a transaction."""
        transaction_id = transaction_id or f"{self.name}{next(self._numbers)}"
        body = {
            "origin": self.name,
            "origin_server_ts": SystemClock().now_ms(),
            "pdus": [pdu.pdu if isinstance(pdu, Event) else pdu for pdu in pdus],
            "edus": list(edus),
        }
        return await self.request(destination, "PUT", f"{_FEDERATION}/send/{transaction_id}", body, **options)

    async def granted(self, destination: ServerName, method: str, uri: str, body: Any = None) -> Any:
        """Send a request, and return the JSON of an answer that grants it."""
        answer = await self.request(destination, method, uri, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def template(self, destination: ServerName, room_id: RoomId, user_id: UserId, act: str = "join") -> Any:
        """Ask for a template."""
        versions = "&".join(f"ver={n}" for n in range(1, 13)) if act != "leave" else ""
        uri = f"{_FEDERATION}/make_{act}/{quote(room_id)}/{quote(user_id)}" + (f"?{versions}" if versions else "")
        return await self.granted(destination, "GET", uri)

    async def member_event(
        self, destination: ServerName, room_id: RoomId, user_id: UserId, act: str = "join"
    ) -> VerifiedEvent:
        """Make a member event from a template."""
        proposed = await self.template(destination, room_id, user_id, act)
        pdu, version = proposed["event"], room_version(proposed["room_version"])
        return self.signed({**pdu, "origin_server_ts": self._tick()}, version)

    def handed(self, event: Event, act: str = "join", *, path_room: str = "", path_event: str = "") -> str:
        """Return the path under which a member event is handed over."""
        version = "v1" if act == "knock" else "v2"
        room_id, event_id = path_room or event.room_id, path_event or event.event_id
        name = "invite" if act == "invite" else f"send_{act}"
        return f"/_matrix/federation/{version}/{name}/{quote(room_id)}/{quote(event_id, safe='')}"

    async def join(self, destination: ServerName, room_id: RoomId, user_id: UserId) -> Room:
        """Join a room as one should, and know it from then on."""
        event = await self.member_event(destination, room_id, user_id)
        answer = await self.granted(destination, "PUT", self.handed(event), event.pdu)
        room = self.rooms.get(room_id) or Room(room_id, event.version)
        for pdu in [*answer["auth_chain"], *answer["state"]]:
            told = parse_event(pdu, event.version)
            room.events[told.event_id] = told
        for pdu in answer["state"]:
            told = parse_event(pdu, event.version)
            room.state[told.type, told.state_key or ""] = told
        room.take_in(event)
        room.ends = [event]
        self.rooms[room_id] = room
        return room

    # Having rooms

    def found(
        self, version_name: str, creator: UserId, *, join_rule: str = "public", levels: JsonObject | None = None
    ) -> Room:
        """Make a room of this server's own."""
        version = room_version(version_name)
        room = Room(RoomId(f"!own{next(self._numbers)}:{self.name}"), version)
        create: JsonObject = {"room_version": version_name}
        users = {creator: 100}
        if version.room_id_is_create_event_id:
            users = {}
        else:
            create["creator"] = creator
        for event_type, state_key, content in (
            ("m.room.create", "", create),
            ("m.room.member", creator, {"membership": "join"}),
            ("m.room.power_levels", "", {"users": users, **(levels or {})}),
            ("m.room.join_rules", "", {"join_rule": join_rule}),
        ):
            event = self.event(room, creator, event_type, content, state_key=state_key)
            room.room_id = event.room_id
            room.take_in(event)
        self.rooms[room.room_id] = room
        return room

    def welcomes(self, room: Room, **instead: Any) -> None:
        """Let others join a room of this server's own; `instead` replaces parts of what `send_join` answers."""

        def template(seen: Seen) -> Answer:
            user = unquote(seen.target.partition("?")[0].rpartition("/")[2])
            keys = auth_event_keys("m.room.member", UserId(user), user, {"membership": "join"}, room.version)
            proposed = {
                "type": "m.room.member",
                "room_id": room.room_id,
                "sender": user,
                "state_key": user,
                "content": {"membership": "join"},
                "depth": max(end.depth for end in room.ends) + 1,
                "prev_events": write_references([end.event_id for end in room.ends], room.version, {}),
                "auth_events": write_references(
                    [room.state[key].event_id for key in keys if key in room.state], room.version, {}
                ),
            }
            return {"room_version": room.version.name, "event": proposed}

        def taken(seen: Seen) -> Answer:
            state = [event.pdu for event in room.state.values()]
            told = {"state": state, "auth_chain": state, "origin": self.name, **instead}
            if not instead:
                room.take_in(parse_event(orjson.loads(seen.body), room.version))
            return told

        self.answers("make_join", template)
        self.answers("send_join", taken)

    # Making events

    def event(
        self,
        room: Room,
        sender: UserId,
        event_type: str,
        content: JsonObject,
        *,
        state_key: str | None = None,
        after: Sequence[EventId] | None = None,
        auth: Sequence[EventId] | None = None,
        depth: int | None = None,
        redacts: EventId | None = None,
    ) -> VerifiedEvent:
        """Make a good event of a room, as far as its arguments let it be one."""
        keys = auth_event_keys(event_type, sender, state_key, content, room.version)
        depth = max((end.depth for end in room.ends), default=0) + 1 if depth is None else depth
        return build_event(
            version=room.version,
            room_id=None if room.version.room_id_is_create_event_id and event_type == "m.room.create" else room.room_id,
            sender=sender,
            type=event_type,
            state_key=state_key,
            content=content,
            origin_server_ts=self._tick(),
            depth=depth,
            prev_events=[end.event_id for end in room.ends[-MAX_PREV_EVENTS:]] if after is None else after,
            auth_events=[room.state[key].event_id for key in keys if key in room.state] if auth is None else auth,
            redacts=redacts,
            server_name=self.name,
            key=self.key,
        )

    def says(self, room: Room, sender: UserId, body: str, **options: Any) -> VerifiedEvent:
        """Make a message."""
        return self.event(room, sender, "m.room.message", {"msgtype": "m.text", "body": body}, **options)

    def signed(self, pdu: JsonObject, version: RoomVersion, *, keep_hash: bool = False) -> VerifiedEvent:
        """Hash and sign what is meant to be an event."""
        return VerifiedEvent.from_verified(parse_event(self.signed_pdu(pdu, version, keep_hash=keep_hash), version))

    def signed_pdu(self, pdu: JsonObject, version: RoomVersion, *, keep_hash: bool = False) -> JsonObject:
        """Hash and sign what need not be an event."""
        pdu = {key: value for key, value in pdu.items() if key not in ("signatures", "unsigned")}
        if version.references_carry_hashes and "event_id" not in pdu:
            pdu["event_id"] = f"$made{next(self._numbers)}:{self.name}"
        if not keep_hash:
            pdu["hashes"] = {"sha256": encode_base64(content_hash(pdu, version))}
        signature = self.key.sign(signed_form(redact(pdu, version), version))
        return {**pdu, "signatures": {self.name: {self.key.key_id: signature}}}

    def bent(self, event: Event, **changes: Any) -> JsonObject:
        """Return an event with some of its keys changed (None: removed), hashed and signed again without a look."""
        pdu = {key: value for key, value in {**event.pdu, **changes}.items() if value is not None}
        pdu = {key: value for key, value in pdu.items() if key not in ("signatures", "unsigned")}
        hashed = {key: value for key, value in pdu.items() if key != "hashes"}
        digest = _digest(lenient_canonical_json(hashed))
        pdu["hashes"] = {"sha256": digest}
        try:
            message = signed_form(redact(pdu, event.version), event.version)
        except (
            MatrixError,
            KeyError,
            TypeError,
            AttributeError,
        ):  # what cannot even be cut down cannot be signed as it should be either
            message = b"{}"
        return {**pdu, "signatures": {self.name: {self.key.key_id: self.key.sign(message)}}}

    # Being asked

    def seen_pdus(self) -> list[JsonObject]:
        """Return the events that were sent to this server."""
        return [pdu for transaction in self.received for pdu in transaction["pdus"]]

    def seen_edus(self) -> list[JsonObject]:
        """Return the EDUs that were sent to this server."""
        return [edu for transaction in self.received for edu in transaction.get("edus", [])]

    async def heard(self, room_id: RoomId, event_id: EventId) -> None:
        """Wait until an event of a room was sent to this server."""
        while event_id not in self.rooms[room_id].events:
            self._news = trio.Event()
            await self._news.wait()

    async def _answer(self, seen: Seen) -> bytes:
        wanted = f"{seen.method} {seen.target}"
        for pattern, script in reversed(self.script):
            if re.search(pattern, wanted):
                answer = script(seen)
                if isinstance(answer, Awaitable):
                    answer = await answer
                self.asked.append(wanted)
                return _written(answer)
        if seen.target.startswith("/_matrix/key/v2/server"):
            return _written(self.keys())
        if seen.method == "PUT" and "/send/" in seen.target:
            self._receive(orjson.loads(seen.body))
            return _written({"pdus": {}})
        self.asked.append(wanted)
        return reply(orjson.dumps({"errcode": "M_NOT_FOUND", "error": "not here"}), status=404)

    def _receive(self, transaction: JsonObject) -> None:
        self.received.append(transaction)
        for pdu in transaction["pdus"]:
            room = self.rooms.get(pdu.get("room_id", ""))
            if room is not None:
                room.take_in(parse_event(pdu, room.version))
        self._news.set()

    def _tick(self) -> int:
        self._ts += 1
        return self._ts

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()


@asynccontextmanager
async def peer(name: str, network: Network) -> AsyncIterator[Peer]:
    """Run a scripted server while inside the block."""
    async with hosting(Host()) as host:
        found = Peer(name, network, host)
        try:
            yield found
        finally:
            await found.aclose()


def _written(answer: Answer) -> bytes:
    if isinstance(answer, int):
        return reply(b'{"errcode":"M_UNKNOWN","error":"no"}', status=answer)
    if isinstance(answer, tuple):
        return reply(orjson.dumps(answer[1]), status=answer[0])
    return reply(answer if isinstance(answer, bytes) else orjson.dumps(answer))


def _digest(data: bytes) -> str:
    return encode_base64(sha256(data).digest())
