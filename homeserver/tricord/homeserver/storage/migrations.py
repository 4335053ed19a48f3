"""The schema, as numbered files that run once, in order, whoever starts first.

`schema/NNNN_name.sql` runs in a transaction of its own together with the note that it ran. A start holds a lock while
it migrates, so that several processes may start at once. Expand first, contract a release later: the version before
must still run on the schema after.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from tricord.homeserver.storage.connection import Connection
from tricord.homeserver.storage.errors import DatabaseError, DatabaseTooNew, DatabaseUnavailable

_SCHEMA = Path(__file__).with_name("schema")
_NAME = re.compile(r"^(\d{4})_\w+\.sql$")
# Any number will do, as long as nothing else takes an advisory lock with it.
_LOCK = 0x7472_6963_6F72_6401
_OLDEST = 14
_VERSION = "SELECT current_setting('server_version_num')::integer / 10000"
_NOT_ALLOWED = "42501"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of the schema."""

    number: int
    name: str
    sql: str


def known_migrations() -> list[Migration]:
    """Return the migrations of this version, in order."""
    found = []
    for file in _SCHEMA.iterdir():
        match = _NAME.match(file.name)
        if match:
            found.append(Migration(int(match[1]), file.name, file.read_text(encoding="utf-8")))
    return sorted(found, key=lambda migration: migration.number)


async def migrate(url: str, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Bring the schema up to date and return the names of the files that ran.

    Raises DatabaseTooNew if the database has migrations that are not known here, and DatabaseError if it is none that
    could have them.
    """
    if migrations is None:
        migrations = known_migrations()
    connection = await Connection.open(url, application_name="tricord migration")
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        if not await connection.fetchval("SELECT to_regclass('schema_migrations')::text"):
            await _begin(connection)
        rows = await connection.fetch("SELECT number, name FROM schema_migrations")
        done = {row["number"]: row["name"] for row in rows}
        unknown = sorted(name for number, name in done.items() if number not in {m.number for m in migrations})
        if unknown:
            raise DatabaseTooNew(
                f"the database was written by a newer version of Tricord (it has {', '.join(unknown)}); "
                "install that version or a newer one"
            )
        ran = []
        for migration in migrations:
            if migration.number in done:
                continue
            try:
                async with connection.transaction():
                    await connection.execute(migration.sql)
                    await connection.execute(
                        "INSERT INTO schema_migrations (number, name) VALUES ($1, $2)", migration.number, migration.name
                    )
            except DatabaseUnavailable:
                raise
            except DatabaseError as error:
                raise DatabaseError(f"{migration.name} failed: {error}", sqlstate=error.sqlstate) from error
            _log.debug("schema changed", migration=migration.name)
            ran.append(migration.name)
        return ran
    finally:
        # Closing the session also gives the lock back.
        await connection.aclose()


async def _begin(connection: Connection) -> None:
    """Begin the schema of a new database, if it is one that can hold it."""
    version, number = await connection.fetchval("SHOW server_version"), await connection.fetchval(_VERSION)
    if number < _OLDEST:
        raise DatabaseError(f"PostgreSQL {version} is too old: upgrade it to {_OLDEST} or newer")
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise DatabaseError(
            f"the database's encoding is {encoding}, in which not everything can be said: make a new one with "
            "CREATE DATABASE tricord ENCODING 'UTF8' TEMPLATE template0"
        )
    try:
        await connection.execute(
            """
            CREATE TABLE schema_migrations (
                number integer PRIMARY KEY, name text NOT NULL, ran_at timestamptz NOT NULL DEFAULT now()
            )
            """
        )
    except DatabaseError as error:
        if error.sqlstate == _NOT_ALLOWED:
            raise DatabaseError(
                f"{error}: let the user of database.url own the database, with ALTER DATABASE … OWNER TO …",
                sqlstate=error.sqlstate,
            ) from error
        raise
