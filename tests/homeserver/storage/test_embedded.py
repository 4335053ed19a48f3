"""The embedded PostgreSQL: its life, and what is said when it cannot have one."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

from tests.postgres import FAST
from tricord.homeserver.storage import embedded, postgres_binaries
from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.embedded import embedded_postgres, running_url
from tricord.homeserver.storage.errors import EmbeddedPostgresError
from tricord.homeserver.storage.postgres_account import account_for, take_over
from tricord.homeserver.storage.postgres_binaries import installed_binaries

# What `tricord serve` does, as a process that can be killed: prints the URL, and waits.
SERVE = """
import sys, trio
from pathlib import Path
from tricord.homeserver.storage.embedded import embedded_postgres
async def main():
    async with embedded_postgres(Path(sys.argv[1]), options={"fsync": "off"}) as url:
        print(url, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, text=True)


async def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with trio.fail_after(60):
        return (await trio.to_thread.run_sync(read_url, process, abandon_on_cancel=True)).strip()


def read_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = ""
    while not line.startswith("postgresql://"):
        line = process.stdout.readline()
        assert line, "it ended"
    return line


async def value(url: str, sql: str) -> object:
    connection = await Connection.open(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.aclose()


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path, options=FAST) as url:
        assert str(await value(url, "SHOW server_version")) >= "18"
        await value(url, "CREATE TABLE kept AS SELECT 42 AS number")
        assert running_url(tmp_path) == url
    assert running_url(tmp_path) is None
    assert not (tmp_path / "data" / "postmaster.pid").exists()
    async with embedded_postgres(tmp_path, options=FAST) as url:
        assert await value(url, "SELECT number FROM kept") == 42
        assert await value(url, "SHOW synchronous_commit") == "on"
        assert await value(url, "SHOW listen_addresses") == ""


async def test_the_environment_does_not_move_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("PGPORT", "6543"), ("PGHOST", "/nowhere"), ("PGUSER", "nobody"), ("PGDATABASE", "nothing")):
        monkeypatch.setenv(name, text)
    async with embedded_postgres(tmp_path, options=FAST) as url:
        assert await value(url, "SELECT current_user || current_database()") == "tricordtricord"


async def test_a_second_process_on_the_same_folder_is_refused_in_words(tmp_path: Path) -> None:
    first = start(tmp_path)
    try:
        url = await url_of(first)
        assert running_url(tmp_path) == url
        with pytest.raises(EmbeddedPostgresError, match="in use by another process"):
            async with embedded_postgres(tmp_path, options=FAST):
                pass
        assert await value(url, "SELECT 1") == 1
    finally:
        first.terminate()
        first.wait()


async def test_it_dies_with_a_parent_that_was_killed_and_its_data_does_not(tmp_path: Path) -> None:
    first = start(tmp_path)
    url = await url_of(first)
    await value(url, "CREATE TABLE kept AS SELECT 42 AS number")
    postmaster = int((tmp_path / "data" / "postmaster.pid").read_text().split("\n")[0])
    first.kill()
    first.wait()
    async with embedded_postgres(tmp_path, options=FAST) as url:
        assert int((tmp_path / "data" / "postmaster.pid").read_text().split("\n")[0]) != postmaster
        assert await value(url, "SELECT number FROM kept") == 42


async def test_it_starts_after_a_power_cut_though_its_number_has_gone_to_another(tmp_path: Path) -> None:
    async with embedded_postgres(tmp_path, options=FAST) as url:
        await value(url, "CREATE TABLE kept AS SELECT 42 AS number")
    owner = (tmp_path / "data").stat()
    other = subprocess.Popen(["sleep", "60"], user=owner.st_uid, group=owner.st_gid)  # noqa: ASYNC220
    try:
        left = tmp_path / "data" / "postmaster.pid"
        left.write_text(f"{other.pid}\n{tmp_path / 'data'}\n1700000000\n5432\n{tmp_path / 'data'}\n\n 5 6\nready   \n")
        os.chown(left, owner.st_uid, owner.st_gid)
        async with embedded_postgres(tmp_path, options=FAST) as url:
            assert await value(url, "SELECT number FROM kept") == 42
    finally:
        other.kill()
        other.wait()


async def test_a_copy_that_was_made_while_it_ran_starts_beside_it(tmp_path: Path) -> None:
    backup = installed_binaries() / "bin" / "pg_basebackup"
    async with embedded_postgres(tmp_path / "server", options=FAST) as url:
        await value(url, "CREATE TABLE kept AS SELECT 42 AS number")
        sockets = Path(parse_qs(urlsplit(url).query)["host"][0])
        copy = tmp_path / "copy" / "data"
        copy.parent.mkdir()
        await trio.run_process(
            [backup, "-h", sockets, "-U", embedded.USER, "-D", copy, "-X", "stream", "-c", "fast"], capture_stderr=True
        )
        shutil.copyfile(sockets / ".s.PGSQL.5432.lock", copy / ".s.PGSQL.5432.lock")
        async with embedded_postgres(copy.parent, options=FAST) as copied:
            assert copied != url
            assert await value(copied, "SELECT number FROM kept") == 42


async def test_if_it_ends_the_block_ends_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"(?s)ended \(status .*received immediate shutdown"):
        await run_until_it_ends(tmp_path)


async def test_an_error_inside_the_block_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with embedded_postgres(tmp_path, options=FAST):
            raise ZeroDivisionError
    assert running_url(tmp_path) is None


async def test_starting_can_be_cancelled(tmp_path: Path) -> None:
    for seconds in (0, 0.05, 0.3, 0.6):
        with trio.move_on_after(seconds):
            async with embedded_postgres(tmp_path, options=FAST):
                pass
    async with embedded_postgres(tmp_path, options=FAST) as url:
        assert await value(url, "SELECT 1") == 1


async def test_data_of_another_major_version_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(EmbeddedPostgresError, match="was written by PostgreSQL 15, and PostgreSQL 18 is installed"):
        async with embedded_postgres(tmp_path, options=FAST):
            pass


async def test_options_that_postgresql_does_not_know_are_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match=r"(?s)did not start.*no_such_setting"):
        async with embedded_postgres(tmp_path, options=FAST | {"no_such_setting": "on"}):
            pass


async def test_a_folder_whose_path_is_too_long_for_a_socket_works_too(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("longer" * 20)
    async with embedded_postgres(folder, options=FAST) as url:
        assert await value(url, "SELECT 1") == 1
        assert running_url(folder) == url
        sockets = await socket_folder(url)
        assert folder not in sockets.parents
    assert not sockets.exists()


async def test_a_socket_folder_that_somebody_else_has_prepared_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 20) / ("longer" * 20)
    async with embedded_postgres(folder, options=FAST) as url:
        sockets = await socket_folder(url)
    trap = tmp_path / "trap"
    trap.mkdir()
    sockets.symlink_to(trap)
    try:
        with pytest.raises(EmbeddedPostgresError, match="belongs to somebody else"):
            async with embedded_postgres(folder, options=FAST):
                pass
    finally:
        sockets.unlink()
    assert trap.stat().st_uid == os.geteuid()


async def test_a_log_that_has_grown_large_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "postgres.log").write_bytes(b"x" * (11 << 20))
    async with embedded_postgres(tmp_path, options=FAST):
        assert (tmp_path / "postgres.log").stat().st_size < 1 << 20
    assert (tmp_path / "postgres.log.1").stat().st_size == 11 << 20


@pytest.fixture
def cache() -> Iterator[Path]:
    """A folder that everybody may enter, for copies of PostgreSQL."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone starts PostgreSQL as somebody else")
async def test_root_may_have_installed_it_where_nobody_else_may_look(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = installed_binaries().parent
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for part in (installed, installed.with_name(f"{installed.name}.libs")):
        shutil.copytree(part, private / part.name)
    await trio.run_process(["chmod", "-R", "go-rwx", private])
    monkeypatch.setattr(postgres_binaries, "_CACHE", cache)
    monkeypatch.setattr(postgres_binaries, "installed_binaries", lambda: private / installed.name / "pginstall")
    for _ in range(2):
        async with embedded_postgres(tmp_path / "server", options=FAST) as url:
            assert await value(url, "SELECT 1") == 1
        assert len(list(cache.iterdir())) == 1  # noqa: ASYNC240


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone starts PostgreSQL as somebody else")
@pytest.mark.parametrize(("owner", "runs_as"), [(0, None), (12_345, None), (pwd.getpwnam("daemon").pw_uid, "daemon")])
async def test_root_runs_what_was_copied_and_what_is_of_another_account(
    tmp_path: Path, owner: int, runs_as: str | None
) -> None:
    async with embedded_postgres(tmp_path / "first", options=FAST) as url:
        await value(url, "CREATE TABLE kept AS SELECT 42 AS number")
    copy = shutil.copytree(tmp_path / "first", tmp_path / "copy")
    for path in (copy / "data", *(copy / "data").rglob("*")):
        os.chown(path, owner, owner)
    (copy / "data").chmod(0o755)
    async with embedded_postgres(copy, options=FAST) as url:
        assert await value(url, "SELECT number FROM kept") == 42
        assert running_url(copy) == url
        account = account_for(copy / "data")
        assert account is not None
        assert account.pw_name == runs_as or (runs_as is None and account.pw_uid not in {0, owner})


def test_who_is_not_root_is_told_whose_the_data_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "data").stat().st_uid + 1)
    with pytest.raises(EmbeddedPostgresError, match=r"belongs to another user, .*: chown -R "):
        take_over(tmp_path / "data", account_for(tmp_path / "data"))


async def socket_folder(url: str) -> Path:
    return Path(str(await value(url, "SHOW unix_socket_directories")))


async def run_until_it_ends(folder: Path) -> None:
    async with embedded_postgres(folder, options=FAST | {"log_min_messages": "log"}):
        os.kill(int((folder / "data" / "postmaster.pid").read_text().split("\n")[0]), signal.SIGQUIT)
        await trio.sleep_forever()
