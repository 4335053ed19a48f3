"""Secrets pass between verified devices of one user, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.clients.encryption.assembled import ALICE, Assembled
from tests.clients.encryption.directory import Directory
from tricord.clients.encryption.cross_signing import SECRETS, PrivateKey
from tricord.clients.encryption.key_backup import ALGORITHM, SECRET, Verdict
from tricord.clients.encryption.olm import OlmMessage
from tricord.clients.encryption.secret_sharing import REQUEST, SEND
from tricord.clients.encryption.stored import devices as stored
from tricord.clients.encryption.stored import olm as stored_olm
from tricord.protocol.identifiers import UserId
from tricord.protocol.strict_json import JsonObject

MALLORY = UserId("@mallory:example.org")


class Devices:
    """A device with all secrets, and a new one that it has verified."""

    def __init__(self, *, shares: bool = True) -> None:
        directory = Directory()
        self.old = Assembled(directory, "OLD", shares=shares)
        self.old.set_up()
        with self.old.store.transaction():
            self.backup = self.old.backup.prepare()
            self.old.backup.created("1")
        self.new = Assembled(directory, "NEW")

    def ask(self) -> list[JsonObject]:
        """Let the new one ask, and return what it asks the old one."""
        with self.new.store.transaction():
            self.new.sharing.ask_for_missing()
        return [content for device_id, content in self.new.to_devices(REQUEST) if device_id == "OLD"]

    def give(self, content: JsonObject, sender: UserId = ALICE) -> list[JsonObject]:
        """Let the old one answer, and return what it gives."""
        with self.old.store.transaction():
            self.old.sharing.asked(sender, content)
            waiting = stored_olm.waiting(self.old.store)
            stored_olm.forget_waiting(self.old.store, [message.number for message in waiting])
        assert all(message.event_type == SEND and message.device_id == "NEW" for message in waiting)
        return [message.content for message in waiting]

    def message(self, content: JsonObject) -> OlmMessage:
        """Return something as the old one sends it by Olm."""
        return _message(self.old, content)

    def take(self, message: OlmMessage) -> str | None:
        """Let the new one take in a message."""
        with self.new.store.transaction():
            return self.new.sharing.sent(message)


def _message(sender: Assembled, content: JsonObject) -> OlmMessage:
    return OlmMessage(ALICE, SEND, content, sender.own.curve25519, sender.own.ed25519, sender.own.device())


@pytest.fixture
def devices() -> Devices:
    devices = Devices()
    devices.old.trust(devices.new)
    return devices


def test_a_verified_device_gets_all_secrets(devices: Devices) -> None:
    requests = devices.ask()
    assert {request["name"] for request in requests} == {*SECRETS, SECRET}
    for request in requests:
        (secret,) = devices.give(request)
        assert devices.take(devices.message(secret)) == request["name"]
    assert devices.new.signing.is_complete
    with devices.new.store.transaction():
        assert devices.new.backup.found("1", ALGORITHM, devices.backup["auth_data"]) is Verdict.TRUSTED
    assert devices.new.backup.key is not None
    assert devices.new.sharing.missing() == []


def test_a_secret_is_asked_for_once_and_its_answer_taken_once(devices: Devices) -> None:
    requests = devices.ask()
    assert devices.ask() == []
    (secret,) = devices.give(requests[0])
    assert devices.take(devices.message(secret)) is not None
    assert devices.take(devices.message(secret)) is None


def test_the_other_devices_are_told_that_it_has_come(devices: Devices) -> None:
    third = Assembled(devices.old.directory, "THIRD")
    devices.old.trust(third)
    devices.new.query()
    with devices.new.store.transaction():
        devices.new.sharing.ask_for_missing()
    asked = devices.new.to_devices(REQUEST)
    request = next(content for device_id, content in asked if device_id == "OLD")
    (secret,) = devices.give(request)
    devices.take(devices.message(secret))
    ((told, content),) = devices.new.to_devices(REQUEST)
    assert told == "THIRD"
    assert content["action"] == "request_cancellation"
    assert content["request_id"] == request["request_id"]


def test_nobody_is_asked_while_no_device_is_verified() -> None:
    assert Devices().ask() == []


def test_a_device_that_is_not_verified_gets_nothing() -> None:
    """CVE-2021-40823."""
    devices = Devices()
    request = {"action": "request", "name": SECRET, "request_id": "r", "requesting_device_id": "NEW"}
    devices.old.query()
    assert devices.give(request) == []
    assert devices.give({**request, "requesting_device_id": "OLD"}) == []
    assert devices.give({**request, "requesting_device_id": "NOWHERE"}) == []


def test_another_user_gets_nothing_whatever_device_they_name(devices: Devices) -> None:
    request = {"action": "request", "name": SECRET, "request_id": "r", "requesting_device_id": "NEW"}
    assert devices.give(request, MALLORY) == []
    assert len(devices.give(request)) == 1


def test_who_shares_nothing_shares_nothing() -> None:
    devices = Devices(shares=False)
    devices.old.trust(devices.new)
    assert devices.give(devices.ask()[0]) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"action": "request_cancellation"},
        {"name": "m.other"},
        {"name": None},
        {"request_id": 7},
        {"requesting_device_id": ["NEW"]},
    ],
)
def test_a_malformed_request_gets_nothing(devices: Devices, changed: JsonObject) -> None:
    request = {"action": "request", "name": SECRET, "request_id": "r", "requesting_device_id": "NEW"}
    assert devices.give({**request, **changed}) == []


def test_a_secret_that_was_not_asked_for_is_not_taken(devices: Devices) -> None:
    secret = PrivateKey.generate().secret
    for request_id in ("invented", None, 7):
        assert devices.take(devices.message({"request_id": request_id, "secret": secret})) is None
    assert not devices.new.signing.is_complete


def test_a_secret_of_another_device_than_asked_is_not_taken(devices: Devices) -> None:
    request = devices.ask()[0]
    (content,) = devices.give(request)
    stranger = Assembled(devices.old.directory, "STRANGER")
    devices.new.query()
    assert devices.take(_message(stranger, content)) is None
    # Even one that is verified by now.
    devices.old.trust(stranger)
    devices.new.query()
    assert devices.take(_message(stranger, content)) is None
    # Nor one that says to be it, by another Olm session.
    impostor = replace(devices.message(content), sender_key=stranger.own.curve25519)
    assert devices.take(impostor) is None
    assert devices.take(replace(devices.message(content), device=None)) is None
    mallorys = replace(devices.old.own.device(), user_id=MALLORY)
    assert devices.take(replace(devices.message(content), sender=MALLORY, device=mallorys)) is None
    assert devices.take(devices.message(content)) is not None


def test_a_secret_of_a_device_that_is_gone_is_not_taken(devices: Devices) -> None:
    (content,) = devices.give(devices.ask()[0])
    with devices.new.store.transaction():
        device = stored.device(devices.new.store, ALICE, devices.old.device_id)
        assert device is not None
        stored.keep_device(devices.new.store, replace(device, gone=True))
    assert devices.take(devices.message(content)) is None


def test_a_secret_that_is_not_what_is_published_is_not_taken(devices: Devices) -> None:
    request = next(request for request in devices.ask() if request["name"] == "m.cross_signing.master")
    for wrong in (PrivateKey.generate().secret, "!", ""):
        assert devices.take(devices.message({"request_id": request["request_id"], "secret": wrong})) is None
    (right,) = devices.give(request)
    assert devices.take(devices.message(right)) == "m.cross_signing.master"
