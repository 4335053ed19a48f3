"""What can go wrong with the database, in our own words.

Exception
└── DatabaseError              the statement failed; `sqlstate` says why, where the server told
    ├── DatabaseUnavailable    no connection, or no room on its disk; trying again later may help
    ├── UniqueViolation        a row with this key is already there; `constraint` names the rule
    ├── SerializationFailure   the transaction lost against another and may simply be run again
    │   └── SchemaChanged      … because a table is no longer what it was when its statement was prepared
    ├── DatabaseTooNew         the schema was written by a newer version of Tricord
    └── EmbeddedPostgresError  the embedded PostgreSQL cannot be started
"""

from __future__ import annotations


class DatabaseError(Exception):
    """A statement failed, or the database cannot be used."""

    def __init__(self, message: str, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DatabaseUnavailable(DatabaseError):
    """There is no connection to the database, it broke while in use, or the database takes nothing more."""


class UniqueViolation(DatabaseError):
    """A row with this key is already there."""

    def __init__(self, message: str, *, constraint: str) -> None:
        super().__init__(message, sqlstate="23505")
        self.constraint = constraint


class SerializationFailure(DatabaseError):
    """The transaction lost against another one (deadlock or serialization) and may be run again."""


class SchemaChanged(SerializationFailure):
    """A prepared statement is of the time before a change of the schema; a new connection knows nothing of that."""


class DatabaseTooNew(DatabaseError):
    """The schema has migrations that this version of Tricord does not know."""


class EmbeddedPostgresError(DatabaseError):
    """The embedded PostgreSQL cannot be started; the message says what to do."""
