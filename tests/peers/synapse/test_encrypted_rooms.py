"""Our encryption between a user of Tricord and one of Synapse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count

import pytest
import trio

from tests.conversations.towns import members
from tests.peers.synapse.observations import becomes
from tests.peers.synapse.towns import Town
from tests.servers import PASSWORD
from tricord.clients import Delta, Encryption
from tricord.clients.encryption.devices import Standing, standing
from tricord.clients.encryption.verification.sas import ShortString
from tricord.clients.testing import Person
from tricord.protocol.identifiers import RoomId

pytestmark = [pytest.mark.peer, pytest.mark.synapse]

_PATIENCE_SECONDS = 90
_numbers = count(1)


@asynccontextmanager
async def somebody(town: Town, name: str) -> AsyncIterator[Person]:
    async with Person(town.url, encryption=Encryption(None)) as person:
        await person.register(f"{name}{next(_numbers)}e", PASSWORD)
        await person.sync()
        yield person


async def shared_room(near: Town, alice: Person, bob: Person) -> RoomId:
    room_id = await alice.create_room(preset="public_chat", encrypted=True)
    await bob.join(room_id, via=[near.name])
    for person in (alice, bob):
        await becomes(partial(members, person, room_id), {alice.user_id, bob.user_id})
    # A server that was stopped a moment ago may be left alone by the other, and then nobody learns whom to give keys.
    for person, other in ((alice, bob), (bob, alice)):
        await becomes(partial(devices, person, other), {other.device_id})
    return room_id


async def devices(person: Person, other: Person) -> set[str]:
    """Return the devices of somebody else, as a homeserver tells them."""
    answer = await person.query_keys({other.user_id: []})
    return set(answer.device_keys.get(other.user_id, {}))


async def test_they_read_each_other_also_files_and_also_when_one_was_stopped(near: Town, far: Town) -> None:
    async with somebody(near, "alice") as alice, somebody(far, "bob") as bob:
        with trio.fail_after(_PATIENCE_SECONDS):
            room_id = await shared_room(near, alice, bob)
            for speaker, listener in ((alice, bob), (bob, alice), (alice, bob)):
                await speaker.send_text(room_id, f"From {speaker.user_id}")
                message = await listener.hears(room_id)
                assert (message.text, message.decrypted is not None) == (f"From {speaker.user_id}", True)
            data = b"what nobody else may read " * 100
            await alice.send_file(room_id, data, file_name="a.txt")
            message = await bob.hears(room_id)
            assert await bob.read_file(message.content) == data
            async with far.stopped():
                await alice.send_text(room_id, "While you were away")
            assert (await bob.hears(room_id)).text == "While you were away"


async def test_a_device_that_comes_later_reads_what_is_said_from_then_on(near: Town, far: Town) -> None:
    async with somebody(near, "alice") as alice, somebody(far, "bob") as bob:
        with trio.fail_after(_PATIENCE_SECONDS):
            room_id = await shared_room(near, alice, bob)
            await alice.send_text(room_id, "One")
            assert (await bob.hears(room_id)).text == "One"
            async with Person(far.url, encryption=Encryption(None)) as phone:
                await phone.login(bob.user_id, PASSWORD)
                await phone.send_text(room_id, "Two")
                heard = await alice.hears(room_id)
                assert (heard.text, heard.decrypted is not None) == ("Two", True)
                await alice.send_text(room_id, "Three")
                assert (await phone.hears(room_id)).text == "Three"


async def test_they_see_each_others_vouched_for_devices_and_verify_each_other(near: Town, far: Town) -> None:
    async with somebody(near, "alice") as alice, somebody(far, "bob") as bob:
        with trio.fail_after(_PATIENCE_SECONDS):
            for person in (alice, bob):
                await person.set_up_identity(password=PASSWORD)
            room_id = await shared_room(near, alice, bob)
            for speaker, listener in ((alice, bob), (bob, alice)):
                await speaker.send_text(room_id, "Hello")
                await listener.hears(room_id)
                async with following(listener):
                    await becomes(partial(standing_of, listener, speaker), Standing.CROSS_SIGNED)
            async with following(alice, bob), trio.open_nursery() as nursery:
                nursery.start_soon(agree_when_asked, bob)
                conversation = await alice.identity.verify(bob.user_id, room_id=room_id)
                await conversation.compared(agree)
            for person, other in ((alice, bob), (bob, alice)):
                assert await standing_of(person, other) is Standing.VERIFIED


async def test_a_new_device_is_restored_and_reads_what_was_said_before(near: Town, far: Town) -> None:
    async with somebody(near, "alice") as alice, somebody(far, "bob") as bob:
        with trio.fail_after(_PATIENCE_SECONDS):
            room_id = await shared_room(near, alice, bob)
            event_id = await alice.send_text(room_id, "before the new device")
            await bob.hears(room_id)
            made = await bob.set_up_identity(password=PASSWORD)
            await bob.sync()
            async with Person(far.url, encryption=Encryption(None)) as tablet:
                await tablet.login(bob.user_id, PASSWORD)
                await tablet.sync()
                assert await tablet.restore_identity(recovery_key=made.recovery_key) >= 1
                event = await tablet.event(room_id, event_id)
                assert event["content"]["body"] == "before the new device"
                await tablet.send_text(room_id, "from the new device")
                assert (await alice.hears(room_id)).text == "from the new device"
                async with following(alice):
                    await becomes(partial(standing_of, alice, tablet), Standing.CROSS_SIGNED)


async def standing_of(client: Person, other: Person) -> Standing:
    """Return how sure a client is of another's device."""
    machine = client.encryption.machine
    return standing(machine.devices_of(other.user_id).get(other.device_id), machine.identity(other.user_id))


@asynccontextmanager
async def following(*clients: Person) -> AsyncIterator[None]:
    """Let clients follow, inside the block."""

    async def ignore(_: Delta) -> None:
        pass

    async with trio.open_nursery() as nursery:
        for client in clients:
            nursery.start_soon(client.follow, ignore)
        yield
        nursery.cancel_scope.cancel()


async def agree_when_asked(client: Person) -> None:
    async for conversation in client.identity.requests():
        await conversation.accept()
        await conversation.compared(agree)
        return


async def agree(_: ShortString) -> bool:
    return True
