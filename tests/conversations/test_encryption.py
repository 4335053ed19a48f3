"""Devices across servers: keys, messages and changes get there, once and in order, also after the road was closed."""

from __future__ import annotations

from typing import Any

import trio

from tests.conversations.network import Network
from tests.conversations.test_what_passes import shared_room
from tests.conversations.towns import Town
from tests.homeserver.encryption.devices import ALGORITHM, Device, another_device
from tests.homeserver.encryption.identities import Identity
from tests.servers import PASSWORD
from tricord.clients import Client
from tricord.protocol.identifiers import DeviceId, UserId

KIND = "org.example.note"
_PATIENCE_SECONDS = 60


class Ear:
    """Follows one client's sync, and keeps what it hears."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._since: str | None = None
        self.messages: list[Any] = []
        self.changed: list[str] = []

    def continue_with(self, client: Client) -> None:
        """Go on with another connection of the same device."""
        self._client = client

    async def listen(self) -> None:
        """Sync once."""
        answer = await self._client.sync(since=self._since, timeout_seconds=2 if self._since else 0)
        self._since = answer["next_batch"]
        self.messages += [event["content"]["number"] for event in answer.get("to_device", {}).get("events", ())]
        self.changed += answer.get("device_lists", {}).get("changed", ())

    async def hear_messages(self, count: int) -> list[Any]:
        """Listen until so many messages have come."""
        with trio.fail_after(_PATIENCE_SECONDS):
            while len(self.messages) < count:
                await self.listen()
        return self.messages

    async def hear_change_of(self, user_id: UserId) -> None:
        """Listen until a user's devices have changed; forget what was heard."""
        with trio.fail_after(_PATIENCE_SECONDS):
            while user_id not in self.changed:
                await self.listen()
        self.changed.clear()


async def devices_of(user_id: UserId, by: Client) -> set[str]:
    answer = await by.query_keys({user_id: []})
    assert not answer.failures
    return set(answer.device_keys.get(user_id, {}))


async def settles(user_id: UserId, by: Client, devices: set[str]) -> None:
    """Ask for a user's devices until they are as they should be."""
    with trio.fail_after(_PATIENCE_SECONDS):
        while True:
            answer = await by.query_keys({user_id: []})
            if set(answer.device_keys.get(user_id, {})) == devices and not answer.failures:
                return
            await trio.sleep(0.05)


def list_requests(network: Network) -> list[str]:
    return [uri for _, _, _, uri in network.requests if "/user/" in uri]


async def kept(network: Network, user_id: UserId, by: Client) -> None:
    """Ask for a user's keys until they are known without asking the other server."""
    with trio.fail_after(_PATIENCE_SECONDS):
        while True:
            before = len(list_requests(network))
            assert await devices_of(user_id, by)
            if len(list_requests(network)) == before:
                return
            await trio.sleep(0.05)


async def test_keys_are_found_and_claimed_on_the_other_server_each_once(both: list[Town]) -> None:
    alice, bob = Device(both[0]["alice"]), Device(both[1]["bob"])
    await alice.upload(1, 2)
    await Identity(alice).upload()
    found = await bob.client.query_keys({alice.client.user_id: []})
    assert found.device_keys[alice.client.user_id][alice.client.device_id] == alice.keys()
    assert found.master_keys[alice.client.user_id]["usage"] == ["master"]
    assert found.self_signing_keys[alice.client.user_id]["usage"] == ["self_signing"]
    assert found.user_signing_keys == {}
    wanted = {alice.client.user_id: {alice.client.device_id: ALGORITHM, DeviceId("NONE"): ALGORITHM}}
    given = [(await bob.client.claim_keys(wanted)).one_time_keys for _ in range(3)]
    first, second = ({alice.client.user_id: {alice.client.device_id: alice.pre_keys(n)}} for n in (1, 2))
    assert given == [first, second, {}]


async def test_a_server_that_does_not_answer_is_named_and_the_others_answer(both: list[Town], network: Network) -> None:
    alice, bob = Device(both[0]["alice"]), Device(both[1]["bob"])
    await bob.upload(1)
    network.part(both[0].name, both[1].name)
    ids = (alice.client.user_id, bob.client.user_id)
    found = await bob.client.query_keys({user_id: [] for user_id in ids})
    assert list(found.failures) == [both[0].name]
    assert list(found.device_keys[bob.client.user_id]) == [bob.client.device_id]
    claimed = await bob.client.claim_keys({ids[0]: {alice.client.device_id: ALGORITHM}})
    assert list(claimed.failures) == [both[0].name]


async def test_messages_arrive_once_and_in_order_also_after_the_road_was_closed(
    both: list[Town], network: Network
) -> None:
    alice, bob = both[0]["alice"], both[1]["bob"]
    ear = Ear(bob)
    await ear.listen()

    async def send(number: int) -> None:
        await alice.send_to_device(KIND, {bob.user_id: {DeviceId("*"): {"number": number}}}, transaction_id=str(number))

    await send(0)
    await ear.hear_messages(1)
    network.part(both[0].name, both[1].name)
    for number in range(1, 130):
        await send(number)
        await send(number)
    network.heal()
    assert await ear.hear_messages(130) == list(range(130))
    await ear.listen()
    assert len(ear.messages) == 130


async def test_a_change_of_devices_is_told_to_those_who_share_a_room_and_kept_without_asking(
    both: list[Town], network: Network
) -> None:
    alice, bob = Device(both[0]["alice"]), Device(both[1]["bob"])
    await alice.upload()
    await shared_room(alice.client, bob.client, both[0])
    ear = Ear(bob.client)
    await ear.listen()
    await kept(network, alice.client.user_id, bob.client)
    async with another_device(alice.client) as phone:
        before = len(list_requests(network))
        await Device(phone).upload()
        await ear.hear_change_of(alice.client.user_id)
        assert await devices_of(alice.client.user_id, bob.client) == {alice.client.device_id, phone.device_id}
        await alice.client.delete_device(phone.device_id, PASSWORD)
        await ear.hear_change_of(alice.client.user_id)
        assert await devices_of(alice.client.user_id, bob.client) == {alice.client.device_id}
        assert list_requests(network)[before:] == []


async def test_changes_while_the_road_is_closed_are_there_when_it_opens(both: list[Town], network: Network) -> None:
    alice, bob = Device(both[0]["alice"]), Device(both[1]["bob"])
    await alice.upload()
    await shared_room(alice.client, bob.client, both[0])
    await kept(network, alice.client.user_id, bob.client)
    network.part(both[0].name, both[1].name)
    async with another_device(alice.client) as phone, another_device(alice.client) as tablet:
        await Device(phone).upload()
        await Device(tablet).upload()
        await alice.client.delete_device(phone.device_id, PASSWORD)
        assert await devices_of(alice.client.user_id, bob.client) == {alice.client.device_id}
        network.heal()
        await settles(alice.client.user_id, bob.client, {alice.client.device_id, tablet.device_id})
        await kept(network, alice.client.user_id, bob.client)


async def test_what_is_told_to_nobody_is_fetched_when_a_room_is_shared_again(
    both: list[Town], network: Network
) -> None:
    alice, bob = Device(both[0]["alice"]), Device(both[1]["bob"])
    await alice.upload()
    room = await shared_room(alice.client, bob.client, both[0])
    await kept(network, alice.client.user_id, bob.client)
    await bob.client.leave(room)
    async with another_device(alice.client) as phone:
        await Device(phone).upload()
        ear = Ear(bob.client)
        await ear.listen()
        await shared_room(alice.client, bob.client, both[0])
        await ear.hear_change_of(alice.client.user_id)
        assert await devices_of(alice.client.user_id, bob.client) == {alice.client.device_id, phone.device_id}


async def test_new_cross_signing_keys_and_what_they_sign_are_told(both: list[Town], network: Network) -> None:
    alice, bob = Device(both[0]["alice"]), Device(both[1]["bob"])
    identity, other = Identity(alice), Identity(bob)
    await alice.upload()
    await other.upload()
    await shared_room(alice.client, bob.client, both[0])
    await kept(network, alice.client.user_id, bob.client)
    ear = Ear(bob.client)
    await ear.listen()
    await identity.upload()
    signed = identity.self_signing.sign(alice.keys())
    await alice.client.upload_signatures({alice.client.user_id: {alice.client.device_id: signed}})
    me = alice.client.user_id
    with trio.fail_after(_PATIENCE_SECONDS):
        while True:
            found = await bob.client.query_keys({me: []})
            if found.device_keys[me][alice.client.device_id] == signed and me in found.self_signing_keys:
                break
            await trio.sleep(0.05)
    await ear.hear_change_of(me)
    vouched = other.user_signing.sign(found.master_keys[me])
    assert await bob.client.upload_signatures({me: {identity.master.name: vouched}}) == {}
    assert (await bob.client.query_keys({me: []})).master_keys[me] == vouched
    seen_by_alice = await alice.client.query_keys({me: []})
    assert bob.client.user_id not in seen_by_alice.master_keys[me].get("signatures", {})


async def test_a_storm_of_messages_to_five_thousand_devices_passes(both: list[Town]) -> None:
    alice, bob = both[0]["alice"], both[1]["bob"]
    ear = Ear(bob)
    await ear.listen()
    content = {"number": 1, "ciphertext": "x" * 200}
    strangers = {DeviceId(f"DEVICE{number}"): content for number in range(5000)}
    await alice.send_to_device(KIND, {bob.user_id: {**strangers, bob.device_id: content}})
    assert await ear.hear_messages(1) == [1]
