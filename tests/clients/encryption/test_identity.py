"""Identities over a homeserver: set up, verified, restored; as apps and bots do it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.clients.either_server import RealServer
from tricord.clients import Bot, Client, Delta, Encryption, Message
from tricord.clients.encryption.bootstrap import IdentityElsewhere
from tricord.clients.encryption.devices import Standing, standing
from tricord.clients.encryption.errors import EncryptionError, WrongSecret
from tricord.clients.encryption.opened import OpenedEvent
from tricord.clients.encryption.verification.conversation import Conversation
from tricord.clients.encryption.verification.messages import RECIPROCATE, SAS, SCAN_QR, SHOW_QR, VerificationFailed
from tricord.clients.encryption.verification.sas import ShortString
from tricord.clients.testing import PASSWORD, Person, running
from tricord.protocol.identifiers import RoomId, UserId

LONG_ENOUGH = 120
ALL = (SAS, SHOW_QR, SCAN_QR, RECIPROCATE)


class Town:
    """People on a homeserver, each device with its file of keys."""

    def __init__(self, server: RealServer, folder: Path, stack: AsyncExitStack) -> None:
        self.server = server
        self.folder = folder
        self._stack = stack

    async def device(self, name: str, device: str = "phone", **options: Any) -> Person:
        """Register somebody, or sign them in on another device."""
        encryption = Encryption(self.folder / f"{name}-{device}.keys", **options)
        person = await self._stack.enter_async_context(
            Person(self.server.url, transport=self.server.transport, encryption=encryption)
        )
        if device == "phone":
            await person.register(name, PASSWORD)
        else:
            await person.login(name, PASSWORD)
        await person.sync()
        return person


@pytest.fixture
async def town(real: RealServer, tmp_path: Path) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        yield Town(real, tmp_path, stack)


@asynccontextmanager
async def following(*clients: Client) -> AsyncIterator[None]:
    """Let clients follow, inside the block."""

    async def ignore(_: Delta) -> None:
        pass

    with trio.fail_after(LONG_ENOUGH):
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(client.follow, ignore)
            yield
            nursery.cancel_scope.cancel()


def sure(client: Client, other: Client) -> Standing:
    """Return how sure a client is of another's device."""
    machine = client.encryption.machine
    return standing(machine.devices_of(other.user_id).get(other.device_id), machine.identity(other.user_id))


async def _room_of(alice: Client, *others: Client) -> RoomId:
    room_id = await alice.create_room(invite=[other.user_id for other in others], encrypted=True)
    for other in others:
        await other.join(room_id)
    return room_id


async def _answer(client: Client, act: Callable[[Conversation], Awaitable[Any]]) -> None:
    async for conversation in client.identity.requests():
        await conversation.accept()
        await act(conversation)
        return


async def _agree(_: ShortString) -> bool:
    return True


async def test_one_call_sets_up_everything_and_a_second_changes_nothing(town: Town) -> None:
    alice = await town.device("alice")
    first = await alice.set_up_identity()
    assert first.made_identity
    assert first.made_backup
    assert first.recovery_key is not None
    again = await alice.set_up_identity()
    assert not again.made_identity
    assert not again.made_backup
    assert again.recovery_key == first.recovery_key
    assert sure(alice, alice) is Standing.VERIFIED
    assert first.recovery_key not in repr(first)
    assert await alice.account_data("m.key_backup") == {"enabled": True}
    stored = await alice.account_data("m.cross_signing.master")
    assert stored is not None
    assert stored["encrypted"]


async def test_a_new_device_is_restored_with_the_recovery_key_and_reads_what_was_said_before(town: Town) -> None:
    alice = await town.device("alice")
    room_id = await _room_of(alice)
    event_id = await alice.send_text(room_id, "before the new device")
    made = await alice.set_up_identity()
    await alice.sync()
    tablet = await town.device("alice", "tablet")
    with pytest.raises(IdentityElsewhere):
        await tablet.set_up_identity()
    other = (await (await town.device("bob")).set_up_identity()).recovery_key
    with pytest.raises(WrongSecret):
        await tablet.restore_identity(recovery_key=other)
    assert await tablet.restore_identity(recovery_key=made.recovery_key) == 1
    event = await tablet.event(room_id, event_id)
    assert isinstance(event, OpenedEvent)
    assert event["content"]["body"] == "before the new device"
    await alice.sync()
    assert sure(alice, tablet) is sure(tablet, alice) is Standing.VERIFIED
    assert tablet.identity.own.secrets.missing() == []


async def test_a_passphrase_opens_the_secrets_too(town: Town) -> None:
    alice = await town.device("alice")
    await alice.set_up_identity(passphrase="correct horse battery staple")
    tablet = await town.device("alice", "tablet")
    with pytest.raises(WrongSecret):
        await tablet.restore_identity(passphrase="wrong horse")
    await tablet.restore_identity(passphrase="correct horse battery staple")
    assert tablet.identity.own.cross_signing.is_complete


async def test_an_identity_is_reset_with_the_password_and_others_are_told(town: Town) -> None:
    alice, bob = await town.device("alice"), await town.device("bob")
    await alice.set_up_identity()
    await _room_of(alice, bob)
    bob.encryption.machine.follow([alice.user_id])
    await bob.sync()
    before = bob.encryption.machine.identity(alice.user_id)
    assert before is not None
    tablet = await town.device("alice", "tablet")
    made = await tablet.set_up_identity(reset=True, password=PASSWORD)
    assert made.made_identity
    assert made.made_backup
    for client in (bob, alice):
        await client.sync()
    after = bob.encryption.machine.identity(alice.user_id)
    assert after is not None
    assert after.has_changed
    assert bob.identity.changed_identities() == [after]
    assert bob.identity.accept_identity(after)
    assert bob.identity.changed_identities() == []
    assert not bob.identity.accept_identity(before)
    assert [identity.user_id for identity in alice.identity.changed_identities()] == [alice.user_id]
    assert alice.identity.own.cross_signing.was_replaced
    assert not alice.identity.own.cross_signing.is_complete


async def test_an_identity_whose_keys_are_here_is_reset_only_if_that_is_asked_for(town: Town) -> None:
    alice = await town.device("alice")
    first = await alice.set_up_identity()
    before = alice.identity.own.cross_signing.identity
    second = await alice.set_up_identity(reset=True, password=PASSWORD)
    after = alice.identity.own.cross_signing.identity
    assert before is not None
    assert after is not None
    assert before.master != after.master
    assert second.recovery_key == first.recovery_key
    assert not second.made_backup
    backup = await alice.key_backup()
    assert f"ed25519:{after.master}" in backup.auth_data["signatures"][alice.user_id]
    tablet = await town.device("alice", "tablet")
    await tablet.restore_identity(recovery_key=second.recovery_key)
    assert tablet.identity.own.cross_signing.is_complete


async def test_what_other_keys_of_the_storage_open_stays(town: Town) -> None:
    alice = await town.device("alice")
    await alice.set_up_identity()
    name = "m.cross_signing.master"
    stored = await alice.account_data(name)
    assert stored is not None
    other = {"iv": "AAAA", "ciphertext": "AAAA", "mac": "AAAA"}
    await alice.set_account_data(name, {"encrypted": {"other": other}})
    await alice.set_up_identity()
    content = await alice.account_data(name)
    assert content is not None
    assert content["encrypted"].keys() == {"other", *stored["encrypted"]}


async def test_two_users_verify_each_other_in_a_room_by_pictures(town: Town) -> None:
    alice, bob = await town.device("alice"), await town.device("bob")
    for person in (alice, bob):
        await person.set_up_identity()
    room_id = await _room_of(alice, bob)
    shown: list[ShortString] = []

    async def compare(strings: ShortString) -> bool:
        shown.append(strings)
        return True

    async with following(alice, bob), trio.open_nursery() as nursery:
        nursery.start_soon(_answer, bob, lambda conversation: conversation.compared(compare))
        conversation = await alice.identity.verify(bob.user_id, room_id=room_id)
        proven = await conversation.compared(compare)
    assert proven is not None
    assert proven.master
    assert shown[0] == shown[1]
    assert len(shown[0].emoji) == 7
    assert sure(alice, bob) is sure(bob, alice) is Standing.VERIFIED
    # What was signed is published: another device that is restored knows it too.
    tablet = await town.device("alice", "tablet")
    tablet.encryption.machine.follow([bob.user_id])
    recovery_key = (await alice.set_up_identity()).recovery_key
    await tablet.restore_identity(recovery_key=recovery_key)
    assert sure(tablet, bob) is Standing.VERIFIED


async def test_two_devices_of_one_user_verify_each_other_and_share_the_secrets(town: Town) -> None:
    alice = await town.device("alice")
    room_id = await _room_of(alice)
    event_id = await alice.send_text(room_id, "on the phone")
    await alice.set_up_identity()
    tablet = await town.device("alice", "tablet")
    async with following(alice, tablet):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_answer, alice, lambda conversation: conversation.compared(_agree))
            conversation = await tablet.identity.verify(tablet.user_id)
            await conversation.compared(_agree)
        while tablet.identity.own.secrets.missing():
            await tablet.identity.until_something_happens()
    assert tablet.identity.own.cross_signing.is_complete
    await tablet.identity.restore_keys()
    assert (await tablet.event(room_id, event_id))["content"]["body"] == "on the phone"


async def test_two_users_verify_each_other_by_a_code(town: Town) -> None:
    alice = await town.device("alice", verification_methods=ALL)
    bob = await town.device("bob", verification_methods=ALL)
    for person in (alice, bob):
        await person.set_up_identity()
    room_id = await _room_of(alice, bob)
    code_shown = trio.Event()
    codes: list[bytes] = []

    async def show(conversation: Conversation) -> None:
        codes.append(conversation.verification.show_code())
        code_shown.set()
        await conversation.scanned()
        await conversation.confirm()
        await conversation.finished()

    async with following(alice, bob), trio.open_nursery() as nursery:
        nursery.start_soon(_answer, bob, show)
        conversation = await alice.identity.verify(bob.user_id, room_id=room_id)
        await conversation.ready()
        await code_shown.wait()
        await conversation.scan(codes[0])
        await conversation.finished()
    assert sure(alice, bob) is sure(bob, alice) is Standing.VERIFIED


async def test_who_gets_no_keys_can_be_verified_all_the_same(town: Town) -> None:
    """After a change of identity, say: what there is to say for it is said in clear."""
    alice, bob = await town.device("alice", trust="cross-signed"), await town.device("bob")
    for person in (alice, bob):
        await person.set_up_identity()
    room_id = await _room_of(alice, bob)
    alice.encryption.machine.follow([bob.user_id])
    await alice.sync()
    await bob.set_up_identity(reset=True, password=PASSWORD)
    await alice.sync()
    assert len(alice.identity.changed_identities()) == 1
    async with following(alice, bob), trio.open_nursery() as nursery:
        nursery.start_soon(_answer, bob, lambda conversation: conversation.compared(_agree))
        conversation = await alice.identity.verify(bob.user_id, room_id=room_id)
        await conversation.compared(_agree)
    assert sure(alice, bob) is Standing.VERIFIED
    assert alice.identity.changed_identities() == []


async def test_who_sees_other_pictures_says_so(town: Town) -> None:
    alice, bob = await town.device("alice"), await town.device("bob")
    for person in (alice, bob):
        await person.set_up_identity()
    room_id = await _room_of(alice, bob)

    async def disagree(_: ShortString) -> bool:
        return False

    async def failing(conversation: Conversation) -> None:
        with pytest.raises(VerificationFailed, match="mismatched_sas"):
            await conversation.compared(_agree)

    async with following(alice, bob), trio.open_nursery() as nursery:
        nursery.start_soon(_answer, bob, failing)
        conversation = await alice.identity.verify(bob.user_id, room_id=room_id)
        with pytest.raises(VerificationFailed, match="mismatched_sas"):
            await conversation.compared(disagree)
    assert Standing.VERIFIED not in {sure(alice, bob), sure(bob, alice)}


async def test_another_user_is_verified_in_a_room(town: Town) -> None:
    alice = await town.device("alice")
    with pytest.raises(EncryptionError, match="room"):
        await alice.identity.verify(UserId("@bob:localhost"))


async def test_history_is_shared_with_who_is_invited(town: Town) -> None:
    alice, bob = await town.device("alice"), await town.device("bob")
    for person in (alice, bob):
        await person.set_up_identity()
    room_id = await _room_of(alice)
    event_id = await alice.send_text(room_id, "before Bob")
    assert await alice.identity.share_history(room_id, bob.user_id) == 1
    await alice.invite(room_id, bob.user_id)
    await bob.sync()
    await bob.join(room_id)
    since = None
    with trio.fail_after(LONG_ENOUGH):
        while not isinstance(event := await bob.event(room_id, event_id), OpenedEvent):
            since = (await bob.sync(since=since))["next_batch"]
    assert event["content"]["body"] == "before Bob"


async def test_nothing_is_shared_with_who_has_no_identity(town: Town) -> None:
    alice, bob = await town.device("alice"), await town.device("bob")
    room_id = await _room_of(alice)
    await alice.send_text(room_id, "before Bob")
    assert await alice.identity.share_history(room_id, bob.user_id) == 0


async def test_keys_are_carried_in_a_file(town: Town) -> None:
    alice = await town.device("alice")
    room_id = await _room_of(alice)
    event_id = await alice.send_text(room_id, "on the phone")
    text = await alice.identity.export_keys("green teapot")
    tablet = await town.device("alice", "tablet")
    with pytest.raises(WrongSecret):
        await tablet.identity.import_keys(text, "red teapot")
    restored = await tablet.identity.import_keys(text, "green teapot")
    assert (restored.taken, restored.refused) == (1, 0)
    assert (await tablet.event(room_id, event_id))["content"]["body"] == "on the phone"


async def test_who_wants_no_backup_gets_none(town: Town) -> None:
    alice = await town.device("alice")
    await alice.set_account_data("m.key_backup", {"enabled": False})
    made = await alice.set_up_identity()
    assert made.made_identity
    assert not made.made_backup
    assert alice.identity.own.backup.in_use is None


async def test_a_bot_has_an_identity_by_itself_and_lets_itself_be_verified(town: Town) -> None:
    bot = Bot(town.server.url, "@tea:localhost", password=PASSWORD, store=town.folder / "bot")
    shown: list[ShortString] = []
    is_shown = trio.Event()

    @bot.on(Message)
    async def echo(message: Message) -> None:
        await message.reply(message.text)

    async def log(strings: ShortString) -> bool:
        shown.append(strings)
        is_shown.set()
        return True

    @bot.on_verification
    async def verified(conversation: Conversation) -> None:
        await conversation.accept()
        await conversation.compared(log, trust=False)

    await bot.register()
    alice = await town.device("alice", trust="cross-signed")
    await alice.set_up_identity()
    async with running(bot):
        room_id = await alice.create_room(invite=[bot.user_id], encrypted=True)
        async with following(alice):
            conversation = await alice.identity.verify(bot.user_id, room_id=room_id)

            async def same(strings: ShortString) -> bool:
                # Either side may be the first to know.
                await is_shown.wait()
                return shown == [strings]

            await conversation.compared(same)
            assert sure(alice, bot.client) is Standing.VERIFIED
            assert sure(bot.client, alice) is Standing.CROSS_SIGNED
        await alice.send_text(room_id, "tea?")
        with trio.fail_after(LONG_ENOUGH):
            while (heard := await alice.hears(room_id)).sender != bot.user_id or heard.text != "tea?":
                pass
    assert heard.decrypted is not None
    assert heard.decrypted.standing is Standing.VERIFIED
