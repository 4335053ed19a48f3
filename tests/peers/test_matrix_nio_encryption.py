"""matrix-nio with its own end-to-end encryption: what two of its clients say to each other through this server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nio
import pytest
import trio

from tests.peers.test_matrix_nio import good, on_asyncio, synced
from tests.servers import PASSWORD, server_process
from tricord.clients import Bot, Message
from tricord.clients.testing import running

pytestmark = pytest.mark.peer

ENCRYPTED = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}


async def registered(url: str, name: str, folder: Path) -> nio.AsyncClient:
    """Return a client that has made an account and keeps its keys in a folder."""
    config = nio.AsyncClientConfig(
        max_timeouts=1, max_limit_exceeded=0, encryption_enabled=True, store_sync_tokens=True, pickle_key="tests"
    )
    client = nio.AsyncClient(url, f"@{name}:hs.test", store_path=str(folder), config=config)
    good(await client.register(name, PASSWORD), nio.RegisterResponse)
    client.load_store()
    await caught_up(client)
    return client


async def caught_up(*clients: nio.AsyncClient) -> None:
    """Sync, and do what the clients then want done for their keys."""
    for client in clients:
        await synced(client, full_state=client.next_batch is None)
        if client.should_upload_keys:
            good(await client.keys_upload(), nio.KeysUploadResponse)
        if client.should_query_keys:
            good(await client.keys_query(), nio.KeysQueryResponse)
        if client.should_claim_keys:
            good(await client.keys_claim(client.get_users_for_key_claiming()), nio.KeysClaimResponse)
        await client.send_to_device_messages()


async def hears(listener: nio.AsyncClient, room_id: str, text: str) -> None:
    """Sync until a text comes, decrypted."""
    heard: list[str] = []
    listener.add_event_callback(lambda _room, event: heard.append(event.body), nio.RoomMessageText)
    for _ in range(20):
        await caught_up(listener)
        if text in heard:
            return
    raise AssertionError(f"{text!r} was not heard in {room_id}, but {heard}")


async def test_they_talk_encrypted_in_both_directions(database_url: str, tmp_path: Path) -> None:
    for name in ("alice", "bob"):
        (tmp_path / name).mkdir()

    async def conversation(url: str) -> None:
        alice = await registered(url, "alice", tmp_path / "alice")
        bob = await registered(url, "bob", tmp_path / "bob")
        try:
            answer = await alice.room_create(invite=[bob.user_id], initial_state=[ENCRYPTED])
            room_id = good(answer, nio.RoomCreateResponse).room_id
            await caught_up(bob)
            good(await bob.join(room_id), nio.JoinResponse)
            await caught_up(alice, bob, alice, bob)
            for speaker, listener in ((alice, bob), (bob, alice)):
                text = f"a secret of {speaker.user_id}"
                content = {"msgtype": "m.text", "body": text}
                sent = await speaker.room_send(room_id, "m.room.message", content, ignore_unverified_devices=True)
                good(sent, nio.RoomSendResponse)
                await hears(listener, room_id, text)
        finally:
            await alice.close()
            await bob.close()

    await on_asyncio(conversation, database_url, tmp_path)


async def test_a_bot_of_our_sdk_answers_it_encrypted(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "alice").mkdir()

    async def conversation(url: str) -> None:
        alice = await registered(url, "alice", tmp_path / "alice")
        try:
            answer = await alice.room_create(invite=["@echo:hs.test"], initial_state=[ENCRYPTED])
            room_id = good(answer, nio.RoomCreateResponse).room_id
            while len(alice.rooms.get(room_id, nio.MatrixRoom(room_id, "")).users) < 2:
                await caught_up(alice)
            heard: list[str] = []
            alice.add_event_callback(lambda _room, event: heard.append(event.body), nio.RoomMessageNotice)
            for text in ("tea", "more tea"):
                content = {"msgtype": "m.text", "body": f"!echo {text}"}
                sent = await alice.room_send(room_id, "m.room.message", content, ignore_unverified_devices=True)
                good(sent, nio.RoomSendResponse)
                while text not in heard:
                    await caught_up(alice)
        finally:
            await alice.close()

    async with server_process(database_url, tmp_path) as server:
        bot = Bot(server.url, "@echo:hs.test", password=PASSWORD, store=tmp_path / "echo.place")

        @bot.command("echo")
        async def echo(message: Message, text: str) -> None:
            assert message.decrypted is not None
            await message.reply(text)

        await bot.register()
        async with running(bot):
            with trio.fail_after(120):
                await trio.to_thread.run_sync(lambda: asyncio.run(conversation(server.url)), abandon_on_cancel=True)
