"""The doctor says in words what is amiss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.clients.encryption.test_own_identity import Citizen, City, _sync
from tests.clients.encryption.town import ROOM
from tricord.clients.encryption.doctor import examine, examine_event, main
from tricord.clients.encryption.errors import Reason
from tricord.clients.encryption.policy import Policy
from tricord.clients.encryption.store import Store


def _text(person: Citizen) -> str:
    return "\n".join(map(str, examine(person.store)))


def _about(person: Citizen, event: dict[str, Any]) -> str:
    return "\n".join(map(str, examine_event(person.store, ROOM, event)))


@pytest.fixture
def city() -> City:
    return City()


def test_a_healthy_device_is_called_healthy(city: City) -> None:
    alice = Citizen(city, "alice")
    alice.set_up()
    alice.settle()
    alice.sync()
    text = _text(alice)
    assert "the device PHONE of @alice:localhost" in text
    assert "vouches for this device" in text
    assert "No message waits" in text


def test_a_device_without_an_identity_is_told_to_make_one(city: City) -> None:
    assert "set_up_identity" in _text(Citizen(city, "alice"))


def test_a_new_device_is_told_to_be_verified(city: City) -> None:
    old = Citizen(city, "alice", "OLD")
    old.set_up()
    new = Citizen(city, "alice", "NEW")
    _sync(old, new)
    assert "does not vouch for this device" in _text(new)


def test_what_was_withheld_is_told_with_its_reason(city: City) -> None:
    alice, bob = Citizen(city, "alice", policy=Policy.CROSS_SIGNED), Citizen(city, "bob")
    alice.set_up()
    _sync(alice, bob)
    event = alice.say()
    _sync(alice, bob)
    assert bob.reason(event, wait=True).reason is Reason.WITHHELD
    text = _about(bob, event)
    assert "did not give us the key" in text
    assert "vouched for" in text
    assert "1 messages wait for 1 keys" in _text(bob)


def test_what_was_said_before_we_came_is_told(city: City) -> None:
    alice = Citizen(city, "alice")
    event = alice.say()
    bob = Citizen(city, "bob")
    _sync(alice, bob)
    text = _about(bob, event)
    assert "has not reached us" in text
    assert "sent before we came" in text
    assert "have not been asked" in text


def test_what_can_be_read_is_told_with_its_doubts_and_changes_nothing(city: City) -> None:
    alice, bob = Citizen(city, "alice"), Citizen(city, "bob")
    event = alice.say()
    _sync(alice, bob)
    text = _about(bob, event)
    assert "It can be decrypted" in text
    assert "not vouched for" in text
    assert bob.store.rows("SELECT * FROM message_indices") == []


def test_another_identity_is_told(city: City) -> None:
    alice, bob = Citizen(city, "alice"), Citizen(city, "bob")
    alice.set_up()
    bob.set_up()
    alice.machine.follow([bob.user_id])
    _sync(alice, bob)
    Citizen(city, "bob", "OTHER").set_up()
    _sync(alice)
    assert "@bob:localhost has another identity" in _text(alice)


@pytest.mark.parametrize("event", [{}, {"type": "m.room.message"}, {"type": "m.room.encrypted", "content": []}])
def test_what_is_no_encrypted_event_is_told(city: City, event: dict[str, Any]) -> None:
    assert "cannot be decrypted" in _about(Citizen(city, "alice"), event)


def test_the_command_examines_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keys"
    store = Store(path)
    assert main([str(path)]) == 1
    assert "open already" in capsys.readouterr().err
    store.close()
    assert main([str(path)]) == 0
    assert "empty" in capsys.readouterr().out
    event = tmp_path / "event.json"
    event.write_bytes(orjson.dumps({"type": "m.room.message"}))
    assert main([str(path), "--room", ROOM, "--event", str(event)]) == 0
    event.write_bytes(b"nonsense")
    assert main([str(path), "--room", ROOM, "--event", str(event)]) == 1
    with pytest.raises(SystemExit):
        main([str(path), "--room", ROOM])
    with pytest.raises(SystemExit):
        main([str(tmp_path / "nowhere")])
    Store(tmp_path / "locked", passphrase="tea").close()
    monkeypatch.setattr("getpass.getpass", lambda _: "tea")
    assert main([str(tmp_path / "locked")]) == 0
    monkeypatch.setattr("getpass.getpass", lambda _: "coffee")
    assert main([str(tmp_path / "locked")]) == 1
