"""What devices need of servers for end-to-end encryption, between Tricord and Synapse, in both directions."""

from __future__ import annotations

import pytest

from tests.conversations.test_encryption import Ear, settles
from tests.conversations.towns import members
from tests.homeserver.encryption.devices import ALGORITHM, Device, another_device
from tests.homeserver.encryption.identities import Identity
from tests.peers.synapse.observations import becomes
from tests.peers.synapse.towns import Town
from tests.servers import PASSWORD
from tricord.clients import Client
from tricord.protocol.identifiers import DeviceId, RoomId

pytestmark = [pytest.mark.peer, pytest.mark.synapse]

KIND = "org.example.note"


async def share_a_room(near: Town, alice: Client, bob: Client) -> RoomId:
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=[near.name])
    await members(bob, room_id)
    await becomes(lambda: members(alice, room_id), {alice.user_id, bob.user_id})
    return room_id


async def test_keys_are_found_and_claimed_there(alice: Client, bob: Client) -> None:
    phone = Device(alice)
    identity = Identity(phone)
    await phone.upload(1, 2)
    await identity.upload()
    found = await bob.query_keys({alice.user_id: []})
    assert found.device_keys[alice.user_id][alice.device_id]["keys"] == phone.keys()["keys"]
    assert found.master_keys[alice.user_id]["keys"] == identity.master.json()["keys"]
    assert found.self_signing_keys[alice.user_id]["keys"] == identity.self_signing.json()["keys"]
    given = []
    for _ in range(2):
        claimed = await bob.claim_keys({alice.user_id: {alice.device_id: ALGORITHM}})
        given += claimed.one_time_keys[alice.user_id][alice.device_id]
    assert sorted(given) == sorted(phone.pre_keys(1, 2))
    assert ALGORITHM not in str((await bob.claim_keys({alice.user_id: {alice.device_id: ALGORITHM}})).one_time_keys)


async def test_changes_of_devices_are_told_there(near: Town, alice: Client, bob: Client) -> None:
    first = Device(alice)
    await first.upload()
    await share_a_room(near, alice, bob)
    ear = Ear(bob)
    await ear.listen()
    await settles(alice.user_id, bob, {alice.device_id})
    async with another_device(alice) as phone:
        await Device(phone).upload()
        await ear.hear_change_of(alice.user_id)
        await settles(alice.user_id, bob, {alice.device_id, phone.device_id})
        await alice.delete_device(phone.device_id, PASSWORD)
        await ear.hear_change_of(alice.user_id)
        await settles(alice.user_id, bob, {alice.device_id})
    identity = Identity(first)
    await identity.upload()
    signed = identity.self_signing.sign(first.keys())
    assert await alice.upload_signatures({alice.user_id: {alice.device_id: signed}}) == {}

    async def signatures() -> object:
        found = await bob.query_keys({alice.user_id: []})
        if alice.user_id not in found.self_signing_keys:
            return None
        return found.device_keys[alice.user_id][alice.device_id]["signatures"]

    await becomes(signatures, signed["signatures"])


async def test_devices_that_came_and_went_while_the_other_was_stopped_are_known_there(
    near: Town, far: Town, alice: Client, bob: Client
) -> None:
    await Device(alice).upload()
    room_id = await share_a_room(near, alice, bob)
    await settles(alice.user_id, bob, {alice.device_id})
    async with another_device(alice) as phone, another_device(alice) as tablet:
        async with far.stopped():
            await Device(phone).upload()
            await Device(tablet).upload()
            await alice.delete_device(phone.device_id, PASSWORD)
            for number in range(3):
                await alice.send_to_device(KIND, {bob.user_id: {bob.device_id: {"number": number}}})
        # Synapse tells of devices again with the next thing that it has to say.
        await alice.send_text(room_id, "There you are")
        await settles(alice.user_id, bob, {alice.device_id, tablet.device_id})
        assert await Ear(bob).hear_messages(3) == [0, 1, 2]


async def test_messages_arrive_there_once_and_in_order(alice: Client, bob: Client) -> None:
    ear = Ear(bob)
    await ear.listen()

    async def send(number: int) -> None:
        messages = {bob.user_id: {bob.device_id: {"number": number}, DeviceId("NONE"): {"number": -1}}}
        await alice.send_to_device(KIND, messages, transaction_id=str(number))

    for number in range(20):
        await send(number)
    assert await ear.hear_messages(20) == list(range(20))
