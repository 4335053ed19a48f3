"""Servers that know only the older way to invite, and servers that ask us for the keys of others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import orjson
import pytest

from tests.conversations.hostile import Peer, peer
from tests.conversations.network import Network
from tests.conversations.towns import Town, towns
from tests.federation.web import Seen
from tests.postgres import PostgresServer
from tricord.clients import Refused
from tricord.protocol.events import countersigned, parse_event
from tricord.protocol.room_versions import room_version
from tricord.protocol.signing import verify_json
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import decode_base64


@pytest.fixture
async def town(postgres: PostgresServer, tmp_path: Path, network: Network) -> AsyncIterator[Town]:
    """A town with alice."""
    async with towns(postgres, tmp_path, network, hs=["alice"]) as [found]:
        yield found


@pytest.fixture
async def old(network: Network) -> AsyncIterator[Peer]:
    """Another server."""
    async with peer("old.test", network) as found:
        yield found


def knows_only_the_first_invite(old: Peer) -> None:
    """Have a server answer as those did that are older than the second version of the endpoint."""
    old.answers("PUT /_matrix/federation/v2/invite", (404, {"errcode": "M_UNRECOGNIZED", "error": "?"}))

    def signed(seen: Seen) -> list[object]:
        event = parse_event(orjson.loads(seen.body), room_version("1"))
        return [200, {"event": countersigned(event, old.name, old.key).pdu}]

    old.answers("PUT /_matrix/federation/v1/invite", signed)


async def test_a_server_that_knows_only_the_older_way_is_invited_by_it(town: Town, old: Peer) -> None:
    knows_only_the_first_invite(old)
    alice, paul = town["alice"], old.user("paul")
    room_id = await alice.create_room(preset="private_chat", room_version="1")
    await alice.invite(room_id, paul)
    state = await alice.state(room_id, "m.room.member", paul)
    assert state is not None
    assert state["membership"] == "invite"


async def test_it_is_not_told_of_rooms_that_it_cannot_know(town: Town, old: Peer) -> None:
    knows_only_the_first_invite(old)
    alice = town["alice"]
    room_id = await alice.create_room(preset="private_chat", room_version="12")
    with pytest.raises(Refused):
        await alice.invite(room_id, old.user("paul"))
    assert not [asked for asked in old.asked if "/v1/invite" in asked]


async def test_a_server_that_knows_only_the_older_way_invites_by_it(town: Town, old: Peer) -> None:
    alice, paul = town["alice"], old.user("paul")
    room = old.found("1", paul, join_rule="invite")
    event = old.event(room, paul, "m.room.member", {"membership": "invite"}, state_key=alice.user_id)
    name = {"type": "m.room.name", "state_key": "", "sender": paul, "content": {"name": "Cabinet"}}
    uri = f"/_matrix/federation/v1/invite/{quote(room.room_id)}/{quote(event.event_id, safe='')}"
    answer = await old.request(town.name, "PUT", uri, {**event.pdu, "unsigned": {"invite_room_state": [name]}})
    status, signed = answer.json()
    assert status == 200
    assert set(signed["event"]["signatures"]) == {old.name, town.name}
    shown = (await alice.sync())["rooms"]["invite"][room.room_id]["invite_state"]["events"]
    assert {"name": "Cabinet"} in [one["content"] for one in shown]


async def keys_told(network: Network, town: Town, method: str, path: str, body: JsonObject | None) -> list[JsonObject]:
    async with httpx.AsyncClient() as asking:
        answer = await asking.request(method, f"{network.urls[town.name]}/_matrix/key/v2/query{path}", json=body)
    assert answer.status_code == 200
    told: list[JsonObject] = answer.json()["server_keys"]
    return told


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "/old.test", None), ("POST", "", {"server_keys": {"old.test": {}, "none.test": {}}})],
)
async def test_keys_of_others_are_vouched_for(
    town: Town, old: Peer, network: Network, method: str, path: str, body: JsonObject | None
) -> None:
    [document] = await keys_told(network, town, method, path, body)
    assert document["server_name"] == old.name
    verify_json(document, old.name, old.key.key_id, old.key.public_key)
    [ours] = await keys_told(network, town, "GET", f"/{town.name}", None)
    [(key_id, key)] = ours["verify_keys"].items()
    verify_json(document, town.name, key_id, decode_base64(key["key"]))


async def test_of_keys_that_are_not_to_be_had_nothing_is_said(town: Town, network: Network) -> None:
    assert await keys_told(network, town, "GET", "/none.test", None) == []
