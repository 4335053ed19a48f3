"""Clients and bots in encrypted rooms, over the homeserver in memory and over the real one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.clients.either_server import EitherServer
from tricord.clients import Bot, Client, Delta, Encryption, Message, RoomEvent, SignedOut, edited_content
from tricord.clients.api.messages import GetEvent
from tricord.clients.encryption.devices import Standing
from tricord.clients.encryption.errors import EncryptionError, NotThisDevice, Reason
from tricord.clients.encryption.opened import ClosedEvent, LateEvent, OpenedEvent
from tricord.clients.encryption.stored.room_keys import room_keys
from tricord.clients.testing import PASSWORD, Homeserver, Person
from tricord.protocol.identifiers import EventId, RoomId, UserId

LONG_ENOUGH = 60


class Town:
    """People with encryption, on one homeserver."""

    def __init__(self, server: EitherServer, folder: Path, stack: AsyncExitStack) -> None:
        self.server = server
        self.folder = folder
        self._stack = stack

    async def user(self, name: str, **options: Any) -> Person:
        """Register somebody who encrypts, and learn and publish keys."""
        encryption = Encryption(self.folder / f"{name}.keys", **options)
        person = await self._stack.enter_async_context(
            Person(self.server.url, transport=self.server.transport, encryption=encryption)
        )
        await person.register(name, PASSWORD)
        await person.sync()
        return person


@pytest.fixture
async def town(server: EitherServer, tmp_path: Path) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        yield Town(server, tmp_path, stack)


async def room_of(alice: Client, *others: Client) -> RoomId:
    room_id = await alice.create_room(invite=[other.user_id for other in others], encrypted=True)
    for other in others:
        await other.join(room_id)
    return room_id


async def raw_content(client: Client, room_id: RoomId, event_id: EventId) -> dict[str, Any]:
    """Return the content of an event as the homeserver has it."""
    event = await client.http.call(GetEvent, {"room_id": room_id, "event_id": event_id})
    assert event["type"] == "m.room.encrypted"
    return dict(event["content"])


async def test_two_talk_and_the_homeserver_cannot_read_it(town: Town) -> None:
    alice, bob = await town.user("alice"), await town.user("bob")
    room_id = await room_of(alice, bob)
    with trio.fail_after(LONG_ENOUGH):
        event_id = await alice.send_text(room_id, "Is anybody here?")
        heard = await bob.hears(room_id)
        assert heard.text == "Is anybody here?"
        assert heard.decrypted is not None
        assert heard.decrypted.device is not None
        assert heard.decrypted.device.device_id == alice.device_id
        await bob.reply(room_id, heard.event_id, "Yes")
        answer = await alice.hears(room_id)
    assert answer.text == "Yes"
    assert answer.in_reply_to == event_id
    content = await raw_content(alice, room_id, event_id)
    assert content["algorithm"] == "m.megolm.v1.aes-sha2"
    assert "anybody" not in str(content)


async def test_rooms_that_are_not_encrypted_stay_so(town: Town) -> None:
    alice, bob = await town.user("alice"), await town.user("bob")
    room_id = await alice.create_room(invite=[bob.user_id])
    await bob.join(room_id)
    event_id = await alice.send_text(room_id, "Hello, everybody")
    assert (await bob.event(room_id, event_id))["content"]["body"] == "Hello, everybody"
    # The room is encrypted later: from then on so is what is said.
    await alice.set_state(room_id, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    with trio.fail_after(LONG_ENOUGH):
        event_id = await alice.send_text(room_id, "Hello, Bob")
        assert (await bob.hears(room_id)).text == "Hello, everybody"
        assert (await bob.hears(room_id)).text == "Hello, Bob"
    await raw_content(alice, room_id, event_id)


async def test_history_is_opened_as_far_as_there_are_keys(town: Town) -> None:
    alice, bob = await town.user("alice"), await town.user("bob")
    room_id = await room_of(alice)
    early = await alice.send_text(room_id, "before Bob")
    await alice.invite(room_id, bob.user_id)
    await bob.join(room_id)
    await alice.sync()
    late = await alice.send_text(room_id, "for Bob")
    await bob.sync()
    chunk = (await bob.messages(room_id, limit=100)).chunk
    by_id = {event["event_id"]: event for event in chunk}
    assert isinstance(by_id[late], OpenedEvent)
    assert by_id[late]["content"]["body"] == "for Bob"
    closed = by_id[early]
    assert isinstance(closed, ClosedEvent)
    assert closed.reason.reason in {Reason.NO_KEY, Reason.KEY_TOO_LATE}
    assert (await bob.event(room_id, late))["content"]["body"] == "for Bob"
    context = await bob.context(room_id, late)
    assert context.event["content"]["body"] == "for Bob"


async def test_threads_and_relations_are_opened_too(server: EitherServer, town: Town) -> None:
    alice, bob = await town.user("alice"), await town.user("bob")
    room_id = await room_of(alice, bob)
    root = await alice.send_text(room_id, "a thread")
    relation = {"rel_type": "m.thread", "event_id": root}
    await alice.send(room_id, "m.room.message", {"msgtype": "m.text", "body": "in it", "m.relates_to": relation})
    await bob.sync()
    if server.transport is not None:
        pytest.skip("the homeserver in memory has no relations")
    assert [event["content"]["body"] for event in (await bob.threads(room_id)).chunk] == ["a thread"]
    (answer,) = (await bob.relations(room_id, root, rel_type="m.thread")).chunk
    assert answer["content"]["body"] == "in it"
    assert answer["content"]["m.relates_to"] == relation


async def test_edits_in_clear_do_not_replace_what_was_encrypted(town: Town) -> None:
    """CVE-2026-45057: an unencrypted edit replaces an encrypted event."""
    alice, bob = await town.user("alice"), await town.user("bob")
    room_id = await room_of(alice, bob)
    event_id = await alice.send_text(room_id, "I owe you 10")
    edit_id = await alice.edit(room_id, event_id, "I owe you 20")
    await bob.sync()
    original, edit = await bob.event(room_id, event_id), await bob.event(room_id, edit_id)
    assert edited_content(original, edit)["body"] == "I owe you 20"
    new = {"msgtype": "m.text", "body": "I owe you 1000"}
    relation = {"rel_type": "m.replace", "event_id": event_id}
    forged = {**new, "m.new_content": new, "m.relates_to": relation}
    # As a homeserver could, in Alice's name.
    async with Client(town.server.url, session=alice.session, transport=town.server.transport) as in_clear:
        forged_id = await in_clear.send(room_id, "m.room.message", forged)
    edit = await bob.event(room_id, forged_id)
    assert edited_content(original, edit)["body"] == "I owe you 10"
    # Nor does the one that the homeserver puts with the event.
    bundled = (await bob.event(room_id, event_id)).get("unsigned", {}).get("m.relations", {})
    assert "1000" not in str(bundled)


async def test_a_message_whose_key_comes_late_is_given_again(town: Town) -> None:
    alice, bob = await town.user("alice"), await town.user("bob")
    room_id = await room_of(alice, bob)
    await alice.send_text(room_id, "first")
    with trio.fail_after(LONG_ENOUGH):
        assert (await bob.hears(room_id)).text == "first"
    store = bob.encryption.machine.store
    (key,) = room_keys(store, room_id)
    with store.transaction():
        store.change("DELETE FROM room_keys")
    event_id = await alice.send_text(room_id, "early")
    late: list[LateEvent] = []

    async def take(delta: Delta) -> None:
        rooms = delta.content.get("rooms", {}).get("join", {})
        for event in rooms.get(room_id, {}).get("timeline", {}).get("events", ()):
            if isinstance(event, ClosedEvent):
                assert (event["event_id"], event.reason.reason) == (event_id, Reason.NO_KEY)
                with store.transaction():
                    bob.encryption.machine.megolm.add(key)
                await alice.send_text(room_id, "something new")
        late.extend(delta.late)
        if late:
            scope.cancel()

    with trio.fail_after(LONG_ENOUGH), trio.CancelScope() as scope:
        await bob.follow(take, position=bob._position)
    assert [(one.event["event_id"], one.opened["content"]["body"]) for one in late] == [(event_id, "early")]


async def test_a_late_message_is_in_the_timeline_of_a_sync_until_the_next(town: Town) -> None:
    alice, bob = await town.user("alice"), await town.user("bob")
    room_id = await room_of(alice, bob)
    event_id = await alice.send_text(room_id, "early")
    store = bob.encryption.machine.store
    since = (await bob.sync())["next_batch"]
    (key,) = room_keys(store, room_id)
    event = await raw_content(bob, room_id, event_id)
    with store.transaction():
        store.change("DELETE FROM room_keys")
        raw = {"type": "m.room.encrypted", "event_id": event_id, "sender": alice.user_id, "content": event}
        bob.encryption.machine.megolm.let_wait(room_id, raw)
        bob.encryption.machine.megolm.add(key)

    async def seen() -> list[str]:
        nonlocal since
        answer = await bob.sync(since=since)
        since = answer["next_batch"]
        room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
        return [event["content"].get("body") for event in room.get("timeline", {}).get("events", ())]

    assert await seen() == ["early"]
    assert await seen() == []


async def test_a_bot_answers_in_encrypted_rooms_and_after_a_restart(town: Town, tmp_path: Path) -> None:
    alice = await town.user("alice")

    def echo() -> Bot:
        bot = Bot("http://elsewhere", "@echo:localhost", password=PASSWORD, store=tmp_path / "echo.place")

        @bot.command("echo")
        async def say(message: Message, text: str) -> None:
            assert message.decrypted is not None
            await message.reply(text)

        return bot

    with trio.fail_after(LONG_ENOUGH):
        async with town.server.running(echo()) as bot:
            room_id = await alice.room_with(bot.user_id, encrypted=True)
            await alice.send_text(room_id, "!echo Hello")
            heard = await alice.hears(room_id)
            assert (heard.text, heard.decrypted is not None) == ("Hello", True)
        await alice.send_text(room_id, "!echo Are you back?")
        async with town.server.running(echo()):
            heard = await alice.hears(room_id)
            assert (heard.text, heard.decrypted is not None) == ("Are you back?", True)
    assert (tmp_path / "echo.place.keys").exists()


async def test_people_of_the_homeserver_in_memory_encrypt_if_they_are_asked_to(
    in_memory: Homeserver, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    bot = Bot("http://elsewhere", "@echo:localhost", password=PASSWORD, store=tmp_path / "place")

    @bot.command("echo")
    async def say(message: Message, text: str) -> None:
        await message.reply(text)

    with trio.fail_after(LONG_ENOUGH):
        async with in_memory.running(bot):
            alice = await in_memory.user("alice", encryption=Encryption(None))
            room_id = await alice.room_with(bot.user_id, encrypted=True)
            await alice.send_text(room_id, "!echo Hello")
            heard = await alice.hears(room_id)
    assert heard.text == "Hello"
    assert heard.decrypted is not None
    # The bot has vouched for its device by itself.
    assert heard.decrypted.standing is Standing.CROSS_SIGNED
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_bot_that_lost_its_keys_is_a_new_device(town: Town, tmp_path: Path) -> None:
    alice = await town.user("alice")

    def echo() -> Bot:
        # Without an identity: that would be lost too, and nobody would trust the new device.
        encryption = Encryption(tmp_path / "echo.keys", own_identity=False)
        place = tmp_path / "echo.place"
        bot = Bot("http://elsewhere", "@echo:localhost", password=PASSWORD, store=place, encryption=encryption)

        @bot.command("echo")
        async def say(message: Message, text: str) -> None:
            await message.reply(text)

        return bot

    with trio.fail_after(LONG_ENOUGH):
        async with town.server.running(echo()) as bot:
            room_id = await alice.room_with(bot.user_id, encrypted=True)
            await alice.send_text(room_id, "!echo before")
            assert (await alice.hears(room_id)).text == "before"
            before = bot.client.device_id
        (tmp_path / "echo.keys").unlink()
        async with town.server.running(echo()) as bot:
            while bot.client.device_id in {before, ""}:
                await alice.sync(since=alice._position, timeout_seconds=1)
            while len(alice.encryption.machine.devices_of(bot.user_id)) < 2:
                await alice._listen()
            await alice.send_text(room_id, "!echo after")
            assert (await alice.hears(room_id)).text == "after"


async def test_a_token_without_a_device_is_used_without_encryption(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/whoami"):
            return httpx.Response(200, json={"user_id": "@bridge:localhost"})
        return httpx.Response(401, json={"errcode": "M_UNKNOWN_TOKEN", "error": "that was enough"})

    transport = httpx.MockTransport(answer)
    bot = Bot(
        "http://localhost", "@bridge:localhost", access_token="secret", store=tmp_path / "place", transport=transport
    )
    assert bot.client.encrypts
    with pytest.raises(SignedOut):
        await bot.serve()
    assert not bot.client.encrypts


async def test_a_bot_without_a_store_encrypts_too(town: Town) -> None:
    alice = await town.user("alice")
    bot = Bot("http://elsewhere", "@echo:localhost", password=PASSWORD)
    seen: list[RoomEvent] = []

    @bot.on(Message)
    async def answer(message: Message) -> None:
        seen.append(message)
        await message.reply("I hear you")

    with trio.fail_after(LONG_ENOUGH):
        async with town.server.running(bot):
            room_id = await alice.room_with(bot.user_id, encrypted=True)
            await alice.send_text(room_id, "Hello")
            assert (await alice.hears(room_id)).decrypted is not None
    assert [event.closed for event in seen] == [None]


async def test_signing_in_again_is_the_same_device(town: Town) -> None:
    alice = await town.user("alice")
    device_id = alice.device_id
    await alice.__aexit__(None, None, None)
    settings = Encryption(town.folder / "alice.keys")
    async with Client(town.server.url, transport=town.server.transport, encryption=settings) as again:
        await again.login("@alice:localhost", PASSWORD)
        assert again.device_id == device_id
        assert again.encryption.machine.own.curve25519
    await town.server.user("carol")
    async with Client(town.server.url, transport=town.server.transport, encryption=settings) as other:
        with pytest.raises(NotThisDevice):
            await other.login("@carol:localhost", PASSWORD)


async def test_a_client_without_encryption_says_so(town: Town) -> None:
    async with Client(town.server.url) as client:
        assert not client.encrypts
        with pytest.raises(EncryptionError):
            _ = client.encryption
    async with Client(town.server.url, encryption=Encryption(None)) as client:
        with pytest.raises(EncryptionError, match="sign in"):
            _ = client.encryption.machine


async def test_reactions_are_in_clear(town: Town) -> None:
    alice = await town.user("alice")
    room_id = await room_of(alice)
    event_id = await alice.send_text(room_id, "Hello")
    reaction = await alice.react(room_id, event_id, "🫖")
    assert (await alice.event(room_id, reaction))["type"] == "m.reaction"


async def test_only_devices_that_are_vouched_for_may_read_if_one_wants_that(town: Town) -> None:
    alice = await town.user("alice", trust="cross-signed")
    bob = await town.user("bob")
    room_id = await room_of(alice, bob)
    await alice.send_text(room_id, "only for those who are vouched for")
    sync = await bob.sync(since=bob._position)
    (event,) = [
        event for event in sync["rooms"]["join"][room_id]["timeline"]["events"] if event["type"] == "m.room.encrypted"
    ]
    assert isinstance(event, ClosedEvent)
    assert (event.reason.reason, event.reason.code) == (Reason.WITHHELD, "m.unverified")
    assert UserId(event["sender"]) == alice.user_id
