"""Uploading and downloading, over HTTP, by both protocols' ways through the server."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.federation.servers import in_parts
from tests.homeserver.media.people import uploader
from tests.servers import PASSWORD, SERVER_NAME, running_homeserver
from tricord.homeserver.storage.database import open_database
from tricord.homeserver.storage.media_upkeep import usage
from tricord.protocol.identifiers import ServerName
from tricord.protocol.media import parse_mxc

UPLOAD = "/_matrix/media/v3/upload"
DOWNLOAD = "/_matrix/client/v1/media/download/"


@asynccontextmanager
async def person(
    database_url: str, folder: Path, name: str = "alice", **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Run a homeserver, and give the HTTP client of somebody on it."""
    async with (
        running_homeserver(database_url, folder, media=settings) as homeserver,
        uploader(homeserver.urls[0], name) as http,
    ):
        yield http


def path_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    mxc = parse_mxc(answer.json()["content_uri"])
    return f"{DOWNLOAD}{mxc.server_name}/{mxc.media_id}"


def files_in(folder: Path) -> set[str]:
    return {file.name for file in folder.rglob("*") if file.is_file()}


async def test_what_is_uploaded_can_be_downloaded(database_url: str, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    async with person(database_url, tmp_path) as http:
        headers = {"Content-Type": "image/png"}
        path = path_of(await http.post(UPLOAD, params={"filename": "tea ü.png"}, content=data, headers=headers))
        answer = await http.get(path)
        assert answer.content == data
        assert answer.headers["content-length"] == "3000000"
        assert answer.headers["content-type"] == "image/png"
        assert (
            answer.headers["content-disposition"] == "inline; filename=\"tea ?.png\"; filename*=UTF-8''tea%20%C3%BC.png"
        )
        assert (await http.get(path + "/cake.png")).headers["content-disposition"] == 'inline; filename="cake.png"'
        head = await http.head(path)
        assert head.headers["content-length"] == "3000000"
        assert head.content == b""
        same = path_of(await http.post(UPLOAD, content=data))
        assert (await http.get(same)).headers["content-disposition"] == "attachment"
        assert files_in(tmp_path / "media") == {hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize("size", [1000, 300_000, 1 << 20, (1 << 20) + 1])
async def test_bytes_that_come_twice_are_kept_once(database_url: str, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    async with person(database_url, tmp_path) as http:
        paths = [path_of(await http.post(UPLOAD, content=content)) for content in (data, data, in_parts(data, 65_536))]
        assert len(set(paths)) == 3
        for path in paths:
            assert (await http.get(path)).content == data
        assert len(files_in(tmp_path / "media")) == 1


async def test_an_empty_file_is_a_file(database_url: str, tmp_path: Path) -> None:
    async with person(database_url, tmp_path) as http:
        path = path_of(await http.post(UPLOAD))
        assert (await http.get(path)).content == b""
        assert (await http.get(path, headers={"Range": "bytes=0-"})).status_code == 416


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "application/xhtml+xml"])
async def test_a_page_is_not_shown_in_place(database_url: str, tmp_path: Path, content_type: str) -> None:
    async with person(database_url, tmp_path) as http:
        path = path_of(await http.post(UPLOAD, content=b"<script>", headers={"Content-Type": content_type}))
        headers = (await http.get(path)).headers
        assert headers["content-disposition"] == "attachment"
        assert headers["content-security-policy"].startswith("sandbox; default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "cross-origin"


@pytest.mark.parametrize("name", ["../../x", "a\r\nX-Evil: 1", "a" * 10_000, "photo\u202egnp.exe"])
async def test_a_hostile_file_name_harms_nobody(database_url: str, tmp_path: Path, name: str) -> None:
    async with person(database_url, tmp_path) as http:
        answer = await http.get(path_of(await http.post(UPLOAD, params={"filename": name}, content=b"x")))
        assert answer.status_code == 200
        assert "x-evil" not in answer.headers
        assert len(answer.headers["content-disposition"]) < 1200
        assert all(len(name) == 64 for name in files_in(tmp_path / "media"))


@pytest.mark.parametrize(
    "path", ["hs.test/..%2f..%2fetc", "hs.test/%2e%2e", "hs.test/a%00b", "..%2f/a", "hs.test%2f..%2f/a", "hs.test/ä"]
)
async def test_a_name_that_leads_out_of_the_store_is_refused(database_url: str, tmp_path: Path, path: str) -> None:
    async with person(database_url, tmp_path) as http:
        answer = await http.get(DOWNLOAD + path)
        assert answer.status_code in (400, 404)
        assert answer.json()["errcode"]


async def test_a_player_jumps(database_url: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    async with person(database_url, tmp_path) as http:
        path = path_of(await http.post(UPLOAD, content=data, headers={"Content-Type": "video/mp4"}))
        part = await http.get(path, headers={"Range": "bytes=500000-500099"})
        assert part.status_code == 206
        assert part.content == data[500_000:500_100]
        assert part.headers["content-range"] == f"bytes 500000-500099/{len(data)}"
        assert (await http.get(path, headers={"Range": "bytes=-7"})).content == data[-7:]
        other = {"Range": "bytes=5-9", "If-Range": '"another"'}
        assert (await http.get(path, headers=other)).status_code == 200
        etag = part.headers["etag"]
        assert (await http.get(path, headers={"If-None-Match": etag})).status_code == 304


async def test_a_file_that_is_too_large_is_refused_and_not_kept(database_url: str, tmp_path: Path) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    async with person(database_url, tmp_path, max_upload_bytes=50_000) as http:
        assert (await http.get("/_matrix/client/v1/media/config")).json() == {"m.upload.size": 50_000}
        for content in (b"x" * 50_001, parts()):
            answer = await http.post(UPLOAD, content=content)
            assert (answer.status_code, answer.json()["errcode"]) == (413, "M_TOO_LARGE")
        path_of(await http.post(UPLOAD, content=b"x" * 50_000))
        assert len(files_in(tmp_path / "media")) == 1


async def test_uploads_of_one_user_are_bounded_together(database_url: str, tmp_path: Path) -> None:
    async with person(database_url, tmp_path, quota_bytes=1000) as http:
        path_of(await http.post(UPLOAD, content=b"x" * 600))
        for size in (401, 5000):
            answer = await http.post(UPLOAD, content=b"y" * size)
            assert (answer.status_code, answer.json()["errcode"]) == (403, "M_FORBIDDEN")
        path_of(await http.post(UPLOAD, content=b"y" * 400))


async def test_uploads_that_come_at_once_are_bounded_together(database_url: str, tmp_path: Path) -> None:
    statuses: list[int] = []
    all_have_begun = trio.Event()
    begun = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal begun
        begun += 1
        yield os.urandom(150)
        if begun == 10:
            all_have_begun.set()
        await all_have_begun.wait()
        yield os.urandom(150)

    async with person(database_url, tmp_path, quota_bytes=1000) as http:

        async def upload(announced: bool) -> None:
            place, how = UPLOAD, http.post
            if announced:
                mxc = parse_mxc((await http.post("/_matrix/media/v1/create")).json()["content_uri"])
                place, how = f"{UPLOAD}/{mxc.server_name}/{mxc.media_id}", http.put
            statuses.append((await how(place, content=parts())).status_code)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(upload, number % 2 == 0)
        assert sorted(statuses) == [200] * 3 + [403] * 7
        path_of(await http.post(UPLOAD, content=b"y" * 100))
        assert (await http.post(UPLOAD, content=b"y")).status_code == 403


async def test_uploads_that_fail_count_no_longer(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    in_the_way = tmp_path / "media" / "blobs"
    in_the_way.write_text("a store that cannot be written")
    async with person(database_url, tmp_path, quota_bytes=1000) as http:
        mxc = parse_mxc((await http.post("/_matrix/media/v1/create")).json()["content_uri"])
        place = f"{UPLOAD}/{mxc.server_name}/{mxc.media_id}"
        for _ in range(3):
            assert (await http.post(UPLOAD, content=b"x" * 600)).status_code == 503
            assert (await http.put(place, content=b"x" * 600)).status_code == 503
        in_the_way.unlink()
        assert (await http.put(place, content=b"x" * 600)).status_code == 200
        path_of(await http.post(UPLOAD, content=b"y" * 400))


async def test_nobody_uploads_or_downloads_without_a_token(database_url: str, tmp_path: Path) -> None:
    async with person(database_url, tmp_path) as http:
        path = path_of(await http.post(UPLOAD, content=b"x"))
        del http.headers["Authorization"]
        assert (await http.post(UPLOAD, content=b"x")).status_code == 401
        assert (await http.get(path)).status_code == 401
        old = await http.get(path.replace("/client/v1/media/", "/media/v3/"))
        assert (old.status_code, old.json()["errcode"]) == (404, "M_NOT_FOUND")


async def test_before_the_freeze_the_old_endpoints_ask_for_no_token(database_url: str, tmp_path: Path) -> None:
    async with person(database_url, tmp_path, downloads_without_token=True) as http:
        path = path_of(await http.post(UPLOAD, content=b"before"))
    old = path.replace("/client/v1/media/", "/media/v3/")
    async with person(database_url, tmp_path, "bob") as http:
        del http.headers["Authorization"]
        assert (await http.get(old)).content == b"before"
        assert (await http.get(old.replace("/v3/", "/r0/") + "/tea.txt")).content == b"before"


async def test_a_file_is_announced_and_uploaded_later(database_url: str, tmp_path: Path) -> None:
    async with person(database_url, tmp_path) as http, uploader(str(http.base_url), "bob") as bob:
        created = (await http.post("/_matrix/media/v1/create")).json()
        assert created["unused_expires_at"] > 0
        mxc = parse_mxc(created["content_uri"])
        path, place = f"{DOWNLOAD}{mxc.server_name}/{mxc.media_id}", f"{UPLOAD}/{mxc.server_name}/{mxc.media_id}"
        early = await bob.get(path, params={"timeout_ms": 0})
        assert (early.status_code, early.json()["errcode"]) == (504, "M_NOT_YET_UPLOADED")
        stranger = await bob.put(place, content=b"not his")
        assert (stranger.status_code, stranger.json()["errcode"]) == (403, "M_FORBIDDEN")

        async def wait_for_it() -> None:
            assert (await bob.get(path, params={"timeout_ms": 60_000})).content == b"here it is"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_it)
            assert (await http.put(place, content=b"here it is")).json() == {}
        again = await http.put(place, content=b"something else")
        assert (again.status_code, again.json()["errcode"]) == (409, "M_CANNOT_OVERWRITE_MEDIA")
        unknown = await http.put(f"{UPLOAD}/{mxc.server_name}/unknown", content=b"x")
        assert (unknown.status_code, unknown.json()["errcode"]) == (404, "M_NOT_FOUND")


async def test_announcements_are_bounded(database_url: str, tmp_path: Path) -> None:
    async with person(database_url, tmp_path, announced_uploads=2) as http:
        for _ in range(2):
            assert (await http.post("/_matrix/media/v1/create")).status_code == 200
        answer = await http.post("/_matrix/media/v1/create")
        assert (answer.status_code, answer.json()["errcode"]) == (429, "M_LIMIT_EXCEEDED")
        assert answer.json()["retry_after_ms"] > 0


async def test_an_upload_that_breaks_off_leaves_nothing(database_url: str, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    async def parts() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        raise Enough

    async with person(database_url, tmp_path) as http:
        with pytest.raises(Enough):
            await http.post(UPLOAD, content=parts())
        with trio.fail_after(60):
            while files_in(tmp_path / "media"):  # noqa: ASYNC110  # a look at a folder is all there is
                await trio.sleep(0.01)


async def test_a_store_that_cannot_be_written_is_a_clear_error(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    # Root may write anywhere, but not below a file.
    (tmp_path / "media" / "blobs").write_text("in the way")
    async with person(database_url, tmp_path) as http:
        answer = await http.post(UPLOAD, content=b"x")
        assert (answer.status_code, answer.json()["errcode"]) == (503, "M_UNKNOWN")
        assert "cannot keep files" in answer.json()["error"]


@pytest.mark.parametrize("by_quart", [False, True])
@pytest.mark.parametrize("http2", [False, True])
async def test_a_file_whose_rest_cannot_be_read_is_seen_to_be_broken(
    database_url: str, tmp_path: Path, by_quart: bool, http2: bool
) -> None:
    async with (
        running_homeserver(database_url, tmp_path, everything_by_quart=by_quart) as homeserver,
        uploader(homeserver.urls[0], "alice") as alice,
        httpx.AsyncClient(base_url=alice.base_url, http1=not http2, http2=http2, headers=alice.headers) as http,
    ):
        path = path_of(await http.post(UPLOAD, content=os.urandom(3_000_000)))
        (blob,) = [file for file in (tmp_path / "media" / "blobs").rglob("*") if file.is_file()]
        os.truncate(blob, 2_000_000)
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(path)
        assert (await http.get(path, headers={"Range": "bytes=0-9"})).status_code == 206


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may make a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_is_a_clear_error_and_loses_nothing(
    database_url: str, tmp_path: Path, small_disk: Path
) -> None:
    settings = {"folder": small_disk / "blobs"}
    async with (
        running_homeserver(database_url, tmp_path, media_store=settings) as homeserver,
        uploader(homeserver.urls[0], "alice") as http,
        open_database(database_url) as database,
    ):
        before = path_of(await http.post(UPLOAD, content=b"before" * 100_000))
        for length in (None, 4_000_000):
            data = os.urandom(4_000_000)
            answer = await http.post(UPLOAD, content=data if length else in_parts(data, 65_536))
            assert (answer.status_code, answer.json()["errcode"]) == (503, "M_UNKNOWN")
            assert "cannot take in files now" in answer.json()["error"]
        assert (await http.get(before)).content == b"before" * 100_000
        # Nothing is left of what did not fit, so that what fits is taken.
        after = path_of(await http.post(UPLOAD, content=b"after" * 100_000))
        assert (await http.get(after)).content == b"after" * 100_000
        used = await database.read(usage, ServerName(SERVER_NAME))
        assert (used.local_files, used.stored_bytes) == (2, 1_100_000)
        assert len(files_in(small_disk)) == 2


async def test_files_of_who_wants_to_be_erased_are_gone(database_url: str, tmp_path: Path) -> None:
    async with person(database_url, tmp_path) as http, uploader(str(http.base_url), "bob") as bob:
        path = path_of(await http.post(UPLOAD, content=b"tea"))
        assert (await bob.get(path)).content == b"tea"
        identifier = {"type": "m.id.user", "user": "alice"}
        auth = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        answer = await http.post("/_matrix/client/v3/account/deactivate", json={"auth": auth, "erase": True})
        assert answer.status_code == 200
        assert (await bob.get(path)).status_code == 404


@pytest.mark.parametrize("by_quart", [False, True])
@pytest.mark.parametrize("http2", [False, True])
async def test_files_go_all_ways_through_the_server(
    database_url: str, tmp_path: Path, by_quart: bool, http2: bool
) -> None:
    data = os.urandom(1_500_000)
    async with (
        running_homeserver(database_url, tmp_path, everything_by_quart=by_quart) as homeserver,
        uploader(homeserver.urls[0], "alice") as alice,
        httpx.AsyncClient(base_url=alice.base_url, http1=not http2, http2=http2, headers=alice.headers) as http,
    ):
        path = path_of(await http.post(UPLOAD, content=data, headers={"Content-Type": "video/mp4"}))
        for _ in range(2):
            answer = await http.get(path)
            assert answer.content == data
            assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
            assert answer.headers.get_list("content-length") == ["1500000"]
        part = await http.get(path, headers={"Range": "bytes=1000000-1000003"})
        assert (part.status_code, part.content) == (206, data[1_000_000:1_000_004])
        head = await http.head(path)
        assert (head.status_code, head.headers.get_list("content-length"), head.content) == (200, ["1500000"], b"")
        unchanged = await http.get(path, headers={"If-None-Match": head.headers["etag"]})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        async with http.stream("GET", path) as broken_off:
            await anext(broken_off.aiter_raw())
        assert (await http.get(path)).content == data
