"""The same of every store: a folder, S3, Google Cloud Storage, Azure."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import orjson
import pytest
import trio
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.homeserver.media.images import image
from tests.homeserver.media.people import uploader
from tests.servers import running_homeserver
from tricord.homeserver.assembly.media import media_administration_of, store_of
from tricord.homeserver.media.blobs import BlobMissing, BlobStore, StoreUnavailable
from tricord.homeserver.media.directory import DirectoryStore
from tricord.homeserver.media.settings import MediaStoreSettings
from tricord.homeserver.settings import Settings
from tricord.homeserver.settings_sources import SettingsError
from tricord.homeserver.storage.database import open_database


def files_in(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


async def kept(store: BlobStore, folder: Path, data: bytes) -> bytes:
    """Keep some bytes, and return their name."""
    file = folder / "incoming"
    file.write_bytes(data)
    digest = hashlib.sha256(data).digest()
    await store.put(digest, file)
    return digest


async def read(store: BlobStore, digest: bytes, start: int, end: int) -> bytes:
    return b"".join([part async for part in store.read(digest, start, end)])


@pytest.mark.parametrize("size", [0, 1, 300_000, 20_000_000])
async def test_what_is_put_can_be_read_whole_or_in_part(store: BlobStore, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    digest = await kept(store, tmp_path, data)
    assert await read(store, digest, 0, size) == data
    middle, end = size // 3, size // 3 * 2
    assert await read(store, digest, middle, end) == data[middle:end]
    assert await kept(store, tmp_path, data) == digest
    assert await read(store, digest, 0, size) == data


async def test_what_is_deleted_is_missing(store: BlobStore, tmp_path: Path) -> None:
    digest = await kept(store, tmp_path, b"soon gone")
    assert await store.has(digest)
    await store.delete(digest)
    await store.delete(digest)
    assert not await store.has(digest)
    with pytest.raises(BlobMissing):
        await read(store, digest, 0, 9)


async def test_what_is_kept_is_listed_in_order_from_any_name_on(store: BlobStore, tmp_path: Path) -> None:
    kept_now = sorted([await kept(store, tmp_path, b"listed %d" % number) for number in range(8)])
    listed = [digest async for page in store.digests() for digest in page]
    assert listed == sorted(listed)
    assert set(kept_now) <= set(listed)
    for after in (kept_now[3], kept_now[-1], b"\xff" * 32):
        rest = [digest async for page in store.digests(after) for digest in page]
        assert rest == [digest for digest in listed if digest > after]
    for digest in kept_now:
        await store.delete(digest)
    left = [digest async for page in store.digests() for digest in page]
    assert left == [digest for digest in listed if digest not in kept_now]


async def test_no_file_waits_for_folders_to_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "media" / "blobs"
    store = DirectoryStore(folder)
    synced: list[int] = []
    sync = os.fsync

    def note_sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note_sync)
    await store.prepare()
    assert sorted(each.name for each in folder.iterdir()) == [f"{number:02x}" for number in range(256)]
    assert synced == [above.stat().st_ino for above in (folder, folder.parent, tmp_path)]
    synced.clear()
    digest = await kept(store, tmp_path, b"a file")
    place = store.file_of(digest)
    assert set(synced) == {place.stat().st_ino, place.parent.stat().st_ino}
    # Somebody tidied up.
    place.unlink()
    place.parent.rmdir()
    assert await kept(store, tmp_path, b"a file") == digest
    assert await read(store, digest, 0, 6) == b"a file"


async def test_files_in_the_folders_of_before_are_found_listed_and_deleted(tmp_path: Path) -> None:
    ours = DirectoryStore(tmp_path / "blobs")
    older, newer = [await kept(ours, tmp_path, data) for data in (b"older", b"newer")]
    name = older.hex()
    folder = tmp_path / "blobs" / name[:2] / name[2:4]
    folder.mkdir()
    ours.file_of(older).rename(folder / name)
    assert await read(ours, older, 0, 5) == b"older"
    assert [digest async for page in ours.digests() for digest in page] == sorted([older, newer])
    assert await kept(ours, tmp_path, b"older") == older
    assert [digest async for page in ours.digests() for digest in page] == sorted([older, newer])
    await ours.delete(older)
    assert [digest async for page in ours.digests() for digest in page] == [newer]
    with pytest.raises(BlobMissing):
        await read(ours, older, 0, 5)


async def test_reading_may_be_given_up(store: BlobStore, tmp_path: Path) -> None:
    digest = await kept(store, tmp_path, os.urandom(5_000_000))
    parts = store.read(digest, 0, 5_000_000)
    assert await anext(parts)
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(parts)
    assert scope.cancelled_caught


async def test_a_homeserver_keeps_media_there(
    store_settings: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    data = os.urandom(2_000_000)
    async with (
        running_homeserver(database_url, tmp_path, media_store=store_settings) as homeserver,
        uploader(homeserver.urls[0], "alice") as http,
    ):
        uri = (await http.post("/_matrix/media/v3/upload", content=data)).json()["content_uri"]
        path = f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
        assert (await http.get(path)).content == data
        assert (await http.get(path, headers={"Range": "bytes=1500000-1500009"})).content == data[1_500_000:1_500_010]


async def test_what_operators_hide_or_delete_is_so_in_every_store(
    store_settings: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    async with (
        running_homeserver(database_url, tmp_path, media_store=store_settings) as homeserver,
        uploader(homeserver.urls[0], "alice") as http,
        open_database(database_url) as database,
    ):
        data = image("PNG", 400, 400)
        uri = (await http.post("/_matrix/media/v3/upload", content=data)).json()["content_uri"]
        path = uri.removeprefix("mxc://")
        paths = (f"download/{path}", f"thumbnail/{path}?width=96&height=96&method=crop")
        answers = [await http.get(f"/_matrix/client/v1/media/{each}") for each in paths]
        digests = [hashlib.sha256(answer.content).digest() for answer in answers]
        administration = media_administration_of(homeserver.settings, database)
        store = store_of(homeserver.settings)
        names = await administration.named([uri])

        await administration.quarantine(names, by="operator")
        for each in paths:
            assert (await http.get(f"/_matrix/client/v1/media/{each}")).status_code == 404
        await administration.release(names)
        for each, answer in zip(paths, answers, strict=True):
            assert (await http.get(f"/_matrix/client/v1/media/{each}")).content == answer.content

        assert await administration.erase(await administration.named(["@alice:hs.test"])) == 1
        for each, digest in zip(paths, digests, strict=True):
            assert (await http.get(f"/_matrix/client/v1/media/{each}")).status_code == 404
            with pytest.raises(BlobMissing):
                await read(store, digest, 0, 1)


async def test_downloads_are_redirected_to_a_store_that_can_give_the_same(
    store_settings: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    if store_settings["kind"] not in ("s3", "azure"):
        pytest.skip("it cannot, or our own imitation of it cannot")
    data, name = image("PNG", 300, 300), "tee ü.png"
    async with (
        running_homeserver(
            database_url,
            tmp_path,
            media_store={**store_settings, "redirect_seconds": 60},
            media={"downloads_without_token": True},
        ) as homeserver,
        uploader(homeserver.urls[0], "alice") as http,
        httpx.AsyncClient() as anybody,
    ):
        upload = "/_matrix/media/v3/upload"
        headers = {"Content-Type": "image/png"}
        answer = await http.post(upload, params={"filename": name}, content=data, headers=headers)
        path = answer.json()["content_uri"].removeprefix("mxc://")
        redirect = await http.get(f"/_matrix/client/v1/media/download/{path}")
        assert (redirect.status_code, redirect.headers["cache-control"]) == (307, "no-store")
        for wanted, status, part in (({}, 200, data), ({"Range": "bytes=10-19"}, 206, data[10:20])):
            given = await anybody.get(redirect.headers["location"], headers=wanted)
            assert (given.status_code, given.content) == (status, part)
            assert given.headers["content-type"] == "image/png"
            assert given.headers["content-disposition"].startswith("inline; filename=")
            assert given.headers["content-disposition"].endswith("filename*=UTF-8''tee%20%C3%BC.png")
        if store_settings["kind"] == "azure":  # moto believes everybody
            forged = redirect.headers["location"].replace("se=2", "se=3")
            assert (await anybody.get(forged)).status_code == 403

        # A small image goes there, too.
        redirect = await http.get(f"/_matrix/client/v1/media/thumbnail/{path}?width=96&height=96&method=crop")
        assert redirect.status_code == 307
        assert (await anybody.get(redirect.headers["location"])).headers["content-type"] == "image/jpeg"

        # The store would give it under another name, or as something else.
        assert (await http.get(f"/_matrix/client/v1/media/download/{path}/other.png")).content == data
        answer = await http.post(upload, content=data, headers={"Content-Type": "text/html"})
        page = answer.json()["content_uri"].removeprefix("mxc://")
        given = await http.get(f"/_matrix/client/v1/media/download/{page}")
        assert (given.status_code, given.headers["content-disposition"]) == (200, "attachment")

        # Old clients say whether they may be redirected.
        old = homeserver.urls[0] + f"/_matrix/media/v3/download/{path}"
        assert (await anybody.get(old)).content == data
        assert (await anybody.get(old, params={"allow_redirect": "true"})).status_code == 307


async def test_a_key_of_google_signs_without_asking_anybody() -> None:
    key = rsa.generate_private_key(65537, 2048)
    written = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    said = {"client_email": "us@project.example", "private_key": written.decode(), "private_key_id": "1"}
    settings = {"kind": "gcs", "bucket": "blobs", "secret_key": orjson.dumps(said).decode(), "redirect_seconds": 60}
    url = await store_of(Settings(media_store=MediaStoreSettings.model_validate(settings))).url_of(b"x" * 32)
    assert url is not None
    assert url.startswith("https://storage.googleapis.com/blobs/7878")
    assert "X-Goog-Expires=60" in url
    signature, signed = signed_for_google(url)
    key.public_key().verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())


def signed_for_google(url: str) -> tuple[bytes, bytes]:
    """Return the signature of a URL, and what it is to be of: nothing has yet been redirected to Google itself.

    https://cloud.google.com/storage/docs/authentication/canonical-requests
    """
    parts = urlsplit(url)
    query, _, signature = parts.query.partition("&X-Goog-Signature=")
    said = dict(parse_qsl(query, strict_parsing=True))
    in_order = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted(said.items()))
    request = f"GET\n{parts.path}\n{in_order}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    scope = said["X-Goog-Credential"].partition("/")[2]
    digest = hashlib.sha256(request.encode()).hexdigest()
    return bytes.fromhex(signature), f"GOOG4-RSA-SHA256\n{said['X-Goog-Date']}\n{scope}\n{digest}".encode()


async def test_a_store_that_does_not_answer_is_a_clear_error(database_url: str, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        settings = {"kind": "s3", "bucket": "b", "endpoint": url, "access_key": "k", "secret_key": "s", "region": "r"}
        async with (
            running_homeserver(database_url, tmp_path, media_store=settings) as homeserver,
            uploader(homeserver.urls[0], "alice") as http,
        ):
            answer = await http.post("/_matrix/media/v3/upload", content=b"x", timeout=120)
            assert (answer.status_code, answer.json()["errcode"]) == (503, "M_UNKNOWN")
            assert not files_in(tmp_path / "media")
        with pytest.raises(StoreUnavailable):
            await store_of(Settings(media_store=MediaStoreSettings.model_validate(settings))).delete(b"x" * 32)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "s3"}, "bucket must be given"),
        ({"kind": "gcs", "bucket": "b", "secret_key": "{}"}, "missing field"),
        (
            {"kind": "gcs", "bucket": "b", "endpoint": "https://storage.example", "redirect_seconds": "60"},
            "signed for storage.googleapis.com only",
        ),
        ({"kind": "directory", "redirect_seconds": "60"}, "nothing can be redirected to a directory"),
    ],
)
def test_settings_that_are_wrong_are_explained(wrong: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=f"media_store: .*{words}"):
        store_of(Settings(media_store=MediaStoreSettings.model_validate(wrong)))
