"""Somebody is invited by their e-mail address: an identity server says who they are, or waits until it knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.conversations.network import Network
from tests.conversations.towns import Town, members, towns
from tests.postgres import PostgresServer
from tricord.clients import Refused
from tricord.federation.errors import HostUnreachable
from tricord.federation.transport import Fetch, Response
from tricord.protocol.identifiers import KeyId, ServerName, UserId
from tricord.protocol.signing import SigningKey, sign_json
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import encode_base64, encode_url_safe_base64

_HOST = ServerName("identity.test")
_TOKEN = "a-token-of-alice"
_PEPPER = "matrixrocks"
_KEY = SigningKey.generate("0")


@dataclass
class IdentityServer:
    """An identity server that does as it is told."""

    known: dict[str, str] = field(default_factory=dict)
    """Users by address."""
    stored: list[JsonObject] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    algorithms: list[str] = field(default_factory=lambda: ["none", "sha256"])
    says: Callable[[str], tuple[int, Any] | None] = lambda _what: None
    """What it answers instead."""

    async def open(self) -> Fetch:
        """Implement Outside."""
        return self

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        timeout_seconds: float,
        max_bytes: int,
        max_redirects: int = 0,
    ) -> Response:
        """Implement Fetch."""
        assert timeout_seconds <= 60
        assert max_bytes <= 1 << 20
        assert max_redirects == 0
        if not url.startswith(f"https://{_HOST}/_matrix/identity/v2/"):
            raise HostUnreachable(f"nobody is at {url}")
        what = url.rpartition("/")[2]
        self.asked.append(what)
        assert (headers or {})["Authorization"] == f"Bearer {_TOKEN}"
        body = orjson.loads(content) if content else {}
        status, answer = self.says(what) or (200, getattr(self, f"_{method.lower()}_{what.replace('-', '_')}")(body))
        return Response(status, {}, answer if isinstance(answer, bytes) else orjson.dumps(answer))

    def _get_hash_details(self, _body: JsonObject) -> JsonObject:
        return {"lookup_pepper": _PEPPER, "algorithms": self.algorithms}

    def _post_lookup(self, body: JsonObject) -> JsonObject:
        assert body["pepper"] == _PEPPER
        queries = {
            "none": lambda address: f"{address} email",
            "sha256": lambda address: encode_url_safe_base64(sha256(f"{address} email {_PEPPER}".encode()).digest()),
        }
        found = {queries[body["algorithm"]](address): user_id for address, user_id in self.known.items()}
        return {"mappings": {query: found[query] for query in body["addresses"] if query in found}}

    def _post_store_invite(self, body: JsonObject) -> JsonObject:
        self.stored.append(body)
        key = {"public_key": encode_base64(_KEY.public_key), "key_validity_url": f"https://{_HOST}/valid"}
        return {"token": f"token{len(self.stored)}", "public_keys": [key, key], "display_name": "b...@e..."}


@pytest.fixture
def identity() -> IdentityServer:
    return IdentityServer()


@pytest.fixture
def network(identity: IdentityServer) -> Network:
    return Network(outside=identity)


@pytest.fixture
async def both(postgres: PostgresServer, tmp_path: Path, network: Network) -> AsyncIterator[list[Town]]:
    settings = {"identity_servers": {"trusted": [_HOST]}}
    async with towns(postgres, tmp_path, network, settings, north=["alice", "anna"], south=["bob"]) as found:
        yield found


async def _invite(town: Town, room_id: Any, address: str = "bob@example.org", **how: Any) -> None:
    wanted = {"id_server": _HOST, "id_access_token": _TOKEN, **how}
    await town["alice"].invite_by_address(room_id, address, **wanted)


@pytest.mark.parametrize("algorithms", [["none", "sha256"], ["none"]])
async def test_somebody_who_is_known_is_invited(
    both: list[Town], identity: IdentityServer, algorithms: list[str]
) -> None:
    north, south = both
    identity.known["bob@example.org"] = south["bob"].user_id
    identity.algorithms = algorithms
    room_id = await north["alice"].create_room()
    await _invite(north, room_id, "Bob@Example.ORG")
    assert room_id in (await south["bob"].sync())["rooms"]["invite"]
    assert not identity.stored


async def test_somebody_who_is_not_known_is_invited_when_they_are(
    both: list[Town], identity: IdentityServer, network: Network
) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await alice.create_room(name="Tea")
    await _invite(north, room_id)
    (stored,) = identity.stored
    assert stored["room_id"] == room_id
    assert stored["sender"] == alice.user_id
    assert stored["room_name"] == "Tea"
    assert stored["address"] == "bob@example.org"
    offer = await alice.state(room_id, "m.room.third_party_invite", "token1")
    assert offer is not None
    assert offer["display_name"] == "b...@e..."
    assert offer["public_keys"][0]["public_key"] == encode_base64(_KEY.public_key)
    await _bind(network, south, bob.user_id, alice.user_id, room_id)
    await bob.join(room_id)
    assert await members(alice, room_id) == {alice.user_id, bob.user_id}


async def _bind(network: Network, town: Town, user_id: UserId, sender: UserId, room_id: Any) -> None:
    signed = sign_json({"mxid": user_id, "token": "token1"}, _HOST, SigningKey(KeyId("ed25519:0"), _KEY._seed))
    one = {"medium": "email", "address": "bob@example.org", "mxid": user_id}
    invite = {**one, "room_id": room_id, "sender": sender, "signed": signed}
    async with httpx.AsyncClient() as http:
        url = f"{network.urls[town.name]}/_matrix/federation/v1/3pid/onbind"
        answer = await http.put(url, json={**one, "invites": [invite]}, timeout=30)
    assert answer.status_code == 200


async def test_a_room_is_made_with_invitations_by_address(both: list[Town], identity: IdentityServer) -> None:
    north, south = both
    identity.known["bob@example.org"] = south["bob"].user_id
    invited = [
        {"id_server": _HOST, "id_access_token": _TOKEN, "medium": "email", "address": address}
        for address in ("bob@example.org", "carol@example.org")
    ]
    room_id = await north["alice"].create_room(invite_3pid=invited)
    assert room_id in (await south["bob"].sync())["rooms"]["invite"]
    assert [stored["address"] for stored in identity.stored] == ["carol@example.org"]


async def test_only_servers_that_the_operator_trusts_are_asked(both: list[Town], identity: IdentityServer) -> None:
    north, _ = both
    room_id = await north["alice"].create_room()
    for other in ("evil.test", "identity.test:8443", "127.0.0.1"):
        with pytest.raises(Refused) as refused:
            await _invite(north, room_id, id_server=other)
        assert refused.value.errcode == "M_SERVER_NOT_TRUSTED"
        body = {"id_server": other, "id_access_token": _TOKEN, "medium": "email", "address": "b@example.org"}
        with pytest.raises(Refused) as refused:
            await north["alice"].create_room(invite_3pid=[body])
        assert refused.value.errcode == "M_SERVER_NOT_TRUSTED"
    assert not identity.asked


async def test_who_may_not_invite_gets_no_address_asked_for(both: list[Town], identity: IdentityServer) -> None:
    north, _ = both
    room_id = await north["anna"].create_room()
    with pytest.raises(Refused) as refused:
        await _invite(north, room_id)
    assert refused.value.errcode == "M_FORBIDDEN"
    levels = {"invite": 50}
    room_id = await north["anna"].create_room(preset="public_chat", power_level_content_override=levels)
    await north["alice"].join(room_id)
    with pytest.raises(Refused) as refused:
        await _invite(north, room_id)
    assert refused.value.errcode == "M_FORBIDDEN"
    assert not identity.asked


@pytest.mark.parametrize(
    "how",
    [
        {"medium": "pigeon"},
        {"address": ""},
        {"address": "b o b"},
        {"address": "x" * 600},
        {"id_access_token": "a\r\nb"},
    ],
)
async def test_what_is_no_address_is_refused(both: list[Town], identity: IdentityServer, how: JsonObject) -> None:
    north, _ = both
    room_id = await north["alice"].create_room()
    with pytest.raises(Refused) as refused:
        await _invite(north, room_id, **how)
    assert refused.value.errcode == "M_INVALID_PARAM"
    assert not identity.asked


@pytest.mark.parametrize(
    ("what", "status", "answer"),
    [
        ("hash_details", 401, {"errcode": "M_UNAUTHORIZED", "error": "unknown token"}),
        ("hash_details", 200, []),
        ("hash_details", 200, {"lookup_pepper": 1, "algorithms": "sha256"}),
        ("lookup", 200, b"<html>"),
        ("lookup", 500, {"errcode": "M_UNKNOWN", "error": "x" * 5000}),
        ("store-invite", 200, {}),
        ("store-invite", 200, {"token": "a/b", "public_keys": [{"public_key": "x", "key_validity_url": "y"}]}),
        ("store-invite", 200, {"token": "good", "public_keys": [1, {"public_key": 2}]}),
        ("store-invite", 400, {"errcode": "M_THREEPID_IN_USE", "error": "it is in use"}),
    ],
)
async def test_an_identity_server_that_answers_badly_invites_nobody(
    both: list[Town], identity: IdentityServer, what: str, status: int, answer: Any
) -> None:
    north, _ = both
    room_id = await north["alice"].create_room()
    identity.says = lambda asked: (status, answer) if asked == what else None
    with pytest.raises(Refused):
        await _invite(north, room_id)
    assert not [
        event
        for event in await north.homeserver.room_state(room_id)
        if event.type == "m.room.third_party_invite" or event.content.get("membership") == "invite"
    ]
