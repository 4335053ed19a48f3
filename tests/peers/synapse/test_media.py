"""Files that pass between Tricord and Synapse, both ways."""

from __future__ import annotations

import os

import pytest

from tests.homeserver.media.images import image, opened
from tricord.clients import Client, Refused

pytestmark = [pytest.mark.peer, pytest.mark.synapse]


async def test_a_file_passes_whole_with_its_name_and_type(alice: Client, bob: Client) -> None:
    data = os.urandom(1_500_000)
    uri = await alice.upload(data, content_type="video/mp4", file_name="tee und größe.mp4")
    for first_byte in (0, 1_499_000):
        async with bob.download(uri, first_byte=first_byte) as download:
            # Synapse gives the whole file, whatever part is asked for.
            assert data.endswith(await download.read())
            assert download.content_type == "video/mp4"
            assert "filename*=" in download.content_disposition.lower()
            assert "tee%20und%20gr%C3%B6%C3%9Fe.mp4" in download.content_disposition


async def test_an_image_is_shown_small(alice: Client, bob: Client) -> None:
    uri = await alice.upload(image("JPEG", 1200, 900), content_type="image/jpeg", file_name="tea.jpg")
    async with bob.thumbnail(uri, 96, 96, method="crop") as thumbnail:
        assert opened(await thumbnail.read()).size == (96, 96)
    async with bob.thumbnail(uri, 640, 480) as thumbnail:
        assert opened(await thumbnail.read()).size == (640, 480)
    async with bob.download(uri) as download:
        assert opened(await download.read()).size == (1200, 900)


async def test_a_file_that_comes_later_is_waited_for(alice: Client, bob: Client) -> None:
    created = await alice.create_media()
    await alice.upload_created(created.content_uri, b"later", content_type="text/plain")
    async with bob.download(created.content_uri) as download:
        assert await download.read() == b"later"


async def test_what_is_not_there_is_not_found(alice: Client, bob: Client) -> None:
    uri = await alice.upload(b"x")
    with pytest.raises(Refused) as refusal:
        async with bob.download(uri[:-4] + "none"):
            pass
    assert refusal.value.errcode == "M_NOT_FOUND"
