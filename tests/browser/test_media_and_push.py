"""A real browser, with a client of the tests' own: what Element does with files and notifications on the first day."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
import trio

from tests.authority import Authority
from tests.browser.chromium import page
from tests.browser.push_service import push_service
from tests.browser.video import webm
from tests.federation.web import LOOPBACK, Host, Seen, hosting, reply
from tests.homeserver.media.images import image
from tests.servers import PASSWORD, running_homeserver, signed_in

pytestmark = pytest.mark.peer

_PAGE = Path(__file__).parent / "page"
_PATIENCE_SECONDS = 120


@asynccontextmanager
async def website(**files: bytes) -> AsyncIterator[str]:
    """Serve the page, and some files beside it, and give its origin."""

    def answer(seen: Seen) -> bytes:
        name = seen.target.lstrip("/") or "index.html"
        file = _PAGE / name
        data = files.get(name.partition(".")[0]) or (file.read_bytes() if file.is_file() else None)
        if data is None:
            return reply(b"", status=404)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return reply(data, f"Content-Type: {kind}", "Cache-Control: no-store")

    async with hosting(Host(answer=answer)) as host:
        yield f"http://{LOOPBACK}:{host.port}"


def said(*arguments: object) -> str:
    """Return arguments as a script has them."""
    return ", ".join(orjson.dumps(each).decode() for each in arguments)


async def test_a_browser_uploads_a_picture_and_shows_it_small(database_url: str, tmp_path: Path) -> None:
    async with (
        running_homeserver(database_url, tmp_path) as homeserver,
        signed_in(homeserver, "alice"),
        website(tea=image("PNG", 800, 600)) as origin,
        page(origin, tmp_path) as browser,
    ):
        await browser.run(f"client.signIn({said(homeserver.urls[0], 'alice', PASSWORD)})")
        uri = await browser.run(f"client.upload({said('tea.png', 'image/png', 'tee ü.png')})")
        seen = await browser.run(f"client.showThumbnail({said(uri, 96, 96)})")
    assert (seen["width"], seen["height"]) == (96, 96)
    red, green, blue, opacity = seen["colour"]
    assert abs(red - 127) < 20
    assert (red, opacity) == (green, 255) == (blue, 255)


async def test_a_browser_plays_a_video_from_where_one_likes(database_url: str, tmp_path: Path) -> None:
    video = webm(60, 640, 480)
    async with (
        running_homeserver(database_url, tmp_path) as homeserver,
        signed_in(homeserver, "alice"),
        website(film=video) as origin,
        page(origin, tmp_path) as browser,
    ):
        await browser.run(f"client.signIn({said(homeserver.urls[0], 'alice', PASSWORD)})")
        uri = await browser.run(f"client.upload({said('film.webm', 'video/webm', 'film.webm')})")
        played = await browser.run(f"client.playVideo({said(uri, 50)})")
        asked = await browser.run("client.heard('media')")
    assert (played["duration"], played["width"], played["height"]) == (60, 640, 480)
    assert played["at"] > 50
    assert {each["status"] for each in asked} == {206}
    starts = [int(each["range"].removeprefix("bytes=").partition("-")[0]) for each in asked]
    assert starts[0] == 0
    # It jumped over what lies between.
    assert starts[-1] > len(video) // 2


async def test_a_browser_is_notified_of_what_is_said(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "ca").mkdir()
    authority = Authority(tmp_path / "ca")
    federation = {"trusted_ca": authority.certificate, "allowed_addresses": [f"{LOOPBACK}/32"]}
    async with (
        push_service(lambda: authority.tls_for(LOOPBACK, "localhost")) as service,
        running_homeserver(database_url, tmp_path, federation=federation) as homeserver,
        signed_in(homeserver, "alice") as alice,
        signed_in(homeserver, "bob") as bob,
        website() as origin,
        page(origin, tmp_path, *service.options) as browser,
    ):
        room = await bob.create_room(name="Tea", preset="public_chat")
        await alice.join(room)
        await browser.run(f"client.signIn({said(homeserver.urls[0], 'alice', PASSWORD)})")
        await browser.run(f"client.subscribe({said(f'https://{LOOPBACK}:{service.web.port}')})")
        sent = await bob.send_text(room, "The kettle is on")
        with trio.fail_after(_PATIENCE_SECONDS):
            (heard,) = await browser.run("client.heard('push')")
        shown = await browser.run("client.notifications()")
    assert heard["pushed"]["event_id"] == sent
    assert heard["pushed"]["content"]["body"] == "The kettle is on"
    assert shown == [{"title": "Tea", "body": "The kettle is on"}]
    (taken,) = service.taken
    assert b"kettle" not in taken.body
