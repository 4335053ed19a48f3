"""The store of the keys: one process, one passphrase, whole steps or none."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tricord.clients.encryption.errors import StoreError, StoreInUse, WrongPassphrase
from tricord.clients.encryption.requests import KeysQuery, SendToDevice
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import outgoing
from tricord.protocol.identifiers import DeviceId, RoomId, UserId


def test_what_is_kept_is_there_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "keys")
    with store.transaction():
        store.keep_value("position", "s1")
        store.keep_secret("m.cross_signing.master", "secret")
    store.close()
    store = Store(tmp_path / "keys")
    assert store.value("position") == "s1"
    assert store.secret("m.cross_signing.master") == "secret"
    assert store.value("other") is None
    assert store.secret("other") is None
    with store.transaction():
        store.forget_secret("m.cross_signing.master")
    assert store.secret("m.cross_signing.master") is None
    store.close()


def test_the_file_is_nobody_elses(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "keys")
    with store.transaction():
        store.keep_value("position", "s1")
    for file in (tmp_path / "deep").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    store.close()


def test_a_transaction_is_kept_whole_or_not_at_all() -> None:
    store = Store(None)

    def fail_after_both() -> None:
        with store.transaction():
            store.keep_value("one", 1)
            with store.transaction():
                store.keep_value("two", 2)
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail_after_both()
    assert (store.value("one"), store.value("two")) == (None, None)

    def fail_at_the_second() -> None:
        with store.attempt():
            store.keep_value("two", 2)
            raise ValueError("wrong")

    with store.transaction():
        store.keep_value("one", 1)
        with pytest.raises(ValueError, match="wrong"):
            fail_at_the_second()
    assert (store.value("one"), store.value("two")) == (1, None)


def test_nothing_is_changed_outside_of_a_transaction() -> None:
    store = Store(None)
    with pytest.raises(RuntimeError):
        store.keep_value("one", 1)


def test_a_second_process_is_told_that_the_store_is_in_use(tmp_path: Path) -> None:
    store = Store(tmp_path / "keys")
    with pytest.raises(StoreInUse):
        Store(tmp_path / "keys")
    program = "import sys; from tricord.clients.encryption.store import Store; Store(sys.argv[1])"
    other = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "keys")], capture_output=True, text=True, check=False
    )
    assert "StoreInUse" in other.stderr
    store.close()
    Store(tmp_path / "keys").close()


def test_a_passphrase_is_asked_for_again(tmp_path: Path) -> None:
    store = Store(tmp_path / "keys", passphrase="tea")
    with store.transaction():
        store.keep_secret("name", "milk and sugar")
    store.close()
    for wrong in ("coffee", None):
        with pytest.raises(WrongPassphrase):
            Store(tmp_path / "keys", passphrase=wrong)
    store = Store(tmp_path / "keys", passphrase="tea")
    assert store.secret("name") == "milk and sugar"
    store.change_passphrase("coffee")
    store.close()
    store = Store(tmp_path / "keys", passphrase="coffee")
    assert store.secret("name") == "milk and sugar"
    store.change_passphrase(None)
    store.close()
    store = Store(tmp_path / "keys")
    assert store.secret("name") == "milk and sugar"
    store.close()


def test_secrets_cannot_be_read_in_the_file_nor_moved_in_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "keys", passphrase="tea")
    with store.transaction():
        store.keep_secret("one", "milk and sugar")
    store.close()
    assert not any(b"milk" in file.read_bytes() for file in tmp_path.iterdir())
    with sqlite3.connect(tmp_path / "keys") as database:
        database.execute("UPDATE secrets SET name = 'two'")
    database.close()
    store = Store(tmp_path / "keys", passphrase="tea")
    with pytest.raises(StoreError):
        store.secret("two")
    store.close()


def test_a_newer_store_or_another_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to look like something" * 100)
    with pytest.raises(StoreError):
        Store(tmp_path / "text")
    Store(tmp_path / "keys").close()
    with sqlite3.connect(tmp_path / "keys") as database:
        database.execute("PRAGMA user_version = 999")
    database.close()
    with pytest.raises(StoreError, match="newer"):
        Store(tmp_path / "keys")


def test_hostile_names_are_only_parameters() -> None:
    """CVE-2025-53549: SQL injection in the local store."""
    store = Store(None)
    name = "x'); DROP TABLE secrets; --"
    with store.transaction():
        store.keep_secret(name, "secret")
        store.keep_value(name, name)
    assert store.secret(name) == "secret"
    assert store.value(name) == name


def test_pending_requests_outlive_the_process(tmp_path: Path) -> None:
    store = Store(tmp_path / "keys")
    alice, phone, room = UserId("@alice:localhost"), DeviceId("PHONE"), RoomId("!room:localhost")
    request = SendToDevice(event_type="m.dummy", messages={alice: {phone: {"a": 1}}})
    with store.transaction():
        outgoing.put(store, request, room_id=room)
        with pytest.raises(ValueError, match="anew"):
            outgoing.put(store, KeysQuery(users={alice: 1}))
    store.close()
    store = Store(tmp_path / "keys")
    assert outgoing.oldest(store, 10) == [request]
    assert outgoing.room_waits(store, room)
    with store.transaction():
        assert outgoing.failed(store, request.request_id) == 1
        assert outgoing.failed(store, request.request_id) == 2
        assert outgoing.done(store, request.request_id)
        assert not outgoing.done(store, request.request_id)
        assert outgoing.failed(store, request.request_id) == 0
    assert not outgoing.room_waits(store, room)
    store.close()
