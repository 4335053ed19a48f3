"""Our encryption and that of matrix-js-sdk, which Element Web uses: they read each other, and trust each other."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.peers.js_person import JS_PASSWORD, JsPerson, js_person
from tests.servers import server_process
from tricord.clients import Delta, Encryption
from tricord.clients.encryption.devices import Standing, standing
from tricord.clients.encryption.verification.conversation import Conversation
from tricord.clients.encryption.verification.messages import RECIPROCATE, SAS, SCAN_QR, SHOW_QR
from tricord.clients.encryption.verification.verification import State
from tricord.clients.testing import Person
from tricord.protocol.identifiers import RoomId

pytestmark = pytest.mark.peer

_PATIENCE_SECONDS = 150
_WITH_CODES = (SAS, SHOW_QR, SCAN_QR, RECIPROCATE)


@dataclass
class House:
    """Alice with our library, and Jane with theirs."""

    url: str
    alice: Person
    jane: JsPerson

    async def room(self) -> RoomId:
        """Return an encrypted room of Alice's that both are in."""
        room_id = await self.alice.create_room(invite=[self.jane.user_id], encrypted=True)
        await self.jane.does("join", room_id)
        await self.jane.does("seesMembers", room_id, 2)
        return room_id


@pytest.fixture
async def house(js: Path, database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with (
        server_process(database_url, tmp_path) as server,
        js_person(js, server.url, "jane") as jane,
        Person(server.url, encryption=Encryption(tmp_path / "alice.keys")) as alice,
    ):
        await alice.register("alice", JS_PASSWORD)
        await alice.sync()
        with trio.fail_after(_PATIENCE_SECONDS):
            yield House(server.url, alice, jane)


async def test_they_read_each_other_in_rooms_of_either(house: House) -> None:
    alice, jane = house.alice, house.jane
    ours = await house.room()
    theirs = RoomId(await jane.does("room", alice.user_id))
    await alice.join(theirs)
    await jane.does("seesMembers", theirs, 2)
    for room_id in (ours, theirs):
        await alice.send_text(room_id, "Hello Jane")
        heard = await jane.does("hear", room_id, "Hello Jane")
        assert (heard["sender"], heard["type"]) == (alice.user_id, "m.room.encrypted")
        await jane.does("say", room_id, "Hello Alice")
        message = await alice.hears(room_id)
        assert (message.text, message.sender) == ("Hello Alice", jane.user_id)
        assert message.decrypted is not None
        assert message.decrypted.device is not None
        assert message.decrypted.device.device_id == jane.device_id


async def test_a_device_that_comes_later_reads_what_is_said_from_then_on(house: House) -> None:
    alice, jane = house.alice, house.jane
    room_id = await house.room()
    await alice.send_text(room_id, "One")
    await jane.does("hear", room_id, "One")
    first = jane.device_id
    await jane.signs_in()
    assert jane.device_id != first
    await jane.does("say", room_id, "Two")
    assert (await alice.hears(room_id)).text == "Two"
    await alice.send_text(room_id, "Three")
    await jane.does("hear", room_id, "Three")


async def test_files_are_read_in_both_directions(house: House) -> None:
    room_id = await house.room()
    data = b"what nobody else may read " * 100
    await house.alice.send_file(room_id, data, file_name="ours.txt")
    assert base64.b64decode(await house.jane.does("readFile", room_id, "ours.txt")) == data
    await house.jane.does("sendFile", room_id, "theirs.txt", base64.b64encode(data).decode())
    message = await house.alice.hears(room_id)
    assert message.content["body"] == "theirs.txt"
    assert await house.alice.read_file(message.content) == data


async def test_devices_that_are_vouched_for_are_seen_as_such(house: House) -> None:
    alice, jane = house.alice, house.jane
    room_id = await house.room()
    await jane.does("say", room_id, "Who am I?")
    message = await alice.hears(room_id)
    assert message.decrypted is not None
    assert message.decrypted.standing is Standing.UNSIGNED
    await jane.does("makeIdentity")
    await jane.does("say", room_id, "And now?")
    message = await alice.hears(room_id)
    assert message.decrypted is not None
    assert message.decrypted.standing is Standing.CROSS_SIGNED


async def test_they_verify_each_other_in_a_room_whoever_asks(house: House) -> None:
    alice, jane = house.alice, house.jane
    await alice.set_up_identity(password=JS_PASSWORD)
    await jane.does("makeIdentity")
    room_id = await house.room()
    await alice.sync()
    async with following(alice):
        conversation = await alice.identity.verify(jane.user_id, room_id=room_id)
        await jane.does("beAskedToCompare")
        await both_agree(conversation, jane, jane_begins=False)
        await jane.does("trusts", alice.user_id, alice.device_id)
        assert seen(alice, jane) is Standing.VERIFIED
    await jane.does("resetIdentity")
    await alice.sync()
    assert seen(alice, jane) is not Standing.VERIFIED
    # Until it is accepted she gets no keys: what there is to say for comparing is said in clear.
    assert [identity.user_id for identity in alice.identity.changed_identities()] == [jane.user_id]
    async with following(alice):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(jane.does, "askToCompare", alice.user_id, room_id)
            conversation = await anext(alice.identity.requests())
        await conversation.accept()
        await both_agree(conversation, jane, jane_begins=True)
        assert seen(alice, jane) is Standing.VERIFIED
        await jane.does("trusts", alice.user_id, alice.device_id)


async def test_devices_of_one_user_verify_each_other_and_share_what_is_secret(house: House, tmp_path: Path) -> None:
    jane = house.jane
    await jane.does("makeIdentity")
    await jane.does("makeSecretStorage")
    async with Person(house.url, encryption=Encryption(tmp_path / "tablet.keys")) as tablet:
        await tablet.login(jane.user_id, JS_PASSWORD)
        await tablet.sync()
        await jane.does("seesDevice", jane.user_id, tablet.device_id)
        async with following(tablet):
            conversation = await tablet.identity.verify(jane.user_id)
            await jane.does("beAskedToCompare")
            await both_agree(conversation, jane, jane_begins=False)
            await jane.does("trusts", jane.user_id, tablet.device_id)
            while tablet.identity.own.secrets.missing():  # noqa: ASYNC110  # they come by and by
                await trio.sleep(0.05)
        assert seen(tablet, jane) is Standing.VERIFIED


async def test_our_device_is_restored_from_their_backup(house: House, tmp_path: Path) -> None:
    alice, jane = house.alice, house.jane
    room_id = await house.room()
    event_id = await alice.send_text(room_id, "before the new device")
    await jane.does("hear", room_id, "before the new device")
    await jane.does("makeIdentity")
    recovery_key = await jane.does("makeSecretStorage")
    await jane.does("isBackedUp", 1)
    async with Person(house.url, encryption=Encryption(tmp_path / "tablet.keys")) as tablet:
        await tablet.login(jane.user_id, JS_PASSWORD)
        await tablet.sync()
        assert await tablet.restore_identity(recovery_key=recovery_key) >= 1
        event = await tablet.event(room_id, event_id)
        assert event["content"]["body"] == "before the new device"
        await jane.does("trusts", jane.user_id, tablet.device_id)
        assert seen(tablet, jane) is Standing.VERIFIED


async def test_their_device_is_restored_from_our_backup(house: House, js: Path) -> None:
    alice = house.alice
    room_id = await house.room()
    await house.jane.does("say", room_id, "before the new device")
    assert (await alice.hears(room_id)).text == "before the new device"
    made = await alice.set_up_identity(password=JS_PASSWORD)
    await alice.sync()
    async with js_person(js, house.url, "alice") as laptop:
        assert await laptop.does("openSecrets", made.recovery_key)
        assert await laptop.does("restore") >= 1
        await laptop.does("hear", room_id, "before the new device")
        await laptop.does("trusts", alice.user_id, alice.device_id)
        await alice.sync()
        assert seen(alice, laptop) is Standing.VERIFIED


@pytest.mark.parametrize("we_show", [True, False])
async def test_they_verify_each_other_by_a_code(house: House, tmp_path: Path, we_show: bool) -> None:
    jane = house.jane
    encryption = Encryption(tmp_path / "carol.keys", verification_methods=_WITH_CODES)
    async with Person(house.url, encryption=encryption) as carol:
        await carol.register("carol", JS_PASSWORD)
        await carol.set_up_identity()
        await jane.does("makeIdentity")
        room_id = await carol.create_room(invite=[jane.user_id], encrypted=True)
        await jane.does("join", room_id)
        await jane.does("seesMembers", room_id, 2)
        async with following(carol):
            conversation = await carol.identity.verify(jane.user_id, room_id=room_id)
            await jane.does("beAskedToCompare")
            await conversation.ready()
            await by_code(conversation, jane, we_show=we_show)
        await jane.does("trusts", carol.user_id, carol.device_id)
        assert seen(carol, jane) is Standing.VERIFIED


@pytest.mark.parametrize("we_show", [True, False])
async def test_devices_of_one_user_verify_each_other_by_a_code(house: House, tmp_path: Path, we_show: bool) -> None:
    jane = house.jane
    await jane.does("makeIdentity")
    encryption = Encryption(tmp_path / "jane.keys", verification_methods=_WITH_CODES)
    async with Person(house.url, encryption=encryption) as ours:
        await ours.login("jane", JS_PASSWORD)
        await ours.sync()
        await jane.does("seesDevice", ours.user_id, ours.device_id)
        async with following(ours):
            conversation = await ours.identity.verify(ours.user_id)
            await jane.does("beAskedToCompare")
            await conversation.ready()
            await by_code(conversation, jane, we_show=we_show)
            await jane.does("trusts", ours.user_id, ours.device_id)
        assert seen(ours, jane) is Standing.VERIFIED


@asynccontextmanager
async def following(client: Person) -> AsyncIterator[None]:
    """Let a client follow, inside the block."""

    async def ignore(_: Delta) -> None:
        pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.follow, ignore)
        yield
        nursery.cancel_scope.cancel()


async def both_agree(conversation: Conversation, jane: JsPerson, *, jane_begins: bool) -> None:
    """Let both sides see the same, and say so."""
    shown: dict[str, Any] = {}

    async def jane_looks() -> None:
        shown.update(await jane.does("compare", jane_begins))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(jane_looks)
        if jane_begins:
            await conversation.ready()
            while conversation.state is State.READY:  # noqa: ASYNC110  # until she has begun
                await trio.sleep(0.02)
        ours = await conversation.short_string()
    assert [emoji.symbol for emoji in ours.emoji] == shown["emoji"]
    assert list(ours.decimals) == shown["decimal"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(jane.does, "confirm")
        await conversation.confirm()
        await conversation.finished()


async def by_code(conversation: Conversation, jane: JsPerson, *, we_show: bool) -> None:
    """Let one side scan what the other shows."""
    if we_show:
        await jane.does("scanCode", base64.b64encode(conversation.verification.show_code()).decode())
        await conversation.scanned()
        await conversation.confirm()
        await jane.does("isDone")
        return
    await conversation.scan(base64.b64decode(await jane.does("showCode")))
    await jane.does("confirmScan")
    await conversation.finished()


def seen(client: Person, other: JsPerson) -> Standing:
    """Return how sure a client is of another's device."""
    machine = client.encryption.machine
    return standing(machine.devices_of(other.user_id).get(other.device_id), machine.identity(other.user_id))
