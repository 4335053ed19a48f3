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
from tricord.clients import Encryption
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
    return room_id


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
