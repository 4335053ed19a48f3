"""A device that nobody is signed in on: it takes in messages for the next one who is."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.homeserver.encryption.devices import ALGORITHM, Device, another_device
from tests.servers import PASSWORD
from tricord.clients import Client, Refused
from tricord.clients.api.dehydrated_devices import PutDehydratedDevice, ReadDehydratedDeviceEvents
from tricord.protocol.identifiers import DeviceId

KIND = "org.example.note"
DATA = {"algorithm": "org.matrix.msc3814.v2", "device_pickle": "x", "nonce": "y"}


def sleeper_of(alice: Device, name: str = "b3BlbnMvd2l0aCtzbGFzaGVz/a+") -> Device:
    return Device(alice.client, DeviceId(name))


async def put(sleeper: Device, **changed: Any) -> None:
    await sleeper.client.put_dehydrated_device(sleeper.device_id, DATA, sleeper.keys(dehydrated=True), **changed)


async def keys_of(asking: Device, of: Device) -> dict[str, Any]:
    found = await asking.client.query_keys({of.client.user_id: []})
    return {name: keys for name, keys in found.device_keys[of.client.user_id].items() if name != of.client.device_id}


async def send(sender: Device, sleeper: Device, *numbers: int) -> None:
    for number in numbers:
        await sender.client.send_to_device(KIND, {sleeper.client.user_id: {sleeper.device_id: {"number": number}}})


async def heard(client: Client, sleeper: Device, limit: int = 100) -> list[int]:
    found: list[int] = []
    after: str | None = None
    while True:
        answer = await client.dehydrated_device_events(sleeper.device_id, after=after, limit=limit)
        assert len(answer.events) <= limit
        found += [event["content"]["number"] for event in answer.events]
        after = answer.next_batch
        if after is None:
            return found


async def test_it_is_found_and_its_keys_are_claimed_like_any_devices(alice: Device, bob: Device) -> None:
    sleeper = sleeper_of(alice)
    with pytest.raises(Refused) as refusal:
        await alice.client.dehydrated_device()
    assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")
    await put(
        sleeper,
        one_time_keys=sleeper.pre_keys(1),
        fallback_keys=sleeper.pre_keys(2, fallback=True),
        display_name="Asleep",
    )
    found = await alice.client.dehydrated_device()
    assert (found.device_id, found.device_data) == (sleeper.device_id, DATA)
    known = (await keys_of(bob, alice))[sleeper.device_id]
    assert known.pop("unsigned") == {"device_display_name": "Asleep"}
    assert known == sleeper.keys(dehydrated=True)
    for number in (1, 2, 2):
        claimed = await bob.client.claim_keys({alice.client.user_id: {sleeper.device_id: ALGORITHM}})
        assert list(claimed.one_time_keys[alice.client.user_id][sleeper.device_id]) == [f"{ALGORITHM}:K{number}"]
    assert sleeper.device_id in [device.device_id for device in await alice.client.devices()]
    assert (await alice.client.versions()).unstable_features["org.matrix.msc3814"]


async def test_its_messages_are_read_in_parts_and_stay_for_whoever_begins_anew(alice: Device, bob: Device) -> None:
    sleeper = sleeper_of(alice)
    await put(sleeper)
    await send(bob, sleeper, *range(5))
    async with another_device(alice.client) as phone:
        assert await heard(phone, sleeper, limit=2) == list(range(5))
    assert await heard(alice.client, sleeper) == list(range(5))
    await send(bob, sleeper, 5)
    assert await heard(alice.client, sleeper, limit=6) == list(range(6))


async def test_the_earlier_draft_is_answered_until_no_messages_come(alice: Device, bob: Device) -> None:
    sleeper = sleeper_of(alice)
    await put(sleeper)
    await send(bob, sleeper, *range(101))
    found: list[int] = []
    body: dict[str, str] = {}
    while True:
        answer = await alice.client.http.call(ReadDehydratedDeviceEvents, {"device_id": sleeper.device_id}, body=body)
        if not answer["events"]:
            break
        found.append(len(answer["events"]))
        body = {"next_batch": answer["next_batch"]}
    assert found == [100, 1]


async def test_another_takes_its_place_with_nothing_of_it_left(alice: Device, bob: Device) -> None:
    old, new = sleeper_of(alice, "OLD"), sleeper_of(alice, "NEW")
    await put(old, one_time_keys=old.pre_keys(1))
    await send(bob, old, 1)
    await put(new)
    assert list(await keys_of(bob, alice)) == ["NEW"]
    assert await heard(alice.client, new) == []
    with pytest.raises(Refused) as refusal:
        await heard(alice.client, old)
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")
    assert await alice.client.delete_dehydrated_device() == "NEW"
    assert await keys_of(bob, alice) == {}
    for gone in (alice.client.delete_dehydrated_device(), alice.client.dehydrated_device()):
        with pytest.raises(Refused, match="M_NOT_FOUND"):
            await gone


async def test_the_same_once_more_keeps_its_messages(alice: Device, bob: Device) -> None:
    sleeper = sleeper_of(alice)
    await put(sleeper, one_time_keys=sleeper.pre_keys(1))
    await send(bob, sleeper, 1)
    await put(sleeper, one_time_keys=sleeper.pre_keys(1))
    assert await heard(alice.client, sleeper) == [1]
    reborn = sleeper_of(alice)
    await put(reborn)
    assert await heard(alice.client, reborn) == []


async def test_many_at_once_leave_one(alice: Device, bob: Device) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(put, sleeper_of(alice, f"D{number}"))
    found = await alice.client.dehydrated_device()
    assert list(await keys_of(bob, alice)) == [found.device_id]


async def test_who_shares_a_room_is_told_of_it(alice: Device, bob: Device) -> None:
    room_id = await alice.client.create_room(preset="public_chat")
    await bob.client.join(room_id)
    since = (await bob.client.sync())["next_batch"]
    for change in (put(sleeper_of(alice, "A")), put(sleeper_of(alice, "B")), alice.client.delete_dehydrated_device()):
        await change
        answer = await bob.client.sync(since=since)
        assert answer["device_lists"]["changed"] == [alice.client.user_id]
        since = answer["next_batch"]


async def test_it_goes_like_any_device(alice: Device) -> None:
    sleeper = sleeper_of(alice, "ASLEEP")
    await put(sleeper)
    await alice.client.delete_device(sleeper.device_id, PASSWORD)
    with pytest.raises(Refused, match="M_NOT_FOUND"):
        await alice.client.dehydrated_device()


async def test_nobody_signs_in_on_it(alice: Device) -> None:
    await put(sleeper_of(alice, "ASLEEP"))
    async with Client(alice.client.http.base_url) as phone:
        with pytest.raises(Refused, match="M_FORBIDDEN"):
            await phone.login("alice", PASSWORD, device_id=DeviceId("ASLEEP"))


async def test_what_is_wrong_is_refused_and_changes_nothing(alice: Device, bob: Device) -> None:
    good = sleeper_of(alice, "GOOD")
    await put(good)
    bad = sleeper_of(alice, "BAD")
    foreign = Device(bob.client, bad.device_id)
    keys = bad.keys()
    refused: list[tuple[dict[str, Any], str]] = [
        ({"device_id": ""}, "M_INVALID_PARAM"),
        ({"device_id": "x" * 256}, "M_INVALID_PARAM"),
        ({"device_id": "a\0b"}, "M_INVALID_PARAM"),
        ({"device_id": 1}, "M_BAD_JSON"),
        ({"device_data": {}}, "M_BAD_JSON"),
        ({"device_data": []}, "M_BAD_JSON"),
        ({"device_data": {"algorithm": "x", "number": 1.5}}, "M_BAD_JSON"),
        ({"device_data": {"algorithm": "x", "pickle": "x" * (128 << 10)}}, "M_TOO_LARGE"),
        ({"device_keys": None}, "M_BAD_JSON"),
        ({"device_keys": foreign.keys()}, "M_INVALID_PARAM"),
        ({"device_keys": alice.keys()}, "M_INVALID_PARAM"),
        ({"device_keys": {**keys, "signatures": {}}}, "M_INVALID_PARAM"),
        ({"device_keys": bad.keys(dehydrated="yes")}, "M_INVALID_PARAM"),
        ({"one_time_keys": good.pre_keys(1)}, "M_INVALID_PARAM"),
        ({"fallback_keys": {"signed_curve25519:x": "unsigned"}}, "M_INVALID_PARAM"),
        ({"initial_device_display_name": "x" * 101}, "M_INVALID_PARAM"),
        # The one that is signed in is not replaced by one that nobody is signed in on.
        ({"device_id": alice.device_id, "device_keys": alice.keys()}, "M_INVALID_PARAM"),
    ]
    for changed, errcode in refused:
        body = {"device_id": bad.device_id, "device_data": DATA, "device_keys": keys} | changed
        with pytest.raises(Refused) as refusal:
            await alice.client.http.call(PutDehydratedDevice, body=body)
        assert refusal.value.errcode == errcode, changed
        assert refusal.value.status in (400, 413)
    assert (await alice.client.dehydrated_device()).device_id == "GOOD"
    assert list(await keys_of(bob, alice)) == ["GOOD"]
    for device_id in (good.device_id, alice.device_id, DeviceId("NONE")):
        with pytest.raises(Refused, match="M_FORBIDDEN"):
            await bob.client.dehydrated_device_events(device_id)
    for token in ("nonsense", "s1_-1", "s9_1"):
        with pytest.raises(Refused, match="M_INVALID_PARAM"):
            await alice.client.dehydrated_device_events(good.device_id, after=token)
