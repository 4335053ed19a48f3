"""Somebody is invited by an address, which turns out to be that of a user: an identity server signs it, and tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conversations.hostile import peer
from tests.conversations.network import Network
from tests.conversations.towns import Town, members, towns
from tests.postgres import PostgresServer
from tricord.clients import Client
from tricord.protocol.identifiers import KeyId, RoomId, ServerName, UserId
from tricord.protocol.signing import SigningKey, sign_json
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import encode_base64

IDENTITY = ServerName("identity.test")
KEY = SigningKey.generate("0")
TOKEN = "abc123"


@pytest.fixture
async def both(postgres: PostgresServer, tmp_path: Path, network: Network) -> AsyncIterator[list[Town]]:
    """Two towns; alice invites."""
    async with towns(postgres, tmp_path, network, north=["alice", "anna"], south=["bob"]) as found:
        yield found


async def offered(alice: Client, key: SigningKey = KEY) -> RoomId:
    """Make a room to which somebody is invited by their address."""
    room_id = await alice.create_room(preset="private_chat")
    public_key = encode_base64(key.public_key)
    url = f"https://{IDENTITY}/valid"
    content = {
        "display_name": "b...@e...",
        "key_validity_url": url,
        "public_key": public_key,
        "public_keys": [{"public_key": public_key, "key_validity_url": url}],
    }
    await alice.set_state(room_id, "m.room.third_party_invite", content, TOKEN)
    return room_id


def signed_for(user_id: UserId) -> JsonObject:
    return sign_json({"mxid": user_id, "token": TOKEN}, IDENTITY, SigningKey(KeyId("ed25519:0"), KEY._seed))


def binding(user_id: UserId, sender: UserId, room_id: RoomId, changed: Mapping[str, Any] | None = None) -> JsonObject:
    one = {"medium": "email", "address": "b@example.org", "mxid": user_id}
    invite = {**one, "room_id": room_id, "sender": sender, "signed": signed_for(user_id), **(changed or {})}
    return {**one, "invites": [invite]}


async def told(network: Network, town: Town, body: JsonObject) -> httpx.Response:
    """Tell a server, as the identity server does."""
    async with httpx.AsyncClient() as identity_server:
        return await identity_server.put(
            f"{network.urls[town.name]}/_matrix/federation/v1/3pid/onbind", json=body, timeout=30
        )


async def test_a_user_of_another_server_is_invited_and_comes(both: list[Town], network: Network) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await offered(alice)
    assert (await told(network, south, binding(bob.user_id, alice.user_id, room_id))).status_code == 200
    assert room_id in (await bob.sync())["rooms"]["invite"]
    await bob.join(room_id)
    assert await members(alice, room_id) == {alice.user_id, bob.user_id}


async def test_a_user_of_the_same_server_is_invited(both: list[Town], network: Network) -> None:
    north, _ = both
    alice, anna = north["alice"], north["anna"]
    room_id = await offered(alice)
    assert (await told(network, north, binding(anna.user_id, alice.user_id, room_id))).status_code == 200
    state = await alice.state(room_id, "m.room.member", anna.user_id)
    assert state is not None
    assert state["membership"] == "invite"
    assert state["third_party_invite"]["display_name"] == "b...@e..."
    await anna.join(room_id)


@pytest.mark.parametrize(
    "changed",
    [
        {"signed": {"mxid": "@bob:south.test", "token": TOKEN, "signatures": {IDENTITY: {"ed25519:0": "AAAA"}}}},
        {"signed": {"mxid": "@bob:south.test", "token": "another", "signatures": {}}},
        {"signed": {}},
        {"sender": "@anna:north.test"},
        {"mxid": "@anna:north.test"},
        {"room_id": "!none:north.test"},
    ],
)
async def test_what_is_not_signed_for_the_room_invites_nobody(
    both: list[Town], network: Network, changed: JsonObject
) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await offered(alice)
    answer = await told(network, south, binding(bob.user_id, alice.user_id, room_id, changed))
    assert answer.status_code == 200
    assert await alice.state(room_id, "m.room.member", bob.user_id) is None


async def test_only_the_server_of_who_is_invited_can_ask_for_it(both: list[Town], network: Network) -> None:
    north, south = both
    alice, bob = north["alice"], south["bob"]
    room_id = await offered(alice)
    async with peer("evil.test", network) as evil:
        paul = evil.user("paul")
        for user_id, signed, path_room, status, errcode in (
            (bob.user_id, signed_for(bob.user_id), room_id, 403, "M_FORBIDDEN"),
            (paul, signed_for(bob.user_id), room_id, 403, "M_FORBIDDEN"),
            (paul, {"mxid": paul}, room_id, 400, "M_BAD_JSON"),
            (paul, None, room_id, 400, "M_BAD_JSON"),
            (paul, signed_for(paul), "!other:north.test", 400, "M_BAD_JSON"),
        ):
            body = {
                "type": "m.room.member",
                "room_id": room_id,
                "sender": alice.user_id,
                "state_key": user_id,
                "content": {"membership": "invite", "third_party_invite": {"signed": signed}},
            }
            uri = f"/_matrix/federation/v1/exchange_third_party_invite/{path_room}"
            answer = await evil.request(north.name, "PUT", uri, body)
            assert (answer.status_code, answer.json()["errcode"]) == (status, errcode), answer.text


@pytest.mark.parametrize("user_id", ["@nobody:elsewhere.test", "nobody"])
async def test_a_user_of_nobodys_is_not_bound(both: list[Town], network: Network, user_id: str) -> None:
    answer = await told(network, both[1], {"medium": "email", "address": "x", "mxid": user_id, "invites": []})
    assert answer.status_code in (400, 404)
