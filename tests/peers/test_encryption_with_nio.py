"""Our encryption and that of matrix-nio, which is libolm's: they read each other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nio
import pytest
import trio

from tests.peers.test_matrix_nio import good
from tests.peers.test_matrix_nio_encryption import ENCRYPTED, caught_up, registered
from tests.servers import PASSWORD, server_process
from tricord.clients import Encryption
from tricord.clients.testing import Person
from tricord.protocol.identifiers import RoomId, UserId

pytestmark = pytest.mark.peer

_PATIENCE_SECONDS = 90
_FILE = b"what nobody else may read " * 100


@dataclass
class Echo:
    """Somebody with nio: joins where they are invited, and says again what they hear, be it a text or a file."""

    url: str
    folder: Path
    user_id: UserId
    is_there: threading.Event = field(default_factory=threading.Event)
    is_over: threading.Event = field(default_factory=threading.Event)
    _client: Any = None

    async def run(self) -> None:
        """Stay until it is over."""
        client = self._client = await registered(self.url, "nora", self.folder)
        client.add_event_callback(self._say_again, nio.RoomMessageText)
        client.add_event_callback(self._send_again, nio.RoomEncryptedFile)
        try:
            room = await client.room_create(initial_state=[ENCRYPTED], invite=["@alice:hs.test"])
            good(room, nio.RoomCreateResponse)
            self.is_there.set()
            while not self.is_over.is_set():
                await caught_up(client)
                for room_id in list(client.invited_rooms):
                    good(await client.join(room_id), nio.JoinResponse)
                await asyncio.sleep(0.02)
        finally:
            self.is_there.set()
            await client.close()

    async def _say_again(self, room: nio.MatrixRoom, event: nio.RoomMessageText) -> None:
        if event.sender != self.user_id:
            assert event.decrypted
            await self._send(room, {"msgtype": "m.text", "body": f"You said: {event.body}"})

    async def _send_again(self, room: nio.MatrixRoom, event: nio.RoomEncryptedFile) -> None:
        if event.sender != self.user_id:
            download = good(await self._client.download(event.url), nio.MemoryDownloadResponse)
            key, digest, iv = event.key["k"], event.hashes["sha256"], event.iv
            data = nio.crypto.attachments.decrypt_attachment(download.body, key, digest, iv)
            assert data == _FILE
            upload, keys = await self._client.upload(lambda *_: data, encrypt=True, filesize=len(data))
            file = {**keys, "url": good(upload, nio.UploadResponse).content_uri}
            await self._send(room, {"msgtype": "m.file", "body": "again.txt", "file": file})

    async def _send(self, room: nio.MatrixRoom, content: dict[str, Any]) -> None:
        sent = await self._client.room_send(room.room_id, "m.room.message", content, ignore_unverified_devices=True)
        good(sent, nio.RoomSendResponse)


@asynccontextmanager
async def echo_in(url: str, folder: Path) -> AsyncIterator[Echo]:
    echo = Echo(url, folder, UserId("@nora:hs.test"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, lambda: asyncio.run(echo.run()))
        try:
            await trio.to_thread.run_sync(echo.is_there.wait)
            yield echo
        finally:
            echo.is_over.set()


async def test_they_read_each_others_texts_and_files_in_rooms_of_either(database_url: str, tmp_path: Path) -> None:
    async with (
        server_process(database_url, tmp_path) as server,
        Person(server.url, encryption=Encryption(None)) as alice,
    ):
        (tmp_path / "nora").mkdir()
        await alice.register("alice", PASSWORD)
        await alice.sync()
        with trio.fail_after(_PATIENCE_SECONDS):
            async with echo_in(server.url, tmp_path / "nora") as echo:
                (theirs,) = (await alice.sync())["rooms"]["invite"]
                await alice.join(theirs)
                ours = await alice.room_with(echo.user_id, encrypted=True)
                for room_id in (ours, RoomId(theirs)):
                    await alice.send_text(room_id, "Hello")
                    answer = await alice.hears(room_id)
                    assert (answer.text, answer.decrypted is not None) == ("You said: Hello", True)
                await alice.send_file(ours, _FILE, file_name="a.txt")
                message = await alice.hears(ours)
                assert message.content["body"] == "again.txt"
                assert await alice.read_file(message.content) == _FILE
