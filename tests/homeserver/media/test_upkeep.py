"""What operators do about media, and what goes by itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from tests.federation.servers import HandClock, in_parts
from tricord.homeserver.media.administration import MediaAdministration
from tricord.homeserver.media.arrivals import Arrivals
from tricord.homeserver.media.blobs import Held, Label, StoreUnavailable
from tricord.homeserver.media.directory import DirectoryStore
from tricord.homeserver.media.past_cache import PastCache
from tricord.homeserver.media.repository import Description, Repository
from tricord.homeserver.media.settings import MediaSettings, RemoteMediaSettings
from tricord.homeserver.media.spool import Spool
from tricord.homeserver.media.sweep import Sweep
from tricord.homeserver.media.uses import Uses
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.media import StoredMedia, claim_and_insert_media, claim_blob, insert_media
from tricord.homeserver.storage.media_upkeep import erase_uploads
from tricord.protocol.errors import NotFound, Unavailable
from tricord.protocol.identifiers import ServerName, UserId
from tricord.protocol.media import Mxc

HERE, THERE = ServerName("hs.test"), ServerName("there.test")
ALICE, BOB = UserId("@alice:hs.test"), UserId("@bob:hs.test")
PLAIN = Description("text/plain", None)
HOUR, DAY = 3_600_000, 86_400_000


class FussyStore(DirectoryStore):
    """A store that can be out of order, or lose its connection just before it says that something is deleted."""

    broken = False
    breaks_off = False
    after_put: Callable[[], Awaitable[object]] | None = None
    """Done once when something was put from memory."""

    async def put(self, digest: bytes, file: Path, label: Label | None = None) -> None:
        if self.broken:
            raise StoreUnavailable("it is out of order")
        await super().put(digest, file, label)

    async def delete(self, digest: bytes) -> None:
        if self.broken:
            raise StoreUnavailable("it is out of order")
        await super().delete(digest)
        if self.breaks_off:
            raise StoreUnavailable("it has gone away")

    async def put_held(self, held: Held) -> bool:
        if self.broken:
            raise StoreUnavailable("it is out of order")
        is_put = await super().put_held(held)
        if self.after_put is not None:
            await self.after_put()
            self.after_put = None
        return is_put


@dataclass
class Archive:
    """The parts that keep media."""

    folder: Path
    clock: HandClock
    store: FussyStore
    spool: Spool
    repository: Repository
    holding: Repository
    """The same, where uploads are held in memory."""
    administration: MediaAdministration
    sweep: Sweep
    uses: Uses

    @property
    def files(self) -> int:
        return len([file for file in self.folder.rglob("*") if file.is_file()])

    async def upload(self, data: bytes, user_id: UserId = ALICE) -> Mxc:
        return await self.repository.upload(user_id, PLAIN, in_parts(data), None)

    async def fetched(self, media_id: str, data: bytes) -> Mxc:
        mxc = Mxc(THERE, media_id)
        async with self.spool.receive(in_parts(data), 1000) as spooled:
            await self.repository.keep_foreign(mxc, spooled, PLAIN)
        return mxc

    async def is_there(self, mxc: Mxc) -> bool:
        try:
            return await self.repository.known(mxc) is not None
        except NotFound:
            return False


@pytest.fixture
async def archive(database: Database, tmp_path: Path) -> Archive:
    clock, store, spool = HandClock(), FussyStore(tmp_path / "blobs"), Spool(tmp_path / "incoming")
    uses, local, remote = Uses(database, clock), MediaSettings(keep_days=0), RemoteMediaSettings(cache_bytes=50)
    repository, holding = (
        Repository(HERE, database, store, each, Arrivals(database), uses, clock, local)
        for each in (spool, Spool(tmp_path / "incoming", PastCache()))
    )
    sweep = Sweep(HERE, database, store, spool, clock, local, remote)
    administration = MediaAdministration(HERE, database, store, clock)
    return Archive(tmp_path, clock, store, spool, repository, holding, administration, sweep, uses)


async def test_what_is_quarantined_is_seen_under_no_name(archive: Archive) -> None:
    one, other = await archive.upload(b"bad"), await archive.upload(b"bad", BOB)
    good = await archive.upload(b"good")
    elsewhere = Mxc(THERE, "never-fetched")
    await archive.administration.quarantine([one, elsewhere], by="operator")
    assert [await archive.is_there(mxc) for mxc in (one, other, good)] == [False, False, True]
    with pytest.raises(NotFound):
        await archive.repository.known(elsewhere)
    again = await archive.upload(b"bad")
    assert not await archive.is_there(again)
    assert (await archive.administration.usage()).quarantined == 2
    await archive.administration.release([one, elsewhere])
    assert [await archive.is_there(mxc) for mxc in (one, other, again)] == [True] * 3
    assert await archive.repository.known(elsewhere) is None


async def test_what_is_erased_is_gone_unless_somebody_else_has_it_too(archive: Archive) -> None:
    shared, own = await archive.upload(b"shared"), await archive.upload(b"own")
    others = await archive.upload(b"shared", BOB)
    assert archive.files == 2
    assert await archive.administration.erase(await archive.administration.named([ALICE])) == 2
    assert archive.files == 1
    assert [await archive.is_there(mxc) for mxc in (shared, own, others)] == [False, False, True]
    assert await archive.administration.erase([others, others]) == 1
    assert archive.files == 0


async def test_quarantined_bytes_can_be_erased(archive: Archive) -> None:
    mxc = await archive.upload(b"bad")
    await archive.administration.quarantine([mxc], by="operator")
    archive.clock.now += 400 * DAY
    await archive.sweep.sweep()
    assert archive.files == 1
    await archive.administration.erase([mxc])
    assert archive.files == 0


async def test_the_uploads_of_who_is_erased_are_swept(archive: Archive, database: Database) -> None:
    own, shared, bad = [await archive.upload(data) for data in (b"own", b"shared", b"bad")]
    others = await archive.upload(b"shared", BOB)
    await archive.administration.quarantine([bad], by="operator")
    await database.run(erase_uploads, ALICE)
    assert [await archive.is_there(mxc) for mxc in (own, shared, others)] == [False, False, True]
    await archive.sweep.sweep()
    assert archive.files == 2
    # What nobody may see does not come back by being erased and brought again.
    assert not await archive.is_there(await archive.upload(b"bad", BOB))


async def test_bytes_without_a_name_are_swept(archive: Archive, database: Database) -> None:
    async with archive.spool.receive(in_parts(b"unnamed"), 100) as spooled:
        await archive.repository.keep(spooled, PLAIN)
    named = await archive.upload(b"named")
    await archive.sweep.sweep()
    assert archive.files == 2
    archive.clock.now += 2 * HOUR
    await archive.sweep.sweep()
    assert archive.files == 1
    assert await archive.is_there(named)


async def test_a_deletion_that_fails_is_made_later_and_waited_for(archive: Archive, database: Database) -> None:
    mxc = await archive.upload(b"tea")
    archive.store.broken = True
    with pytest.raises(StoreUnavailable):
        await archive.administration.erase([mxc])
    assert archive.files == 1
    archive.store.broken = False
    async with archive.spool.receive(in_parts(b"tea"), 100) as spooled:
        assert await database.run(claim_blob, spooled.digest, 3, archive.clock.now_ms()) == (False, None)
    archive.clock.now += 2 * HOUR
    await archive.sweep.sweep()
    assert archive.files == 0
    assert await archive.is_there(await archive.upload(b"tea"))


async def half_deleted(archive: Archive, data: bytes) -> None:
    """Leave bytes whose deletion has come as far as that they are gone; and let uploads be held in memory."""
    mxc = await archive.upload(data)
    archive.store.breaks_off = True
    with pytest.raises(StoreUnavailable):
        await archive.administration.erase([mxc])
    archive.store.breaks_off = False
    archive.clock.now += 2 * HOUR
    assert archive.files == 0
    archive.repository = archive.holding


async def test_an_upload_survives_a_deletion_that_ends_just_after_it_was_put(archive: Archive) -> None:
    await half_deleted(archive, b"tea")
    archive.store.after_put = archive.sweep.sweep
    mxc = await archive.upload(b"tea")
    assert archive.store.after_put is None
    assert archive.files == 1
    media = await archive.repository.known(mxc)
    assert media is not None
    assert media.digest is not None
    assert b"".join([part async for part in archive.repository.read(media.digest, 0, 3)]) == b"tea"
    # And nobody deletes it later.
    archive.clock.now += 2 * HOUR
    await archive.sweep.sweep()
    assert archive.files == 1


async def test_an_upload_that_cannot_be_put_again_leaves_no_name(archive: Archive) -> None:
    await half_deleted(archive, b"tea")

    async def sweep_and_break() -> None:
        await archive.sweep.sweep()
        archive.store.broken = True

    archive.store.after_put = sweep_and_break
    with pytest.raises(Unavailable):
        await archive.upload(b"tea")
    assert archive.files == 0
    assert (await archive.administration.usage()).local_files == 0


@pytest.mark.parametrize("name", [insert_media, claim_and_insert_media])
async def test_bytes_that_are_just_being_named_are_not_erased_with_another_name(
    archive: Archive, database: Database, name: Callable[[Transaction, StoredMedia], Awaitable[object]]
) -> None:
    erased = await archive.upload(b"tea")
    media = await archive.repository.known(erased)
    assert media is not None
    named = Mxc(HERE, "named")
    async with trio.open_nursery() as nursery, database.transaction() as tx:
        await name(tx, replace(media, mxc=named, uploader=BOB))
        nursery.start_soon(archive.administration.erase, [erased])
        waits = "SELECT true FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with database.session() as other:
            while not await other.fetchval(waits):  # noqa: ASYNC110  # PostgreSQL tells nobody
                await trio.sleep(0.01)
    assert [await archive.is_there(mxc) for mxc in (erased, named)] == [False, True]
    assert archive.files == 1
    # Nor are they kept from being named once more.
    assert await archive.is_there(await archive.upload(b"tea"))


async def test_an_upload_waits_for_a_deletion_that_has_not_ended(archive: Archive, database: Database) -> None:
    await half_deleted(archive, b"tea")
    was_put = trio.Event()

    async def note() -> None:
        was_put.set()

    archive.store.after_put = note
    uploaded = []

    async def upload() -> None:
        uploaded.append(await archive.upload(b"tea"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(upload)
        await was_put.wait()
        await archive.sweep.sweep()
    assert await archive.is_there(uploaded[0])
    assert archive.files == 1
    async with database.session() as tx:
        assert await tx.fetchval("SELECT doomed FROM media_blobs") is False


async def test_an_upload_that_is_held_is_named_with_all_that_is_known_of_it(archive: Archive) -> None:
    mxc = await archive.holding.upload(ALICE, Description("text/plain", "tea.txt"), in_parts(b"tea"), None)
    known = await archive.repository.known(mxc)
    assert known is not None
    assert (known.size, known.content_type, known.file_name, known.uploader) == (3, "text/plain", "tea.txt", ALICE)
    assert known.digest == sha256(b"tea").digest()
    # What has no other name goes with it.
    await archive.administration.erase([mxc])
    assert archive.files == 0


async def test_a_claim_does_not_wait_for_the_disk_and_what_follows_does(database: Database) -> None:
    async with database.session() as tx:
        for _ in range(2):
            assert await claim_blob(tx, b"digest of tea", 3, 1) == (True, None)
            assert await tx.fetchval("SHOW synchronous_commit") == "on"
    async with database.transaction() as tx:
        await claim_blob(tx, b"digest of tea", 3, 1)
        assert await tx.fetchval("SHOW synchronous_commit") == "off"


async def test_a_store_that_is_out_of_order_leaves_no_media_without_bytes(archive: Archive) -> None:
    archive.store.broken = True
    with pytest.raises(Unavailable):
        await archive.upload(b"tea")
    usage = await archive.administration.usage()
    assert (usage.local_files, usage.stored_bytes) == (0, 3)
    assert archive.files == 0
    archive.store.broken = False
    archive.clock.now += 2 * HOUR
    await archive.sweep.sweep()
    assert (await archive.administration.usage()).stored_bytes == 0


async def test_what_was_fetched_goes_when_there_is_too_much_of_it(archive: Archive) -> None:
    mine = await archive.upload(b"m" * 100)
    fetched = []
    for number in range(4):
        archive.clock.now += 1000
        fetched.append(await archive.fetched(f"f{number}", bytes([number]) * 20))
    archive.clock.now += 1000
    archive.repository.note_use(fetched[0])
    await archive.uses.write()
    await archive.sweep.sweep()
    assert [await archive.is_there(mxc) for mxc in fetched] == [True, False, False, True]
    assert await archive.is_there(mine)
    archive.clock.now += 2 * HOUR
    await archive.sweep.sweep()
    assert archive.files == 3


async def test_what_was_fetched_goes_when_nobody_looks_at_it(archive: Archive) -> None:
    mine, old = await archive.upload(b"mine"), await archive.fetched("old", b"old")
    archive.clock.now += 60 * DAY
    new = await archive.fetched("new", b"new")
    archive.clock.now += 31 * DAY
    await archive.sweep.sweep()
    assert [await archive.is_there(mxc) for mxc in (mine, old, new)] == [True, False, True]
    await archive.administration.forget_remote(unused_days=1)
    assert [await archive.is_there(mxc) for mxc in (mine, new)] == [True, False]


async def test_an_announcement_runs_out(archive: Archive) -> None:
    mxc, expires = await archive.repository.announce(ALICE)
    archive.clock.now = expires + 1
    with pytest.raises(NotFound):
        await archive.repository.upload_announced(mxc, ALICE, PLAIN, in_parts(b"late"), None)
    await archive.sweep.sweep()
    assert not await archive.is_there(mxc)
