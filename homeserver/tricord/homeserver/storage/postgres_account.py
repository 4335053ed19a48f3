"""The account that PostgreSQL runs as: it refuses to run as root, and to work on what is not its own.

As root, it runs as an unprivileged user, who owns the database's folder.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

from tricord.homeserver.storage.errors import EmbeddedPostgresError

_log = structlog.get_logger(__name__)


def account_for(data: Path) -> pwd.struct_passwd | None:
    """Return the account that postgres runs as, or None if it runs as we do.

    It is the one that the data belongs to: accounts of these names may come and go with what else is installed.
    """
    if os.geteuid() != 0:
        return None
    owner = data.stat().st_uid if data.exists() else 0
    if owner:
        with contextlib.suppress(KeyError):
            return pwd.getpwuid(owner)
    for name in ("tricord", "postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise EmbeddedPostgresError("PostgreSQL refuses to run as root, and there is no user 'tricord' or 'nobody' for it")


def take_over(data: Path, account: pwd.struct_passwd | None) -> None:
    """See that the data is postgres's own and nobody else's, or it refuses to start: a copy may be neither."""
    if not data.exists():
        return
    status = data.stat()
    if account is not None and status.st_uid != account.pw_uid:
        _log.info("giving the database to the account that PostgreSQL runs as", folder=str(data), to=account.pw_name)
        for path in (data, *data.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    elif account is None and status.st_uid != os.geteuid():
        raise EmbeddedPostgresError(
            f"{data} belongs to another user, {_name_of(status.st_uid)}, and PostgreSQL works only on what is its own: "
            f"run this as that user, or as root: chown -R {_name_of(os.geteuid())} {data.parent.parent}"
        )
    if stat.S_IMODE(status.st_mode) & 0o027:
        data.chmod(0o700)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def as_account(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """Return what starts a process as the account."""
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def can_enter(path: Path, account: pwd.struct_passwd) -> bool:
    """Whether the account may go into a folder, and so into all above it."""
    for part in (path, *path.parents):
        status = part.stat()
        if status.st_uid == account.pw_uid:
            needed = stat.S_IXUSR
        elif status.st_gid == account.pw_gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True


@contextlib.contextmanager
def reached_by(account: pwd.struct_passwd | None, folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give the path by which the account reaches a folder of its own, and what its process must inherit for it.

    Below private folders (root's home, a temporary directory) that is an open descriptor, so that we need not open up
    folders that are not ours.
    """
    if account is None or can_enter(folder.parent, account):
        yield folder, {}
        return
    if sys.platform != "linux":
        raise EmbeddedPostgresError(
            f"PostgreSQL runs as user {account.pw_name!r}, who may not enter {folder.parent}: choose a data directory "
            "outside of private folders, or set database.url"
        )
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{descriptor}"), {"pass_fds": (descriptor,)}
    finally:
        os.close(descriptor)
