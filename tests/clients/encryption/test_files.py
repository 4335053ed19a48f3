"""Files in rooms, over the homeserver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.clients.either_server import RealServer
from tests.clients.encryption.test_identity import Town
from tricord.clients.encryption.errors import Forged, Malformed
from tricord.clients.encryption.opened import OpenedEvent

TEA = bytes(range(256)) * 3000


@pytest.fixture
async def town(real: RealServer, tmp_path: Path) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        yield Town(real, tmp_path, stack)


async def test_a_file_in_an_encrypted_room_is_encrypted(town: Town, tmp_path: Path) -> None:
    alice, bob = await town.device("alice"), await town.device("bob")
    room_id = await alice.create_room(invite=[bob.user_id], encrypted=True)
    await bob.join(room_id)
    picture = tmp_path / "tea.png"
    picture.write_bytes(TEA)
    for content in (picture, TEA):
        event_id = await alice.send_file(room_id, content, file_name="tea.png", caption="Tea", info={"w": 1, "h": 1})
        await bob.sync()
        event = await bob.event(room_id, event_id)
        assert isinstance(event, OpenedEvent)
        message = event["content"]
        assert (message["msgtype"], message["body"], message["filename"]) == ("m.image", "Tea", "tea.png")
        assert message["info"] == {"mimetype": "image/png", "size": len(TEA), "w": 1, "h": 1}
        assert "url" not in message
        async with bob.download(message["file"]["url"]) as download:
            assert TEA[:256] not in await download.read()
        assert await bob.read_file(message) == TEA
        await bob.save_file(message, tmp_path / "saved")
        assert (tmp_path / "saved").read_bytes() == TEA
        assert await bob.read_file({"info": {"thumbnail_file": message["file"]}}, thumbnail=True) == TEA


async def test_a_file_in_a_room_in_clear_is_in_clear(town: Town, tmp_path: Path) -> None:
    alice = await town.device("alice")
    room_id = await alice.create_room()
    event_id = await alice.send_file(room_id, b"words", file_name="words.txt")
    message = (await alice.event(room_id, event_id))["content"]
    assert message["msgtype"] == "m.file"
    assert "file" not in message
    assert await alice.read_file(message) == b"words"
    await alice.save_file(message, tmp_path / "words")
    assert (tmp_path / "words").read_bytes() == b"words"


async def test_a_file_that_was_swapped_is_not_used(town: Town, tmp_path: Path) -> None:
    alice = await town.device("alice")
    file = await alice.upload_encrypted(TEA)
    other = await alice.upload_encrypted(TEA)
    swapped = {"file": {**file, "url": other["url"]}}
    with pytest.raises(Forged):
        await alice.read_file(swapped)
    with pytest.raises(Forged):
        await alice.save_file(swapped, tmp_path / "tea")
    assert list(await trio.Path(tmp_path).glob("tea*")) == []


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"url": 7},
        {"file": {}},
        {"file": {"url": "mxc://localhost/x"}},
        {"file": "mxc://localhost/x"},
        {"info": {"thumbnail_url": "mxc://localhost/x"}},
    ],
)
async def test_a_message_without_a_proper_file_has_none(town: Town, message: dict[str, Any], tmp_path: Path) -> None:
    alice = await town.device("alice")
    with pytest.raises(Malformed):
        await alice.read_file(message)
    with pytest.raises(Malformed):
        await alice.save_file(message, tmp_path / "tea")


@pytest.mark.parametrize("mxc", ["mxc://localhost/../../secret", "mxc://localhost/a/b", "mxc://a?b/x", "mxc://"])
async def test_a_file_is_not_found_by_a_path_that_leads_elsewhere(town: Town, mxc: str) -> None:
    """CVE-2024-50336: the parts of an mxc:// URI are checked, and not just pasted into a path."""
    alice = await town.device("alice")
    file = await alice.upload_encrypted(b"tea")
    with pytest.raises(Malformed):
        await alice.read_file({"file": {**file, "url": mxc}})
