"""What pages say of themselves, and where nobody is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.federation.web import Host, Seen, hosting, reply
from tests.homeserver.media.images import image
from tests.homeserver.media.people import uploader
from tests.servers import PROCESSES, running_homeserver

PREVIEW = "/_matrix/client/v1/media/preview_url"
ON_LOOPBACK = {"allowed_hosts": ["127.0.0.1"], "allowed_addresses": ["127.0.0.0/8"]}
PAGE = """
<!doctype html><html><head><title> Tea
 &amp; cake </title><meta property="og:image" content="/cake.png"><meta name="description" content="All about tea">
<meta property="og:title" content="Tea &amp; cake!"><script>document.write("<title>no</title>")</script></head>
<body><nav><p>menu</p></nav><p>First words.</p></body></html>
"""


@asynccontextmanager
async def person(
    database_url: str, folder: Path, settings: dict[str, Any] = ON_LOOPBACK
) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running_homeserver(database_url, folder, url_previews=settings) as homeserver,
        uploader(homeserver.urls[0], "alice") as http,
    ):
        yield http


def site(**pages: tuple[str, bytes]) -> Callable[[Seen], bytes]:
    """Return what answers with some pages, by the names of their paths."""

    def answer(seen: Seen) -> bytes:
        name = seen.target.strip("/").partition(".")[0]
        if name not in pages:
            return reply(b"nothing", status=404)
        content_type, body = pages[name]
        return reply(body, f"Content-Type: {content_type}")

    return answer


async def preview(http: httpx.AsyncClient, host: Host, path: str) -> dict[str, Any]:
    answer = await http.get(PREVIEW, params={"url": f"http://127.0.0.1:{host.port}/{path}"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_page_tells_of_itself(database_url: str, tmp_path: Path) -> None:
    picture = image("PNG", 20, 10)
    pages = site(tea=("text/html; charset=utf-8", PAGE.encode()), cake=("image/png", picture))
    async with person(database_url, tmp_path) as http, hosting(Host(answer=pages)) as host:
        found = await preview(http, host, "tea")
        assert found["og:title"] == "Tea & cake!"
        assert found["og:description"] == "All about tea"
        assert (found["og:image:type"], found["matrix:image:size"]) == ("image/png", len(picture))
        assert (found["og:image:width"], found["og:image:height"]) == (20, 10)
        path = found["og:image"].removeprefix("mxc://")
        assert (await http.get(f"/_matrix/client/v1/media/download/{path}")).content == picture
        asked = len(host.seen)
        assert await preview(http, host, "tea") == found
        assert len(host.seen) == asked


@pytest.mark.parametrize(
    ("content_type", "body", "title", "words"),
    [
        ("text/html", b"<title>T</title><p>Some <b>words</b>.", "T", "Some words ."),
        ("text/html; charset=iso-8859-1", "<title>Größe</title>".encode("latin-1"), "Größe", None),
        ("text/html", b'<meta charset="iso-8859-1"><title>Gr\xf6\xdfe</title>', "Größe", None),
        ("text/html; charset=none", "<title>Größe</title>".encode(), "Größe", None),
        ("text/html", b'<meta name="twitter:title" content="bird"><p>' + b"x" * 900, "bird", "x" * 500),
        ("text/html", b"<title>deep</title>" + b"<div>" * 300_000, "deep", None),
        ("text/html", b"\xff\xfe\0" * 1000, None, None),
        ("application/json", b"{}", None, None),
        ("video/mp4", b"x" * 100_000, None, None),
        ("image/png", b"no image at all", None, None),
        ("image/svg+xml", b"<svg/>", None, None),
    ],
)
async def test_pages_of_all_kinds(
    database_url: str, tmp_path: Path, content_type: str, body: bytes, title: str | None, words: str | None
) -> None:
    pages = site(page=(content_type, body))
    async with person(database_url, tmp_path) as http, hosting(Host(answer=pages)) as host:
        found = await preview(http, host, "page")
        assert found.get("og:title") == title
        assert found.get("og:description") == words
        assert "og:image" not in found


async def test_what_a_page_does_not_say_its_oembed_does(database_url: str, tmp_path: Path) -> None:
    page = b'<link rel="alternate" type="application/json+oembed" href="/embed.json"><title>plain</title>'
    embed = b'{"title": "from oEmbed", "thumbnail_url": "THUMBNAIL", "html": "<script>"}'
    async with person(database_url, tmp_path) as http, hosting(Host()) as host:
        embed = embed.replace(b"THUMBNAIL", f"http://127.0.0.1:{host.port}/small.png".encode())
        host.answer = site(
            video=("text/html", page), embed=("application/json", embed), small=("image/png", image("PNG", 2, 2))
        )
        found = await preview(http, host, "video")
        assert found["og:title"] == "from oEmbed"
        assert found["og:image"].startswith("mxc://")


async def test_an_image_that_oembed_describes_is_shown(database_url: str, tmp_path: Path) -> None:
    page = b'<link rel="alternate" type="application/json+oembed" href="/embed.json">'
    embed = b'{"type": "photo", "title": "Tea", "provider_name": "Cups", "url": "/large.png", "thumbnail_url": 5}'
    pages = site(photo=("text/html", page), embed=("application/json", embed), large=("image/png", image("PNG", 9, 8)))
    async with person(database_url, tmp_path) as http, hosting(Host(answer=pages)) as host:
        found = await preview(http, host, "photo")
        assert (found["og:title"], found["og:site_name"], found["og:image:width"]) == ("Tea", "Cups", 9)


async def test_a_page_that_is_not_there_is_not_asked_again_and_again(database_url: str, tmp_path: Path) -> None:
    async with person(database_url, tmp_path) as http, hosting(Host(answer=site())) as host:
        for _ in range(3):
            answer = await http.get(PREVIEW, params={"url": f"http://127.0.0.1:{host.port}/no"})
            assert (answer.status_code, answer.json()["errcode"]) == (404, "M_NOT_FOUND")
        # Each process remembers it for itself.
        assert len(host.seen) <= PROCESSES


FORBIDDEN_HOSTS = [
    *("127.0.0.1", "[::1]", "0.0.0.0", "169.254.169.254", "[::ffff:10.0.0.1]", "[::ffff:127.0.0.1]"),  # noqa: S104
    *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "2130706433", "0x7f.1", "localhost", "localhost."),
]


async def test_no_page_of_our_own_networks_is_asked(database_url: str, tmp_path: Path) -> None:
    async with person(database_url, tmp_path, {"allowed_hosts": ["*"]}) as http, hosting(Host()) as host:
        for name in FORBIDDEN_HOSTS:
            answer = await http.get(PREVIEW, params={"url": f"http://{name}:{host.port}/"})
            assert (answer.status_code, answer.json()["errcode"]) in ((403, "M_FORBIDDEN"), (404, "M_NOT_FOUND")), name
        for url in ("file:///etc/passwd", "gopher://127.0.0.1", "http://", "//x", "javascript:alert(1)", "http://a b/"):
            assert (await http.get(PREVIEW, params={"url": url})).status_code in (403, 404), url
        assert host.connections == 0


async def test_no_redirect_and_no_image_leads_where_a_page_may_not_be(database_url: str, tmp_path: Path) -> None:
    async with hosting(Host()) as inner, hosting(Host()) as outer:
        inside = f"http://localhost:{inner.port}/"

        def answer(seen: Seen) -> bytes:
            if seen.target == "/redirect":
                return reply(b"", f"Location: {inside}", status=302)
            page = f'<title>t</title><meta property="og:image" content="{inside}">'
            return reply(page.encode(), "Content-Type: text/html")

        outer.answer = answer
        async with person(database_url, tmp_path) as http:
            url = f"http://127.0.0.1:{outer.port}/redirect"
            assert (await http.get(PREVIEW, params={"url": url})).status_code == 403
            assert await preview(http, outer, "page") == {"og:title": "t"}
        assert inner.connections == 0


async def test_previews_are_made_only_where_that_is_allowed(database_url: str, tmp_path: Path) -> None:
    async with person(database_url, tmp_path, {}) as http:
        answer = await http.get(PREVIEW, params={"url": "https://example.org/"})
        assert (answer.status_code, answer.json()["errcode"]) == (403, "M_FORBIDDEN")
