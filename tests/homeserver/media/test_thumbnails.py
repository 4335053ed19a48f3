"""Small images: their size and form, and what is refused."""

from __future__ import annotations

import contextlib
import errno
import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trio
from PIL import Image, ImageChops, ImageDraw, ImageOps, ImageStat

from tests.federation.servers import in_parts
from tests.homeserver.media.images import gif_of_many_frames, huge_webp, image, opened, png_bomb
from tests.homeserver.media.people import uploader
from tests.servers import running_homeserver
from tricord.homeserver.media import image_maker
from tricord.homeserver.media.image_maker import ImageMaker
from tricord.homeserver.media.past_cache import PastCache
from tricord.homeserver.media.settings import ThumbnailSettings
from tricord.homeserver.media.thumbnail_worker import Size
from tricord.homeserver.media.thumbnails import USUAL, Wanted, image_type
from tricord.protocol.errors import Unavailable
from tricord.protocol.media import parse_mxc


@pytest.fixture
async def alice(database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    patient = {"cpu_seconds": 20, "patience_seconds": 200, "max_pixels": 20_000_000}
    async with (
        running_homeserver(database_url, tmp_path, thumbnails=patient) as homeserver,
        uploader(homeserver.urls[0], "alice") as http,
    ):
        yield http


async def thumbnail(http: httpx.AsyncClient, data: bytes, width: int, height: int, **query: str) -> httpx.Response:
    """Upload an image, and ask for a small one."""
    uploaded = (await http.post("/_matrix/media/v3/upload", content=data, headers={"Content-Type": "image/png"})).json()
    mxc = parse_mxc(uploaded["content_uri"])
    path = f"/_matrix/client/v1/media/thumbnail/{mxc.server_name}/{mxc.media_id}"
    return await http.get(path, params={"width": width, "height": height, **query}, timeout=240)


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ((32, 32, "scale"), (320, 240)),
        ((320, 240, "scale"), (320, 240)),
        ((321, 10, "scale"), (640, 480)),
        ((1000, 1000, "scale"), (1600, 1200)),
        ((1600, 1600, "scale"), (1600, 1600)),
        ((9999, 5000, "scale"), (2400, 1500)),
        ((30, 30, "crop"), (32, 32)),
        ((96, 96, "crop"), (96, 96)),
        ((640, 480, "crop"), (640, 480)),
        ((100, 300, "crop"), (120, 320)),
        ((1, 100_000, "crop"), (300, 2400)),
    ],
)
def test_sizes_are_rounded_up_to_a_few(asked: tuple[int, int, str], made: tuple[int, int]) -> None:
    width, height, method = asked
    wanted = Wanted(width, height, "crop" if method == "crop" else "scale", animated=False).rounded()
    assert (wanted.width, wanted.height) == made


async def test_an_image_is_made_smaller(alice: httpx.AsyncClient) -> None:
    answer = await thumbnail(alice, image("JPEG", 2000, 1000), 300, 200)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"] == 'inline; filename="thumbnail.jpg"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert opened(answer.content).size == (320, 160)
    again = await thumbnail(alice, image("JPEG", 2000, 1000), 310, 190)
    assert again.headers["etag"] == answer.headers["etag"]


@pytest.mark.parametrize(
    ("kind", "mode", "made"),
    [
        ("PNG", "RGBA", "image/png"),
        ("PNG", "RGB", "image/jpeg"),
        ("PNG", "L", "image/jpeg"),
        ("PNG", "P", "image/jpeg"),
        ("PNG", "1", "image/jpeg"),
        ("PNG", "I;16", "image/jpeg"),
        ("JPEG", "CMYK", "image/jpeg"),
        ("GIF", "P", "image/jpeg"),
        ("WEBP", "RGB", "image/jpeg"),
    ],
)
async def test_four_formats_are_known_in_all_their_kinds(
    alice: httpx.AsyncClient, kind: str, mode: str, made: str
) -> None:
    answer = await thumbnail(alice, image(kind, 500, 500, mode=mode), 96, 96, method="crop")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == made
    assert opened(answer.content).size == (96, 96)


async def test_what_is_transparent_stays_so(alice: httpx.AsyncClient) -> None:
    output = io.BytesIO()
    Image.new("RGBA", (500, 400), (255, 0, 0, 100)).save(output, "PNG")
    answer = await thumbnail(alice, output.getvalue(), 96, 96, method="crop")
    assert answer.headers["content-type"] == "image/png"
    assert opened(answer.content).mode == "RGBA"


async def test_an_image_that_lies_on_its_side_is_turned(alice: httpx.AsyncClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    answer = await thumbnail(alice, image("JPEG", 1000, 500, exif=exif.tobytes()), 320, 240)
    assert opened(answer.content).size == (120, 240)
    assert not opened(answer.content).getexif()


async def test_no_image_is_made_larger(alice: httpx.AsyncClient) -> None:
    small = image("PNG", 60, 20)
    answer = await thumbnail(alice, small, 320, 240)
    assert answer.content == small
    assert answer.headers["content-type"] == "image/png"
    narrow = await thumbnail(alice, image("PNG", 60, 600), 320, 320, method="crop")
    assert opened(narrow.content).size == (60, 60)


async def test_an_animation_moves_only_if_that_is_wanted(alice: httpx.AsyncClient) -> None:
    data = image("GIF", 400, 300, mode="P", frames=4)
    moving = await thumbnail(alice, data, 96, 96, method="crop", animated="true")
    assert moving.headers["content-type"] == "image/webp"
    assert getattr(opened(moving.content), "n_frames", 1) == 4
    for answer in (await thumbnail(alice, data, 96, 96, animated="false"), await thumbnail(alice, data, 800, 600)):
        assert answer.status_code == 200
        assert getattr(opened(answer.content), "n_frames", 1) == 1


@pytest.mark.parametrize("bomb", [png_bomb, gif_of_many_frames, huge_webp])
async def test_a_bomb_does_not_go_off(alice: httpx.AsyncClient, bomb: object) -> None:
    assert callable(bomb)
    data = await trio.to_thread.run_sync(bomb)
    answer = await thumbnail(alice, data, 96, 96)
    assert (answer.status_code, answer.json()["errcode"]) in ((413, "M_TOO_LARGE"), (400, "M_UNKNOWN"))


def other_formats() -> list[bytes]:
    found = []
    for kind in ("EPS", "TIFF", "ICO", "BMP", "PDF", "PPM", "TGA"):
        output = io.BytesIO()
        Image.new("RGB", (64, 64)).save(output, kind)
        found.append(output.getvalue())
    return [
        *found,
        b"8BPS\0\1" + b"\0" * 200,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"",
        b"\x89PNG\r\n\x1a\nno",
    ]


async def test_other_formats_are_not_decoded_whatever_they_are_said_to_be(alice: httpx.AsyncClient) -> None:
    for data in other_formats():
        answer = await thumbnail(alice, data, 96, 96)
        assert (answer.status_code, answer.json()["errcode"]) == (400, "M_UNKNOWN"), data[:8]


@pytest.mark.parametrize(
    "query", [{}, {"width": "x", "height": "1"}, {"width": "-1", "height": "1"}, {"width": "0", "height": "0"}]
)
async def test_sizes_that_make_no_sense_are_refused(alice: httpx.AsyncClient, query: dict[str, str]) -> None:
    answer = await alice.get("/_matrix/client/v1/media/thumbnail/hs.test/any", params=query)
    assert answer.status_code == 400


def test_an_image_is_known_by_its_first_bytes() -> None:
    assert image_type(image("WEBP", 2, 2)[:16]) == "image/webp"
    assert image_type(b"RIFF1234WAVE") is None


async def test_who_asks_for_a_usual_size_has_all_of_them_made(alice: httpx.AsyncClient, tmp_path: Path) -> None:
    data = image("JPEG", 2000, 1500, quality=95)
    first = await thumbnail(alice, data, 96, 96, method="crop")
    assert opened(first.content).size == (96, 96)
    kept = sorted(
        opened(file.read_bytes()).size for file in (tmp_path / "media" / "blobs").rglob("*") if file.is_file()
    )
    assert kept == [(32, 32), (96, 96), (320, 240), (640, 480), (800, 600), (2000, 1500)]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("dimensions", [(1600, 1200), (2003, 1499), (1499, 2003), (801, 601)])
async def test_small_images_of_small_ones_look_like_those_of_the_large_one(
    kind: str, dimensions: tuple[int, int]
) -> None:
    data = image(kind, *dimensions)
    sizes = [Size(each.method, each.width, each.height) for each in USUAL]
    maker = ImageMaker(ThumbnailSettings(cpu_seconds=60))
    try:
        made = await maker.make(in_parts(data), sizes, animated=False)
    finally:
        await maker.aclose()
    assert list(made) == sizes[::-1]
    for size, found in made.items():
        assert found is not None
        whole = opened(data)
        if size.method == "crop":
            expected = ImageOps.fit(whole, (size.width, size.height), Image.Resampling.BICUBIC)
        else:
            expected = whole.resize(opened(found).size, Image.Resampling.BICUBIC)
        assert opened(found).size == expected.size
        difference = ImageStat.Stat(ImageChops.difference(opened(found), expected))
        assert max(difference.rms) < 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
async def test_what_is_cut_out_alone_keeps_its_fine_lines(kind: str) -> None:
    lines = Image.new("RGB", (1600, 1200), "white")
    for x in range(0, 3200, 40):
        ImageDraw.Draw(lines).line((x, 0, x - 1200, 1200), fill="black", width=14)
    output = io.BytesIO()
    lines.save(output, kind, quality=95)
    size = Size("crop", 160, 160)
    maker = ImageMaker(ThumbnailSettings(cpu_seconds=60))
    try:
        made = await maker.make(in_parts(output.getvalue()), [size], animated=False)
    finally:
        await maker.aclose()
    found = made[size]
    assert found is not None
    expected = ImageOps.fit(lines, (160, 160), Image.Resampling.BICUBIC)
    assert max(ImageStat.Stat(ImageChops.difference(opened(found), expected)).rms) < 20


# A decoder that makes the second of its sizes, says that the third is broken, and does not survive the fourth.
BREAKS = """
import os, sys
def prepare(): pass
def main(arguments):
    records = [bytes([1, 0, 0, 0, 0, 1]) + b"x", bytes([2, 4, 0, 0, 0, 0]), bytes([0, 0, 0, 0, 0, 2]) + b"ok"]
    sys.stdout.buffer.write(records[1] + records[2] + records[0] + bytes([3, 0, 0, 0, 1, 0]) + b"cut off")
    sys.stdout.buffer.flush()
    os.kill(os.getpid(), 9)
"""


async def test_a_size_that_cannot_be_made_takes_no_other_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(BREAKS)
    monkeypatch.setattr(image_maker, "_WORKER", worker)
    maker = ImageMaker(ThumbnailSettings(cpu_seconds=60))
    one, two, three, four = (Size("scale", each, each) for each in (1, 2, 3, 4))
    try:
        assert await maker.make(in_parts(b""), [one, two, three, four], animated=False) == {one: b"ok", two: b"x"}
    finally:
        await maker.aclose()


# A decoder that survives but one size.
BREAKS_ON_MANY = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("worker", WORKER)
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
prepare = worker.prepare
def main(arguments):
    if "," in arguments[0]:
        os.kill(os.getpid(), 9)
    return worker.main(arguments)
"""


async def test_what_is_too_much_together_is_made_alone(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(f"WORKER = {str(image_maker._WORKER)!r}\n{BREAKS_ON_MANY}")
    monkeypatch.setattr(image_maker, "_WORKER", worker)
    async with (
        running_homeserver(database_url, tmp_path, thumbnails={"patience_seconds": 200}) as homeserver,
        uploader(homeserver.urls[0], "alice") as http,
    ):
        for width, height in ((640, 480), (320, 240)):
            answer = await thumbnail(http, image("PNG", 2000, 1500), width, height)
            assert opened(answer.content).size == (width, height)


async def test_the_usual_sizes_are_made_ahead_where_that_is_wanted(database_url: str, tmp_path: Path) -> None:
    def made() -> int:
        return len([file for file in (tmp_path / "media" / "blobs").rglob("*") if file.is_file()])

    async with (
        running_homeserver(database_url, tmp_path, thumbnails={"made_at_upload": True}) as homeserver,
        uploader(homeserver.urls[0], "alice") as http,
    ):
        png = {"Content-Type": "image/png"}
        await http.post("/_matrix/media/v3/upload", content=b"no image", headers=png)
        await http.post("/_matrix/media/v3/upload", content=image("PNG", 2000, 1500), headers=png)
        with trio.fail_after(120):
            while made() < 2 + 5:  # noqa: ASYNC110  # a look at a folder is all there is
                await trio.sleep(0.05)
        assert made() == 2 + 5


async def test_an_image_that_the_store_has_lost_is_a_clear_error(alice: httpx.AsyncClient, tmp_path: Path) -> None:
    data = image("PNG", 300, 300)
    assert (await thumbnail(alice, data, 32, 32, method="crop")).status_code == 200
    uploaded = (await alice.post("/_matrix/media/v3/upload", content=data)).json()
    for file in (tmp_path / "media" / "blobs").rglob("*"):  # a few files
        if file.is_file():
            file.unlink()
    path = uploaded["content_uri"].removeprefix("mxc://")
    for kind in ("download", "thumbnail"):
        answer = await alice.get(f"/_matrix/client/v1/media/{kind}/{path}", params={"width": 96, "height": 96})
        assert (answer.status_code, answer.json()["errcode"]) == (503, "M_UNKNOWN")


async def test_a_spool_that_takes_nothing_in_is_a_clear_error(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if all buffers were lent: what is held in one needs no spool.
    monkeypatch.setattr(PastCache, "buffer", lambda _: contextlib.nullcontext())
    async with (
        running_homeserver(database_url, tmp_path) as homeserver,
        uploader(homeserver.urls[0], "alice") as http,
    ):
        png = {"Content-Type": "image/png"}
        uploaded = (await http.post("/_matrix/media/v3/upload", content=image("PNG", 900, 900), headers=png)).json()
        path = uploaded["content_uri"].removeprefix("mxc://")
        spool = tmp_path / "media" / "incoming"
        spool.mkdir(exist_ok=True)
        # Root may write anywhere, but not below a file.
        spool.rename(spool.with_name("aside"))
        spool.write_text("in the way")
        asked = httpx.QueryParams(width=500, height=500, method="crop")
        answer = await http.get(f"/_matrix/client/v1/media/thumbnail/{path}", params=asked, timeout=120)
        assert (answer.status_code, answer.json()["errcode"]) == (503, "M_UNKNOWN")
        assert "cannot take in files now" in answer.json()["error"]
        spool.unlink()
        answer = await http.get(f"/_matrix/client/v1/media/thumbnail/{path}", params=asked, timeout=120)
        assert opened(answer.content).size == (640, 640)


async def test_a_program_that_cannot_be_run_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> tuple[int, bytes]:
        raise OSError(errno.EMFILE, "too many open files")

    maker = ImageMaker(ThumbnailSettings())
    monkeypatch.setattr(maker._worker, "run", fails)
    with pytest.raises(Unavailable, match="cannot make thumbnails now"):
        await maker.make(in_parts(b""), [Size("crop", 32, 32)], animated=False)
