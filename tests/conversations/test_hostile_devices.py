"""A peer that tells lies about devices, or sends too much; and what a fair one is told of ours."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio

from tests.conversations.hostile import Peer
from tests.conversations.scene import Scene, hostile_scene
from tests.conversations.test_encryption import Ear, settles
from tests.homeserver.encryption.devices import ALGORITHM, Device, another_device
from tests.homeserver.encryption.identities import Identity
from tests.postgres import PostgresServer
from tests.servers import PASSWORD
from tricord.clients import Client, Refused
from tricord.protocol.identifiers import DeviceId, KeyId, ServerName, UserId
from tricord.protocol.signing import SigningKey, sign_json
from tricord.protocol.unpadded_base64 import encode_base64

KIND = "org.example.note"


def keys_of(user_id: UserId, device_id: str, **changed: Any) -> dict[str, Any]:
    """Return the keys of a device of another server, signed."""
    generated = SigningKey.generate()
    key = SigningKey(KeyId(f"ed25519:{device_id}"), generated._seed)
    keys = {
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": ["m.megolm.v1.aes-sha2"],
        "keys": {f"ed25519:{device_id}": encode_base64(key.public_key)},
    }
    return sign_json(keys | changed, ServerName(user_id), key)


def whole(user_id: UserId, stream_id: int, *device_ids: str) -> dict[str, Any]:
    devices = [{"device_id": device_id, "keys": keys_of(user_id, device_id)} for device_id in device_ids]
    return {"user_id": user_id, "stream_id": stream_id, "devices": devices}


def update(user_id: UserId, device_id: str, stream_id: int, *prev_ids: int, **more: Any) -> dict[str, Any]:
    content = {"user_id": user_id, "device_id": device_id, "stream_id": stream_id, "prev_id": list(prev_ids)}
    content.setdefault("keys", keys_of(user_id, device_id))
    return {"edu_type": "m.device_list_update", "content": {**content, **more}}


async def told(peer: Peer, kind: str, user_id: UserId, count: int) -> list[dict[str, Any]]:
    """Wait until a peer was told something of a user so many times."""
    with trio.fail_after(60):
        while True:
            found = [
                edu["content"]
                for edu in peer.seen_edus()
                if edu["edu_type"] == kind and user_id in (edu["content"].get("user_id"), edu["content"].get("sender"))
            ]
            if len(found) >= count:
                return found
            await trio.sleep(0.02)


async def kept(scene: Scene, peer: Peer, user_id: UserId, by: Client, devices: set[str]) -> None:
    """Ask until the list is kept here."""
    with trio.fail_after(60):
        while True:
            await settles(user_id, by, devices)
            before = len(peer.asked)
            await settles(user_id, by, devices)
            if len(peer.asked) == before:
                return


async def test_other_servers_are_told_of_devices_in_a_chain_from_the_first_shared_room_on(scene: Scene) -> None:
    xenia = Device(scene.xenia)
    me = scene.xenia.user_id
    await xenia.upload()
    room_id = await scene.xenia.create_room(preset="public_chat")
    await scene.fair.join(scene.hs, room_id, scene.frank)
    [first] = await told(scene.fair, "m.device_list_update", me, 1)
    assert (first["device_id"], first["prev_id"], first["keys"]) == (scene.xenia.device_id, [], xenia.keys())
    answer = await scene.fair.granted(scene.hs, "GET", f"/_matrix/federation/v1/user/devices/{me}")
    assert answer["stream_id"] == first["stream_id"]
    assert [device["keys"] for device in answer["devices"]] == [xenia.keys()]
    async with another_device(scene.xenia) as phone:
        await Device(phone).upload()
        await scene.xenia.rename_device(phone.device_id, "Phone")
        await scene.xenia.delete_device(phone.device_id, PASSWORD)
        updates = await told(scene.fair, "m.device_list_update", me, 4)
    for before, after in pairwise(updates):
        assert after["prev_id"] == [before["stream_id"]]
        assert after["device_id"] == phone.device_id
    assert updates[3]["deleted"] is True
    assert not [edu for edu in scene.evil.seen_edus() if edu["content"].get("user_id") == me]
    await Identity(xenia).upload()
    [keys] = await told(scene.fair, "m.signing_key_update", me, 1)
    assert keys["master_key"]["usage"] == ["master"]
    assert set(keys) == {"user_id", "master_key", "self_signing_key"}


@pytest.mark.parametrize("is_told", [False, True], ids=["by default", "if it is set"])
async def test_other_servers_are_told_what_our_users_call_their_devices_only_if_it_is_set(
    postgres: PostgresServer, tmp_path: Path, is_told: bool
) -> None:
    settings: Any = {"federation": {"device_names": True}} if is_told else {}
    async with hostile_scene(postgres, tmp_path, **settings) as scene:
        me, device_id = scene.xenia.user_id, scene.xenia.device_id
        await scene.xenia.rename_device(device_id, "Xenia's phone")
        await Device(scene.xenia).upload()
        room_id = await scene.xenia.create_room(preset="public_chat")
        await scene.fair.join(scene.hs, room_id, scene.frank)
        [update] = await told(scene.fair, "m.device_list_update", me, 1)
        whole_list = await scene.fair.granted(scene.hs, "GET", f"/_matrix/federation/v1/user/devices/{me}")
        keys = await scene.fair.granted(
            scene.hs, "POST", "/_matrix/federation/v1/user/keys/query", {"device_keys": {me: []}}
        )
        name = "Xenia's phone" if is_told else None
        assert update.get("device_display_name") == name
        assert whole_list["devices"][0].get("device_display_name") == name
        assert keys["device_keys"][me][device_id].get("unsigned", {}).get("device_display_name") == name
        assert ("Xenia's phone" in repr([update, whole_list, keys])) == is_told
        # Who is of this server is told.
        found = await scene.alice.query_keys({me: []})
        assert found.device_keys[me][device_id]["unsigned"]["device_display_name"] == "Xenia's phone"


async def test_malformed_keys_of_ours_are_told_to_nobody(scene: Scene) -> None:
    xenia = Device(scene.xenia)
    room_id = await scene.xenia.create_room(preset="public_chat")
    await scene.fair.join(scene.hs, room_id, scene.frank)
    malformed: list[dict[str, Any]] = [
        {"user_id": "@mallory:hs.test"},
        {"device_id": "OTHER"},
        {"keys": {f"ed25519:{scene.xenia.device_id}": 1}},
        {"algorithms": ["x" * 100_000]},
        {"extra": 2**60},
    ]
    for changed in malformed:
        with pytest.raises(Refused) as refusal:
            await scene.xenia.upload_keys({**xenia.keys(), **changed})
        assert refusal.value.status == 400
    await xenia.upload()
    # What comes first is what is good: nothing was waiting before it.
    [first] = await told(scene.fair, "m.device_list_update", scene.xenia.user_id, 1)
    assert (first["keys"], first["prev_id"]) == (xenia.keys(), [])


async def test_only_local_users_keys_are_told_and_no_keys_of_whom_they_vouch_for(scene: Scene) -> None:
    alice, bob = Device(scene.alice), Device(scene.bob)
    identity, other = Identity(alice), Identity(bob)
    await identity.upload()
    await other.upload()
    vouched = identity.user_signing.sign(other.master.json())
    await scene.alice.upload_signatures({scene.bob.user_id: {other.master.name: vouched}})
    asked: dict[str, Any] = {"device_keys": {scene.bob.user_id: [], scene.frank: [], scene.mallory: []}}
    answer = await scene.evil.granted(scene.hs, "POST", "/_matrix/federation/v1/user/keys/query", asked)
    assert list(answer["device_keys"]) == [scene.bob.user_id]
    assert set(answer) == {"device_keys", "master_keys", "self_signing_keys"}
    assert scene.alice.user_id not in repr(answer)
    refused = await scene.evil.request(scene.hs, "GET", f"/_matrix/federation/v1/user/devices/{scene.frank}")
    assert refused.status_code == 404


async def test_changes_in_a_chain_are_taken_in_and_a_gap_makes_the_list_be_fetched(scene: Scene) -> None:
    frank, bob = scene.frank, scene.bob
    scene.fair.answers("/user/devices/", whole(frank, 5, "A"))
    scene.fair.answers("/user/keys/query", {"device_keys": {frank: {"A": keys_of(frank, "A")}}})
    await kept(scene, scene.fair, frank, bob, {"A"})
    ear = Ear(bob)
    await ear.listen()
    await scene.fair.send(scene.hs, edus=[update(frank, "B", 6, 5), update(frank, "C", 8, 6)])
    await ear.hear_change_of(frank)
    await kept(scene, scene.fair, frank, bob, {"A", "B", "C"})
    await scene.fair.send(scene.hs, edus=[update(frank, "B", 9, 8, deleted=True), update(frank, "B", 9, 8)])
    await kept(scene, scene.fair, frank, bob, {"A", "C"})
    scene.fair.answers("/user/devices/", whole(frank, 12, "X"))
    scene.fair.answers("/user/keys/query", {"device_keys": {frank: {"X": keys_of(frank, "X")}}})
    await scene.fair.send(scene.hs, edus=[update(frank, "D", 11, 10)])
    await kept(scene, scene.fair, frank, bob, {"X"})
    await scene.fair.send(scene.hs, edus=[update(frank, "E", 13, 12)])
    await kept(scene, scene.fair, frank, bob, {"X", "E"})


async def test_keys_that_lie_about_whose_they_are_or_are_not_signed_reach_nobody(scene: Scene) -> None:
    mallory, bob = scene.mallory, scene.bob
    forged = keys_of(mallory, "FORGED")
    forged["algorithms"] = ["other"]
    lies = {
        "GOOD": keys_of(mallory, "GOOD"),
        "WRONG": keys_of(mallory, "OTHER"),
        "BOB": keys_of(bob.user_id, "BOB"),
        "FORGED": forged,
        "EMPTY": {},
        "HUGE": keys_of(mallory, "HUGE", more="x" * 100_000),
        "n" * 300: keys_of(mallory, "n" * 300),
    }
    answer = {
        "device_keys": {mallory: lies, bob.user_id: {"BOB": keys_of(bob.user_id, "BOB")}},
        "master_keys": {mallory: {"user_id": bob.user_id}, bob.user_id: {}},
        "self_signing_keys": {mallory: {}},
    }
    scene.evil.answers("/user/keys/query", answer)
    listed = [{"device_id": name, "keys": keys} for name, keys in lies.items()]
    scene.evil.answers("/user/devices/", {"user_id": mallory, "stream_id": 1, "devices": listed})
    await kept(scene, scene.evil, mallory, bob, {"GOOD"})
    found = await bob.query_keys({mallory: [], bob.user_id: []})
    assert found.device_keys[bob.user_id] == {}
    assert found.master_keys == found.self_signing_keys == {}
    key = {"key": encode_base64(bytes(32)), "signatures": {}}
    claims = {
        "A": {"other:1": key},
        "B": {f"{ALGORITHM}:1": 7},
        "C": {f"{ALGORITHM}:1": key, f"{ALGORITHM}:2": key},
        "D": {f"{ALGORITHM}:1": key},
        "E": {f"{ALGORITHM}:1": key},
        "F": {f"{ALGORITHM}:1": {**key, "more": 1.5}},
    }
    scene.evil.answers("/user/keys/claim", {"one_time_keys": {mallory: claims, bob.user_id: {"D": claims["D"]}}})
    wanted = {mallory: {DeviceId(name): ALGORITHM for name in "ABCDF"}}
    assert (await bob.claim_keys(wanted)).one_time_keys == {mallory: {"D": claims["D"]}}


@pytest.mark.parametrize("answer", [500, 404, b"[]", {"device_keys": 1}, {"device_keys": {"@m:evil.test": {"A": 1}}}])
async def test_a_server_that_answers_nonsense_is_a_failure_and_no_more(scene: Scene, answer: Any) -> None:
    scene.evil.answers("/user/", answer)
    await Device(scene.alice).upload()
    found = await scene.bob.query_keys({scene.mallory: [], scene.alice.user_id: []})
    assert list(found.failures) == [scene.evil.name]
    assert list(found.device_keys[scene.alice.user_id]) == [scene.alice.device_id]
    claimed = await scene.bob.claim_keys({scene.mallory: {DeviceId("A"): ALGORITHM}})
    assert list(claimed.failures) == [scene.evil.name]


async def test_messages_of_another_server_are_kept_once_and_for_local_devices_only(scene: Scene) -> None:
    bob = scene.bob

    def message(number: int, message_id: str, to: Any = bob.user_id, **more: Any) -> dict[str, Any]:
        messages = {to: {bob.device_id: {"number": number}}}
        content = {"sender": scene.mallory, "type": KIND, "message_id": message_id, "messages": messages, **more}
        return {"edu_type": "m.direct_to_device", "content": content}

    ear = Ear(bob)
    await ear.listen()
    edus = [
        message(0, "a"),
        message(0, "a"),
        message(1, "b" * 300),
        message(2, "c", type=7),
        message(3, "d", messages={bob.user_id: {"*": "text", bob.device_id: ["x"]}}),
        message(4, "e", to="nobody"),
        message(5, "f", sender=scene.frank),
        message(6, "g", messages={bob.user_id: {"*": {"number": "x" * (100 << 10)}}}),
        message(7, "h"),
    ]
    await scene.evil.send(scene.hs, edus=edus)
    await scene.evil.send(scene.hs, edus=edus)
    assert await ear.hear_messages(2) == [0, 7]
    await ear.listen()
    assert ear.messages == [0, 7]


async def test_a_message_that_a_peer_will_not_take_does_not_stop_those_after_it(scene: Scene) -> None:
    def refuse(seen: Any) -> Any:
        if b"poison" in seen.body:
            return 400
        scene.fair._receive(orjson.loads(seen.body))
        return {"pdus": {}}

    scene.fair.answers("PUT .*/send/", refuse)
    for number in range(5):
        content = {"text": "poison" if number == 2 else "fine"}
        await scene.alice.send_to_device(KIND, {scene.frank: {DeviceId("D"): content}})
    await told(scene.fair, "m.direct_to_device", scene.alice.user_id, 4)
