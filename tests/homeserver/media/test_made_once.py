"""What several people ask for at the same time is made once, and fetched once, for all of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.federation.servers import HandClock, in_parts
from tests.federation.web import Host, hosting, reply
from tests.homeserver.late_answers import LateAnswers
from tests.homeserver.media.images import image
from tricord.federation.addresses import AllowedAddresses
from tricord.federation.dns import SystemDns
from tricord.federation.errors import PeerRefused
from tricord.federation.media import RemoteFile
from tricord.federation.way_out import WayOut
from tricord.homeserver.media.arrivals import Arrivals
from tricord.homeserver.media.directory import DirectoryStore
from tricord.homeserver.media.elsewhere import MediaElsewhere
from tricord.homeserver.media.image_maker import ImageMaker
from tricord.homeserver.media.repository import Description, Repository
from tricord.homeserver.media.settings import (
    MediaSettings,
    RemoteMediaSettings,
    ThumbnailSettings,
    UrlPreviewSettings,
)
from tricord.homeserver.media.single_hand import SingleHand
from tricord.homeserver.media.spool import Spool
from tricord.homeserver.media.sweep import Sweep
from tricord.homeserver.media.thumbnail_worker import Size
from tricord.homeserver.media.thumbnails import USUAL, Thumbnails, Wanted
from tricord.homeserver.media.url_previews import UrlPreviews
from tricord.homeserver.media.uses import Uses
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.media_thumbnails import thumbnail_of
from tricord.homeserver.storage.url_previews import preview_of
from tricord.protocol.errors import NotYetUploaded
from tricord.protocol.identifiers import ServerName, UserId
from tricord.protocol.media import Mxc

HERE, THERE = ServerName("hs.test"), ServerName("there.test")
ALICE = UserId("@alice:hs.test")
SMALL = image("PNG", 8, 8)
DAY = 86_400_000


class Maker(ImageMaker):
    """Makes the same small image of everything, and counts."""

    made = 0

    def __init__(self, settings: ThumbnailSettings) -> None:
        super().__init__(settings)
        self.begun, self.go = trio.Event(), trio.Event()
        self.go.set()

    async def make(
        self, parts: AsyncIterator[bytes], sizes: Sequence[Size], *, animated: bool
    ) -> dict[Size, bytes | None]:
        del parts, animated
        self.made += 1
        self.begun.set()
        await self.go.wait()
        return dict.fromkeys(sizes, SMALL)


@dataclass
class OtherServer:
    """Gives the same small image of everything, or none, and counts."""

    makes_thumbnails: bool = True
    is_uploaded: bool = True
    asked: int = 0
    patience: list[float] = field(default_factory=list)
    is_asked: trio.Event = field(default_factory=trio.Event)
    is_asked_again: trio.Event = field(default_factory=trio.Event)
    go: trio.Event = field(default_factory=trio.Event)

    @contextlib.asynccontextmanager
    async def thumbnail(self, _mxc: Mxc, **_: Any) -> AsyncIterator[RemoteFile]:
        self.asked += 1
        self.is_asked.set()
        await self.go.wait()
        if not self.makes_thumbnails:
            raise PeerRefused(THERE, 404, {"errcode": "M_NOT_FOUND"})
        yield RemoteFile({}, in_parts(SMALL))

    @contextlib.asynccontextmanager
    async def download(self, _mxc: Mxc, *, patience_seconds: float) -> AsyncIterator[RemoteFile]:
        self.asked += 1
        self.patience.append(patience_seconds)
        (self.is_asked_again if self.is_asked.is_set() else self.is_asked).set()
        if not self.is_uploaded:
            with trio.move_on_after(patience_seconds):
                await self.go.wait()
            raise PeerRefused(THERE, 504, {"errcode": "M_NOT_YET_UPLOADED"})
        await self.go.wait()
        yield RemoteFile({}, in_parts(SMALL))


@dataclass
class Archive:
    """The parts that keep media."""

    database: Database
    clock: HandClock
    spool: Spool
    repository: Repository
    sweep: Sweep
    maker: Maker
    thumbnails: Thumbnails
    server: OtherServer
    elsewhere: MediaElsewhere
    single_hand: SingleHand

    def previews(self, way_out: WayOut) -> UrlPreviews:
        settings = UrlPreviewSettings(allowed_hosts=["127.0.0.1"], keep_hours=24)
        return UrlPreviews(self.database, way_out, self.repository, self.spool, self.clock, settings)

    async def thumbnail(self, mxc: Mxc, wanted: Wanted) -> None:
        media = await self.repository.known(mxc)
        assert media is not None
        await self.thumbnails.of(media, wanted)


@pytest.fixture
async def archive(database: Database, tmp_path: Path) -> AsyncIterator[Archive]:
    archive = archive_in(database, tmp_path, OtherServer())
    yield archive
    await archive.single_hand.aclose()


@pytest.fixture
async def in_another_process(archive: Archive, tmp_path: Path) -> AsyncIterator[Archive]:
    """The same, with nothing in common but the database, the store and the other server."""
    another = archive_in(archive.database, tmp_path, archive.server)
    yield another
    await another.single_hand.aclose()


def archive_in(database: Database, folder: Path, server: OtherServer) -> Archive:
    clock, store, spool = HandClock(), DirectoryStore(folder / "blobs"), Spool(folder / "incoming")
    local, remote, settings = MediaSettings(), RemoteMediaSettings(), ThumbnailSettings()
    repository = Repository(HERE, database, store, spool, Arrivals(database), Uses(database, clock), clock, local)
    maker, hand = Maker(settings), SingleHand(database)
    thumbnails = Thumbnails(HERE, database, repository, spool, maker, clock, settings, hand)
    elsewhere = MediaElsewhere(server, repository, thumbnails, spool, remote, hand)  # type: ignore[arg-type]  # what it needs of one
    sweep = Sweep(HERE, database, store, spool, clock, local, remote)
    return Archive(database, clock, spool, repository, sweep, maker, thumbnails, server, elsewhere, hand)


@pytest.fixture
async def way_out() -> AsyncIterator[WayOut]:
    way_out = WayOut(SystemDns(), AllowedAddresses(["127.0.0.0/8"]))
    yield way_out
    await way_out.aclose()


async def one_looks_before_and_goes_on_after(
    late: LateAnswers, look: Callable[..., Awaitable[Any]], ask: Callable[[], Awaitable[Any]]
) -> None:
    """Let one find nothing, another have it made, and only then the first go on."""
    answer = late.next_of(look)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await answer.is_there.wait()
        await ask()
        answer.go.set()


async def large_image(archive: Archive) -> Mxc:
    return await archive.repository.upload(
        ALICE, Description("image/png", None), in_parts(image("PNG", 900, 900)), None
    )


@contextlib.asynccontextmanager
async def one_at_work(archive: Archive, mxc: Mxc) -> AsyncIterator[trio.Nursery]:
    """Have a process begin to make an image small; it goes on only once `maker.go` is set."""
    archive.maker.go = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(archive.thumbnail, mxc, USUAL[0])
        await archive.maker.begun.wait()
        yield nursery


async def test_an_image_is_made_small_once(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    mxc = await large_image(archive)
    late = LateAnswers(archive.database, monkeypatch)
    await one_looks_before_and_goes_on_after(late, thumbnail_of, lambda: archive.thumbnail(mxc, USUAL[0]))
    assert archive.maker.made == 1


async def test_an_image_is_made_small_once_whatever_sizes_are_wanted(archive: Archive) -> None:
    mxc = await large_image(archive)
    async with trio.open_nursery() as nursery:
        for wanted in USUAL:
            nursery.start_soon(archive.thumbnail, mxc, wanted)
    assert archive.maker.made == 1


async def test_an_image_is_made_small_by_one_process(archive: Archive, in_another_process: Archive) -> None:
    mxc = await large_image(archive)
    async with one_at_work(archive, mxc) as nursery:
        nursery.start_soon(in_another_process.thumbnail, mxc, USUAL[1])
        nursery.start_soon(in_another_process.thumbnail, mxc, USUAL[2])
        await trio.testing.wait_all_tasks_blocked()
        archive.maker.go.set()
    assert (archive.maker.made, in_another_process.maker.made) == (1, 0)


async def test_what_a_process_leaves_undone_another_does(archive: Archive, in_another_process: Archive) -> None:
    mxc = await large_image(archive)
    async with one_at_work(archive, mxc) as nursery:
        # Its connection ends with it.
        await archive.single_hand.aclose()
        await in_another_process.thumbnail(mxc, USUAL[0])
        assert in_another_process.maker.made == 1
        nursery.cancel_scope.cancel()


async def test_a_file_is_fetched_by_one_process(archive: Archive, in_another_process: Archive) -> None:
    mxc, found = Mxc(THERE, "file"), []

    async def ask(of: Archive) -> None:
        found.append(await of.elsewhere.fetch(mxc, 20))

    async with trio.open_nursery() as running:
        running.start_soon(archive.elsewhere.run)
        running.start_soon(in_another_process.elsewhere.run)
        async with trio.open_nursery() as asking:
            asking.start_soon(ask, archive)
            await archive.server.is_asked.wait()
            asking.start_soon(ask, in_another_process)
            await trio.testing.wait_all_tasks_blocked()
            archive.server.go.set()
        running.cancel_scope.cancel()
    assert [each.size for each in found] == [len(SMALL)] * 2
    assert archive.server.asked == 1


async def test_who_has_more_patience_is_not_told_what_another_was(archive: Archive) -> None:
    archive.server.is_uploaded = False
    mxc = Mxc(THERE, "file")

    async def ask(patience_seconds: float) -> None:
        with pytest.raises(NotYetUploaded):
            await archive.elsewhere.fetch(mxc, patience_seconds)

    async with trio.open_nursery() as running:
        running.start_soon(archive.elsewhere.run)
        async with trio.open_nursery() as asking:
            asking.start_soon(ask, 0.2)
            await archive.server.is_asked.wait()
            asking.start_soon(ask, 600)
            await archive.server.is_asked_again.wait()
            archive.server.go.set()
        running.cancel_scope.cancel()
    assert archive.server.patience[1] > 500


async def test_who_has_less_patience_does_not_wait_as_long_as_another(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tricord.homeserver.media.elsewhere._ANSWER_SECONDS", 0.1)
    archive.server.is_uploaded = False
    mxc = Mxc(THERE, "file")
    async with trio.open_nursery() as running:
        running.start_soon(archive.elsewhere.run)
        running.start_soon(archive.elsewhere.fetch, mxc, 600)
        await archive.server.is_asked.wait()
        for ask in (archive.elsewhere.fetch, archive.elsewhere.follow):
            with pytest.raises(NotYetUploaded):
                await ask(mxc, 0)
        running.cancel_scope.cancel()
    assert archive.server.asked == 1


@pytest.mark.parametrize("makes_thumbnails", [True, False])
async def test_another_server_is_asked_once_for_a_small_image(archive: Archive, makes_thumbnails: bool) -> None:
    archive.server.makes_thumbnails = makes_thumbnails
    mxc, found = Mxc(THERE, "image"), []

    async def ask() -> None:
        found.append(await archive.elsewhere.fetch_thumbnail(mxc, USUAL[1], 20))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
        await archive.server.is_asked.wait()
        archive.server.go.set()
    assert [each is not None for each in found] == [makes_thumbnails] * 5
    assert archive.server.asked == 1


async def test_a_page_is_asked_once(archive: Archive, way_out: WayOut, monkeypatch: pytest.MonkeyPatch) -> None:
    previews, late = archive.previews(way_out), LateAnswers(archive.database, monkeypatch)
    async with hosting(Host(answer=lambda _: reply(b"{}", "Content-Type: application/json"))) as host:
        url = f"http://127.0.0.1:{host.port}/"
        await one_looks_before_and_goes_on_after(late, preview_of, lambda: previews.preview(url))
        assert len(host.seen) == 1


async def test_images_of_a_page_go_when_they_are_old_however_often_it_is_asked(
    archive: Archive, way_out: WayOut
) -> None:
    previews, seen = archive.previews(way_out), set()
    async with hosting(Host(answer=lambda _: reply(SMALL, "Content-Type: image/png"))) as host:
        for _ in range(3):
            seen.add((await previews.preview(f"http://127.0.0.1:{host.port}/"))["og:image"])
            archive.clock.now += 2 * DAY
    names = [Mxc(HERE, uri.rpartition("/")[2]) for uri in seen]
    assert len(names) == 3
    await archive.sweep.sweep()
    assert [await archive.repository.known(name) is not None for name in names] == [True] * 3
    archive.clock.now += 31 * DAY
    await archive.sweep.sweep()
    assert [await archive.repository.known(name) for name in names] == [None] * 3
