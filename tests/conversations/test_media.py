"""Files between servers: fetched once, kept, and refused where the other server lies or gives too much."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trio

from tests.conversations.network import Network
from tests.conversations.towns import Town, towns
from tests.federation.web import Host, Seen, hosting, reply
from tests.homeserver.media.images import image, opened
from tests.postgres import PostgresServer
from tests.servers import PROCESSES
from tricord.clients import Client
from tricord.federation.multipart import part_head
from tricord.protocol.identifiers import ServerName

EVIL = ServerName("evil.test")


async def bytes_of(client: Client, uri: str) -> bytes:
    async with client.download(uri) as download:
        return await download.read()


async def refusal_of(client: Client, uri: str) -> tuple[int, str]:
    """Return how a download is refused, at the first attempt."""
    path = f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
    async with httpx.AsyncClient(base_url=client.http.base_url, timeout=30) as http:
        answer = await http.get(path, headers={"Authorization": f"Bearer {client.http.access_token}"})
    return answer.status_code, answer.json()["errcode"]


def wrapped(headers: dict[str, str], data: bytes) -> bytes:
    body = part_head("b", {}) + b"{}\r\n" + part_head("b", headers) + data + b"\r\n--b--\r\n"
    return reply(body, "Content-Type: multipart/mixed; boundary=b")


@asynccontextmanager
async def with_evil(
    postgres: PostgresServer, folder: Path, answer: Callable[[Seen], bytes | Awaitable[bytes]]
) -> AsyncIterator[tuple[Town, Host, Network]]:
    network = Network()
    async with towns(postgres, folder, network, north=["alice"]) as (north,), hosting(Host(answer=answer)) as evil:
        network.urls[EVIL] = f"http://127.0.0.1:{evil.port}"
        yield north, evil, network


async def test_a_file_is_fetched_once_and_kept(postgres: PostgresServer, tmp_path: Path) -> None:
    network = Network()
    data = os.urandom(2_500_000)
    async with towns(postgres, tmp_path, network, north=["alice"], south=["bob"]) as (north, south):
        uri = await north["alice"].upload(data, content_type="image/png", file_name="tee und größe.png")
        found: list[bytes] = []

        async def look() -> None:
            found.append(await bytes_of(south["bob"], uri))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(look)
        assert found == [data] * 5
        network.part(north.name, south.name)
        async with south["bob"].download(uri) as download:
            assert download.content_type == "image/png"
            assert "filename*=UTF-8''tee%20und%20gr%C3%B6%C3%9Fe.png" in download.content_disposition
            assert await download.read() == data
        async with south["bob"].download(uri, first_byte=2_499_990) as download:
            assert await download.read() == data[-10:]
        asked = [uri for _, _, _, uri in network.requests if "/media/" in uri]
        # Until it is kept, each process fetches it for itself.
        assert 1 <= len(asked) <= PROCESSES


async def test_an_announced_file_is_waited_for_across_servers(postgres: PostgresServer, tmp_path: Path) -> None:
    async with towns(postgres, tmp_path, Network(), north=["alice"], south=["bob"]) as (north, south):
        created = await north["alice"].create_media()
        found: list[bytes] = []

        async def look() -> None:
            found.append(await bytes_of(south["bob"], created.content_uri))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await north["alice"].upload_created(created.content_uri, b"at last")
        assert found == [b"at last"]


async def test_what_is_not_there_is_not_asked_for_again_and_again(postgres: PostgresServer, tmp_path: Path) -> None:
    network = Network()
    async with towns(postgres, tmp_path, network, north=["alice"], south=["bob"]) as (north, south):
        for _ in range(3):
            assert await refusal_of(south["bob"], f"mxc://{north.name}/nothing") == (404, "M_NOT_FOUND")
        # Each process remembers it for itself.
        assert 1 <= len([uri for _, _, _, uri in network.requests if "/media/" in uri]) <= PROCESSES
        # Others get our own files here, and nobody else's.
        assert await refusal_of(north["alice"], f"mxc://{north.name}/nothing") == (404, "M_NOT_FOUND")


async def test_a_server_that_knows_only_the_old_endpoint_is_asked_by_it(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    def answer(seen: Seen) -> bytes:
        if seen.target.startswith("/_matrix/federation/"):
            return reply(b'{"errcode":"M_UNRECOGNIZED","error":"?"}', status=404)
        assert seen.target.startswith("/_matrix/media/v3/download/evil.test/old?")
        assert "allow_remote=false" in seen.target
        assert "authorization" not in seen.headers
        return reply(b"old", "Content-Type: text/plain", 'Content-Disposition: inline; filename="old.txt"')

    async with (
        with_evil(postgres, tmp_path, answer) as (north, _, _),
        north["alice"].download("mxc://evil.test/old") as download,
    ):
        assert await download.read() == b"old"
        assert download.content_disposition == 'inline; filename="old.txt"'


async def test_a_file_may_be_somewhere_else(postgres: PostgresServer, tmp_path: Path) -> None:
    def answer(seen: Seen) -> bytes:
        assert seen.target.endswith("?timeout_ms=20000")
        return wrapped({"Location": "https://cdn.example/file"}, b"")

    def store(seen: Seen) -> bytes:
        assert "authorization" not in seen.headers
        return reply(b"from there", "Content-Type: image/png")

    async with with_evil(postgres, tmp_path, answer) as (north, _, network), hosting(Host(answer=store)) as place:
        network.places["https://cdn.example/file"] = f"http://127.0.0.1:{place.port}/file"
        assert await bytes_of(north["alice"], "mxc://evil.test/a") == b"from there"
        network.places.clear()
        assert (await refusal_of(north["alice"], "mxc://evil.test/b"))[0] == 502


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"{}"),
        reply(b"x", "Content-Type: multipart/mixed"),
        reply(b"--b\r\n\r\n{}\r\n--b--", "Content-Type: multipart/mixed; boundary=b"),
        reply(b"--b\r\n\r\n{}\r\n--b\r\n\r\nhalf of i", "Content-Type: multipart/mixed; boundary=b"),
        wrapped({"Content-Type": "text/plain"}, b"x").replace(b"--b--", b"--c--"),
        reply(b"", status=302),
        reply(b"", status=500),
    ],
)
async def test_half_a_file_is_none(postgres: PostgresServer, tmp_path: Path, answer: bytes) -> None:
    def cut_short(_: Seen) -> bytes:
        return answer

    async with with_evil(postgres, tmp_path, cut_short) as (north, _, _):
        assert (await refusal_of(north["alice"], "mxc://evil.test/a"))[0] in (404, 502)
        assert not [file for file in (tmp_path / "north" / "media").rglob("*") if file.is_file()]


async def test_a_hostile_description_harms_nobody(postgres: PostgresServer, tmp_path: Path) -> None:
    headers = {"Content-Type": "text/html; a=\x01", "Content-Disposition": 'inline; filename="../../x"'}

    async with (
        with_evil(postgres, tmp_path, lambda _: wrapped(headers, b"<script>")) as (north, _, _),
        north["alice"].download("mxc://evil.test/page") as download,
    ):
        assert download.content_type == "application/octet-stream"
        assert download.content_disposition == 'attachment; filename="_.._x"'


async def test_a_file_that_is_too_large_is_not_taken(postgres: PostgresServer, tmp_path: Path) -> None:
    def answer(seen: Seen) -> bytes:
        del seen
        body = part_head("b", {}) + b"{}\r\n" + part_head("b", {"Content-Type": "image/png"})
        return reply(body + b"x" * 3_000_000, "Content-Type: multipart/mixed; boundary=b")

    network = Network()
    async with (
        towns(postgres, tmp_path, network, {"remote_media": {"max_file_bytes": 1_000_000}}, north=["alice"]) as (
            north,
        ),
        hosting(Host(answer=answer)) as evil,
    ):
        network.urls[EVIL] = f"http://127.0.0.1:{evil.port}"
        assert await refusal_of(north["alice"], "mxc://evil.test/a") == (502, "M_TOO_LARGE")


async def test_the_server_of_an_image_makes_it_small(postgres: PostgresServer, tmp_path: Path) -> None:
    network = Network()
    async with towns(postgres, tmp_path, network, north=["alice"], south=["bob"]) as (north, south):
        uri = await north["alice"].upload(image("JPEG", 1000, 1000), content_type="image/jpeg")
        for _ in range(2):
            async with south["bob"].thumbnail(uri, 90, 90, method="crop") as small:
                assert small.content_type == "image/jpeg"
                assert opened(await small.read()).size == (96, 96)
        assert ["/download/" in uri for _, _, _, uri in network.requests if "/media/" in uri] == [False]
        await bytes_of(south["bob"], uri)
        network.part(north.name, south.name)
        async with south["bob"].thumbnail(uri, 300, 200) as small:
            assert opened(await small.read()).size == (240, 240)


async def test_a_server_that_makes_none_gives_the_image_itself(postgres: PostgresServer, tmp_path: Path) -> None:
    large = image("PNG", 1000, 1000)

    def answer(seen: Seen) -> bytes:
        if "/thumbnail/" not in seen.target:
            return wrapped({"Content-Type": "image/png"}, large)
        if "/thumbnail/lies" in seen.target:
            return wrapped({"Content-Type": "image/png"}, b"<script>")
        return reply(b'{"errcode":"M_UNKNOWN","error":"no"}', status=400)

    async with with_evil(postgres, tmp_path, answer) as (north, _, _):
        for media_id in ("refuses", "lies"):
            async with north["alice"].thumbnail(f"mxc://evil.test/{media_id}", 96, 96, method="crop") as small:
                assert opened(await small.read()).size == (96, 96)
