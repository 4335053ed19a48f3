"""What people of Tricord and of Synapse want to know of each other's servers, and what services ask both."""

from __future__ import annotations

import httpx
import pytest

from tests.conversations.towns import members
from tests.peers.synapse.observations import becomes
from tests.peers.synapse.towns import Town
from tricord.clients import Client
from tricord.protocol.identifiers import EventId, KeyId, ServerName
from tricord.protocol.signing import SigningKey, sign_json
from tricord.protocol.unpadded_base64 import encode_base64

pytestmark = [pytest.mark.peer, pytest.mark.synapse]

IDENTITY = ServerName("identity.test")
KEY = SigningKey.generate("0")
TOKEN = "abc123"


def service() -> httpx.AsyncClient:
    """Return what asks a server as a service does, which is no homeserver; it does not look at certificates."""
    return httpx.AsyncClient(verify=False, timeout=60)  # noqa: S501  # those are not what this is about


async def test_a_jump_leads_to_what_the_other_server_has(near: Town, alice: Client, bob: Client) -> None:
    room_id = await alice.create_room(preset="public_chat")
    said = [await alice.send_text(room_id, f"number {number}") for number in range(150)]
    await bob.join(room_id, via=[near.name])
    ts = (await alice.event(room_id, said[10]))["origin_server_ts"]
    for direction in ("f", "b"):
        found = await bob.event_at(room_id, ts, direction=direction)
        assert (await bob.event(room_id, found))["origin_server_ts"] == ts
        around = await bob.context(room_id, found, limit=10)
        before = [EventId(event["event_id"]) for event in around.events_before]
        at = said.index(found)
        assert before == said[at - len(before) : at][::-1]


async def test_a_service_learns_from_each_server_who_its_users_are(far: Town, bob: Client) -> None:
    token = await bob.openid_token()
    assert token.matrix_server_name == far.name
    url = f"https://{far.name}/_matrix/federation/v1/openid/userinfo"
    async with service() as asking:
        told = await asking.get(url, params={"access_token": token.access_token})
        assert told.json() == {"sub": bob.user_id}
        refused = await asking.get(url, params={"access_token": "nonsense"})
        assert (refused.status_code, refused.json()["errcode"]) == (401, "M_UNKNOWN_TOKEN")


async def test_a_user_of_synapse_is_invited_by_their_address(towns: tuple[Town, Town]) -> None:
    tricord, synapse = towns
    async with tricord.somebody("alice") as alice, synapse.somebody("bob") as bob:
        room_id = await alice.create_room(preset="private_chat")
        public_key, url = encode_base64(KEY.public_key), f"https://{IDENTITY}/valid"
        content = {
            "display_name": "b...@e...",
            "key_validity_url": url,
            "public_key": public_key,
            "public_keys": [{"public_key": public_key, "key_validity_url": url}],
        }
        await alice.set_state(room_id, "m.room.third_party_invite", content, TOKEN)
        one = {"medium": "email", "address": "b@example.org", "mxid": bob.user_id}
        signed = sign_json({"mxid": bob.user_id, "token": TOKEN}, IDENTITY, KEY)
        assert KEY.key_id == KeyId("ed25519:0")
        invite = {**one, "room_id": room_id, "sender": alice.user_id, "signed": signed}
        async with service() as identity_server:
            bind = f"https://{synapse.name}/_matrix/federation/v1/3pid/onbind"
            # Identity servers send it by POST, and Synapse knows nothing else.
            assert (await identity_server.post(bind, json={**one, "invites": [invite]})).status_code == 200
        assert room_id in (await bob.sync())["rooms"]["invite"]
        await bob.join(room_id)
        await becomes(lambda: members(alice, room_id), {alice.user_id, bob.user_id})
