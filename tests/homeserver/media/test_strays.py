"""What the store has and the database does not know: found, left for a while, and deleted."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from tests.federation.servers import HandClock, in_parts
from tricord.homeserver.media.arrivals import Arrivals
from tricord.homeserver.media.blobs import BlobMissing, BlobStore, Label
from tricord.homeserver.media.deletion import Deletion
from tricord.homeserver.media.directory import DirectoryStore
from tricord.homeserver.media.repository import Description, Repository
from tricord.homeserver.media.settings import MediaSettings, MediaStoreSettings, RemoteMediaSettings
from tricord.homeserver.media.spool import Spool
from tricord.homeserver.media.strays import Strays
from tricord.homeserver.media.sweep import Sweep
from tricord.homeserver.media.uses import Uses
from tricord.homeserver.storage.database import Database, Transaction, open_database
from tricord.homeserver.storage.embedded import embedded_postgres
from tricord.homeserver.storage.errors import EmbeddedPostgresError
from tricord.homeserver.storage.migrations import migrate
from tricord.protocol.errors import Unavailable
from tricord.protocol.identifiers import ServerName, UserId
from tricord.protocol.media import Mxc

HERE = ServerName("hs.test")
ALICE = UserId("@alice:hs.test")
PLAIN = Description("text/plain", None)
HOUR, DAY = 3_600_000, 86_400_000


@dataclass
class House:
    """The parts that keep media, over any store."""

    folder: Path
    database: Database
    clock: HandClock
    store: BlobStore
    spool: Spool
    repository: Repository
    strays: Strays
    sweep: Sweep

    async def upload(self, data: bytes) -> Mxc:
        return await self.repository.upload(ALICE, PLAIN, in_parts(data), None)

    async def stray(self, data: bytes) -> bytes:
        """Put bytes into the store that no row knows."""
        async with self.spool.receive(in_parts(data), 1000) as spooled:
            await self.store.put(spooled.digest, spooled.file)
        return spooled.digest

    async def has(self, digest: bytes) -> bool:
        try:
            async with contextlib.aclosing(self.store.read(digest, 0, 1)) as parts:  # type: ignore[type-var]  # generators
                return bool(await anext(parts))
        except BlobMissing:
            return False


def house(database: Database, store: BlobStore, folder: Path, *, keep_days: int = 7) -> House:
    clock, spool, uses = HandClock(), Spool(folder / "incoming"), Uses(database, HandClock())
    repository = Repository(HERE, database, store, spool, Arrivals(database), uses, clock, MediaSettings())
    strays = Strays(database, store, clock, MediaStoreSettings(unknown_keep_days=keep_days))
    sweep = Sweep(HERE, database, store, spool, clock, MediaSettings(), RemoteMediaSettings())
    return House(folder, database, clock, store, spool, repository, strays, sweep)


async def rows_of(tx: Transaction, digests: Sequence[bytes]) -> int:
    count: int = await tx.fetchval("SELECT count(*) FROM media_blobs WHERE digest = ANY($1)", list(digests))
    return count


async def count_rows(tx: Transaction) -> int:
    count: int = await tx.fetchval("SELECT count(*) FROM media_blobs")
    return count


async def writers_of_postgresql(tx: Transaction) -> list[int]:
    rows = await tx.fetch(
        """
        SELECT pid FROM pg_stat_activity
        WHERE backend_type IN ('walwriter', 'background writer', 'checkpointer', 'autovacuum launcher')
        """
    )
    return [row[0] for row in rows]


async def forget_all(tx: Transaction) -> None:
    await tx.execute("DELETE FROM media")


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class SlowStore(DirectoryStore):
    """A store that can be stopped in the middle of a deletion, and whose pages are small."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reached, self.goes_on = trio.Event(), trio.Event()
        self.goes_on.set()
        self.deleted: list[bytes] = []
        self.put_takes: tuple[HandClock, int] | None = None
        self.pages_until_killed = 1000

    async def put(self, digest: bytes, file: Path, label: Label | None = None) -> None:
        if self.put_takes is not None:
            clock, milliseconds = self.put_takes
            clock.now += milliseconds
        await super().put(digest, file, label)

    async def delete(self, digest: bytes) -> None:
        self.reached.set()
        await self.goes_on.wait()
        self.deleted.append(digest)
        await super().delete(digest)

    async def digests(self, after: bytes = b"") -> AsyncIterator[Sequence[bytes]]:
        async with contextlib.aclosing(super().digests(after)) as pages:  # type: ignore[type-var]  # generators
            found = [digest async for page in pages for digest in page]
        for digest in found:
            if not self.pages_until_killed:
                raise ConnectionAbortedError
            self.pages_until_killed -= 1
            yield [digest]


@pytest.fixture
async def slow(database: Database, tmp_path: Path) -> House:
    return house(database, SlowStore(tmp_path / "blobs"), tmp_path)


async def test_what_no_row_knows_is_deleted_after_some_days(
    database: Database, store: BlobStore, tmp_path: Path
) -> None:
    ours = house(database, store, tmp_path)
    await ours.upload(b"named")
    # An upload under way: its bytes are there, and not named yet.
    async with ours.spool.receive(in_parts(b"claimed"), 100) as claimed:
        await ours.repository.keep(claimed, PLAIN)
    stray = await ours.stray(b"stray")

    assert await ours.strays.look() >= 1
    assert await ours.strays.look() == 0
    ours.clock.now += HOUR // 2
    await ours.sweep.sweep()
    assert [await ours.has(each) for each in (stray, claimed.digest, sha256(b"named"))] == [True, True, True]
    ours.clock.now += 6 * DAY
    assert await ours.strays.look() == 0
    await ours.sweep.sweep()
    assert [await ours.has(each) for each in (stray, claimed.digest, sha256(b"named"))] == [True, False, True]
    ours.clock.now += 2 * DAY
    await ours.sweep.sweep()
    assert [await ours.has(each) for each in (stray, sha256(b"named"))] == [False, True]
    assert await database.read(rows_of, [stray]) == 0
    await store.delete(sha256(b"named"))


async def test_what_is_brought_again_stays(slow: House) -> None:
    stray = await slow.stray(b"tea")
    assert await slow.strays.look() == 1
    mxc = await slow.upload(b"tea")
    slow.clock.now += 30 * DAY
    await slow.sweep.sweep()
    assert await slow.has(stray)
    found = await slow.repository.known(mxc)
    assert found is not None
    assert found.digest == stray


async def test_files_of_others_are_left_alone(slow: House) -> None:
    named = await slow.upload(b"tea")
    blobs = slow.folder / "blobs"
    for name in ("lost+found/x", "ab/cd/readme", "ab/cd/" + "ab" * 32, "ab/cd/" + "ABCD" * 16, "readme"):
        (blobs / name).parent.mkdir(parents=True, exist_ok=True)
        (blobs / name).write_bytes(b"")
    assert await slow.strays.look() == 0
    assert await slow.repository.known(named) is not None


async def test_nothing_is_looked_for_if_the_operator_does_not_want_it(database: Database, tmp_path: Path) -> None:
    ours = house(database, DirectoryStore(tmp_path / "blobs"), tmp_path, keep_days=0)
    stray = await ours.stray(b"tea")
    await ours.strays.run()
    assert await database.read(rows_of, [stray]) == 0


async def test_who_is_killed_is_followed_where_it_was(slow: House) -> None:
    for number in range(4):
        await slow.stray(b"%d" % number)
    assert isinstance(slow.store, SlowStore)
    slow.store.pages_until_killed = 3
    with pytest.raises(ConnectionAbortedError):
        await slow.strays.look()
    slow.store.pages_until_killed = 1000
    assert await slow.strays.look() == 0, "it may still be at it"
    slow.clock.now += HOUR
    assert await slow.strays.look() == 1
    slow.clock.now += HOUR
    assert await slow.strays.look() == 0
    assert await slow.database.read(count_rows) == 4


async def test_one_of_several_deletes_and_nothing_late_hits_what_is_brought_again(slow: House) -> None:
    assert isinstance(slow.store, SlowStore)
    await slow.upload(b"tea")
    await slow.database.run(forget_all)
    slow.clock.now += 2 * HOUR
    slow.store.goes_on = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.sweep.sweep)
        await slow.store.reached.wait()
        # Another process sweeps meanwhile, and leaves it to the first.
        other = SlowStore(slow.folder / "blobs")
        assert await Deletion(slow.database, other, slow.clock).delete_unnamed(claimed_before=slow.clock.now_ms()) == 0
        assert not other.deleted
        slow.store.goes_on.set()
    mxc = await slow.upload(b"tea")
    assert await slow.has(sha256(b"tea"))
    assert await slow.repository.known(mxc) is not None


async def test_a_deletion_whose_process_was_killed_is_made_by_another(slow: House) -> None:
    assert isinstance(slow.store, SlowStore)
    await slow.upload(b"tea")
    await slow.database.run(forget_all)
    slow.clock.now += 2 * HOUR
    slow.store.goes_on = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.sweep.sweep)
        await slow.store.reached.wait()
        nursery.cancel_scope.cancel()
    slow.store.goes_on.set()
    await slow.sweep.sweep()
    assert await slow.has(sha256(b"tea"))
    slow.clock.now += HOUR
    await slow.sweep.sweep()
    assert not await slow.has(sha256(b"tea"))
    assert await slow.database.read(count_rows) == 0


async def test_what_the_store_takes_too_long_for_is_not_named(slow: House) -> None:
    assert isinstance(slow.store, SlowStore)
    slow.store.put_takes = slow.clock, HOUR
    with pytest.raises(Unavailable, match="took too long"):
        await slow.upload(b"tea")
    slow.store.put_takes = None
    await slow.upload(b"tea")


async def test_bytes_whose_claim_was_lost_with_postgresql_are_found(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError):
        await _upload_until_postgresql_is_killed(tmp_path)
    async with embedded_postgres(tmp_path / "postgres") as url, open_database(url) as database:
        ours = house(database, DirectoryStore(tmp_path / "blobs"), tmp_path)
        assert await database.read(rows_of, [sha256(b"acknowledged")]) == 1
        assert await database.read(rows_of, [sha256(b"interrupted")]) == 0
        assert await ours.has(sha256(b"interrupted"))
        assert await ours.strays.look() == 1
        ours.clock.now += 8 * DAY
        await ours.sweep.sweep()
        assert await ours.has(sha256(b"acknowledged"))
        assert not await ours.has(sha256(b"interrupted"))


async def _upload_until_postgresql_is_killed(folder: Path) -> None:
    async with embedded_postgres(folder / "postgres") as url:
        await migrate(url)
        async with open_database(url) as database:
            ours = house(database, DirectoryStore(folder / "blobs"), folder)
            # Those who would write to the disk what nobody waits for.
            writers = await database.read(writers_of_postgresql)
            for writer in writers:
                os.kill(writer, signal.SIGSTOP)
            await ours.upload(b"acknowledged")
            async with ours.spool.receive(in_parts(b"interrupted"), 100) as spooled:
                await ours.repository.keep(spooled, PLAIN)
            assert await database.read(count_rows) == 2
            postmaster = int((folder / "postgres" / "data" / "postmaster.pid").read_text().split("\n")[0])
            for each in (postmaster, *writers):
                os.kill(each, signal.SIGKILL)
            await trio.sleep_forever()
