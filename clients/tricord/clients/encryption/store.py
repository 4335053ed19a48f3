"""What a device must not forget, in one SQLite file: a step of the machine is one transaction.

Secrets and the state of ratchets are encrypted with a random data key, each bound to its row. With a passphrase the
data key is itself encrypted (scrypt, AES-GCM). Without one it lies in the same file, which nobody else may read.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from tricord.clients.encryption.errors import StoreError, StoreInUse, WrongPassphrase
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64

_SCHEMA = Path(__file__).parent / "schema"
# Pickles are sealed like everything else: their own encryption, which has no nonce, is given no key.
PICKLE_KEY = bytes(32)

_NONCE_BYTES = 12
_KEY_BYTES = 32
# 64 MiB and about a fifth of a second for each guess.
_SCRYPT = {"n": 1 << 16, "r": 8, "p": 1}


class Store:
    """One device's memory. Everything that changes it stands in `with store.transaction():`."""

    def __init__(self, path: str | Path | None, *, passphrase: str | None = None) -> None:
        """Open the store in a file, or make it; without a path it is kept in memory only.

        Raises StoreInUse, WrongPassphrase or StoreError.
        """
        self._depth = 0
        self._connection = _connect(path)
        try:
            self._migrate()
            self._data_key = AESGCM(self._open_data_key(passphrase))
        except sqlite3.DatabaseError as error:
            self.close()
            raise StoreError(f"{path} is not a store of keys: {error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all that is done in the block, or nothing; a block inside another is part of it."""
        if self._depth:
            yield
            return
        self.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._depth -= 1

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Inside a transaction: undo what the block has done if it raises, and nothing else."""
        name = f"attempt_{self._depth}"
        self.execute(f"SAVEPOINT {name}")
        self._depth += 1
        try:
            yield
        except Exception:
            self.execute(f"ROLLBACK TO {name}")
            raise
        finally:
            self._depth -= 1
            if self._connection.in_transaction:
                self._connection.execute(f"RELEASE {name}")

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Run a statement; the only way to the database."""
        return self._connection.execute(sql, parameters)

    def change(self, sql: str, *parameters: Any) -> int:
        """Run a statement that changes something, and return how many rows it changed."""
        if not self._depth:
            raise RuntimeError("a change of the store stands in a transaction")
        return self.execute(sql, *parameters).rowcount

    def row(self, sql: str, *parameters: Any) -> sqlite3.Row | None:
        """Return the first row of a query, if it has one."""
        found: sqlite3.Row | None = self.execute(sql, *parameters).fetchone()
        return found

    def rows(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        """Return the rows of a query."""
        return self.execute(sql, *parameters).fetchall()

    # What is encrypted.

    def seal(self, place: str, plain: bytes) -> bytes:
        """Encrypt something for one place: it cannot be moved to another."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._data_key.encrypt(nonce, plain, place.encode())

    def unseal(self, place: str, sealed: bytes) -> bytes:
        """Decrypt what was sealed for a place. Raises StoreError."""
        try:
            return self._data_key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place.encode())
        except InvalidTag as error:
            raise StoreError(f"{place} in the store of keys is damaged") from error

    def secret(self, name: str) -> str | None:
        """Return a secret, as `m.cross_signing.master` names one; None if we do not have it."""
        row = self.row("SELECT sealed FROM secrets WHERE name = ?", name)
        return None if row is None else self.unseal(f"secret {name}", row["sealed"]).decode()

    def keep_secret(self, name: str, value: str) -> None:
        """Keep a secret, in place of the one of that name."""
        sealed = self.seal(f"secret {name}", value.encode())
        self.change("INSERT OR REPLACE INTO secrets (name, sealed) VALUES (?, ?)", name, sealed)

    def forget_secret(self, name: str) -> None:
        """Forget a secret."""
        self.change("DELETE FROM secrets WHERE name = ?", name)

    # Small things that need no table.

    def value(self, name: str) -> Any:
        """Return something kept under a name; None if there is nothing."""
        row = self.row("SELECT value FROM stored_values WHERE name = ?", name)
        return None if row is None else orjson.loads(row["value"])

    def keep_value(self, name: str, value: Any) -> None:
        """Keep something that JSON can hold, not secret, under a name."""
        sql = "INSERT OR REPLACE INTO stored_values (name, value) VALUES (?, ?)"
        self.change(sql, name, orjson.dumps(value))

    def change_passphrase(self, passphrase: str | None) -> None:
        """Ask for another passphrase from now on, or for none."""
        key = decode_base64(self._plain_data_key)
        with self.transaction():
            self._keep_data_key(key, passphrase)

    def _migrate(self) -> None:
        version = self.execute("PRAGMA user_version").fetchone()[0]
        files = sorted(_SCHEMA.glob("*.sql"))
        if version > len(files):
            raise StoreError("the store of keys was written by a newer version of this program")
        for number, file in enumerate(files[version:], version + 1):
            script = file.read_text()
            self._connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")

    def _open_data_key(self, passphrase: str | None) -> bytes:
        kept = self.value("data_key")
        if kept is None:
            key = secrets.token_bytes(_KEY_BYTES)
            with self.transaction():
                self._keep_data_key(key, passphrase)
            return key
        if (passphrase is None) != ("key" in kept):
            raise WrongPassphrase("the store of keys has a passphrase" if passphrase is None else "it has none")
        if passphrase is None:
            self._plain_data_key = kept["key"]
            return decode_base64(kept["key"])
        wrapped = decode_base64(kept["wrapped"])
        wrapping = AESGCM(_stretched(passphrase, decode_base64(kept["salt"]), kept["scrypt"]))
        try:
            key = wrapping.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], b"data key")
        except InvalidTag as error:
            raise WrongPassphrase("this is not the passphrase of the store of keys") from error
        self._plain_data_key = encode_base64(key)
        return key

    def _keep_data_key(self, key: bytes, passphrase: str | None) -> None:
        self._plain_data_key = encode_base64(key)
        if passphrase is None:
            self.keep_value("data_key", {"key": encode_base64(key)})
            return
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(_NONCE_BYTES)
        wrapped = nonce + AESGCM(_stretched(passphrase, salt, _SCRYPT)).encrypt(nonce, key, b"data key")
        kept = {"wrapped": encode_base64(wrapped), "salt": encode_base64(salt), "scrypt": _SCRYPT}
        self.keep_value("data_key", kept)


def _connect(path: str | Path | None) -> sqlite3.Connection:
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            # Made here, so that it is nobody else's from the first moment; SQLite's other files take over its mode.
            # One that exists is not touched: closing it would give up the lock of a store that we have open.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(":memory:" if path is None else path, isolation_level=None, timeout=0)
    connection.row_factory = sqlite3.Row
    try:
        # One process at a time: the lock is taken by the first reading and held to the end.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        # A ratchet must not go back, not even when the power fails.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        connection.close()
        raise StoreInUse(f"{path} is open already, here or in another process ({error})") from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise StoreError(f"{path} is not a store of keys: {error}") from error
    return connection


def _stretched(passphrase: str, salt: bytes, costs: dict[str, int]) -> bytes:
    return Scrypt(salt=salt, length=_KEY_BYTES, n=costs["n"], r=costs["r"], p=costs["p"]).derive(passphrase.encode())
