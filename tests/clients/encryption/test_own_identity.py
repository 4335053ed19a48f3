"""Identities on machines: what people verify changes what machines give and believe."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.clients.encryption.town import ROOM, Somebody, Town
from tricord.clients.encryption.attachments import encrypt_attachment
from tricord.clients.encryption.cross_signing import SECRETS, Usage
from tricord.clients.encryption.devices import Standing, standing
from tricord.clients.encryption.errors import Malformed, Reason
from tricord.clients.encryption.history_sharing import Bundle
from tricord.clients.encryption.machine import Machine
from tricord.clients.encryption.own_identity import OwnIdentity
from tricord.clients.encryption.policy import Policy
from tricord.clients.encryption.requests import BackupPut, Request, SignaturesUpload
from tricord.clients.encryption.verification.verification import State, Verification
from tricord.protocol.identifiers import DeviceId, UserId


class City(Town):
    """A homeserver that publishes signatures and keeps a backup too."""

    def __init__(self) -> None:
        super().__init__()
        self.backup: dict[Any, dict[str, Any]] = {}

    def answer(self, asker: Machine, request: Request) -> Any:
        """Answer a request, as a homeserver does."""
        if isinstance(request, BackupPut):
            for room_id, room in request.rooms.items():
                self.backup.setdefault(room_id, {}).update(deepcopy(room["sessions"]))
            return {"count": 1, "etag": "1"}
        if isinstance(request, SignaturesUpload):
            for user_id, signed in request.signed.items():
                for name, value in signed.items():
                    self._sign(user_id, name, value)
                self.changed.append(user_id)
            return {"failures": {}}
        return super().answer(asker, request)

    def publish(self, user_id: UserId, keys: dict[str, Any]) -> None:
        """Publish an identity."""
        for usage in Usage:
            self.cross_signing[f"{usage.value}_keys"][user_id] = keys[f"{usage.value}_key"]
        self.changed.append(user_id)

    def _sign(self, user_id: str, name: str, value: dict[str, Any]) -> None:
        places = [self.boxes[user_id, name].keys] if (user_id, name) in self.boxes else []
        places += [
            keys[user_id] for keys in self.cross_signing.values() if name in str(keys.get(user_id, {}).get("keys"))
        ]
        for place in places:
            assert place is not None
            for signer, signatures in value["signatures"].items():
                place.setdefault("signatures", {}).setdefault(signer, {}).update(signatures)


class Citizen(Somebody):
    """Somebody whose machine has an identity."""

    def __init__(self, city: City, name: str, device_id: str = "PHONE", policy: Policy = Policy.KNOWN) -> None:
        self.city = city
        super().__init__(city, name, device_id, policy=policy)

    def _machine(self) -> Machine:
        machine = super()._machine()
        self.identity = OwnIdentity(machine)
        return machine

    def set_up(self) -> None:
        """Make an identity and publish it."""
        with self.store.transaction():
            keys = self.identity.cross_signing.prepare()
            self.identity.cross_signing.adopt()
        self.city.publish(self.user_id, keys)
        self.settle()
        self.sync()

    def only(self) -> Verification:
        """Return the one verification that somebody has asked for."""
        (verification,) = self.identity.verifications.take_incoming()
        return verification

    def standing_of(self, other: Somebody) -> Standing:
        """Return how sure it is that a device is its user's."""
        device = self.machine.devices_of(other.user_id).get(other.device_id)
        return standing(device, self.machine.identity(other.user_id))


def _sync(*people: Citizen) -> None:
    for _ in range(12):
        for person in people:
            person.sync()


def _verify(asking: Citizen, asked: Citizen, *others: Citizen) -> None:
    """Let two devices of one user verify each other."""
    everybody = (asking, asked, *others)
    ours = asking.identity.verifications.request(asked.user_id, asking.town.now_ms, device_ids=[asked.device_id])
    asking.settle()
    _sync(*everybody)
    theirs = asked.only()
    theirs.accept()
    asked.settle()
    _sync(*everybody)
    ours.compare()
    asking.settle()
    _sync(*everybody)
    assert ours.short_string == theirs.short_string is not None
    for person, verification in ((asking, ours), (asked, theirs)):
        verification.confirm()
        person.identity.settle()
        person.settle()
    _sync(*everybody)
    assert ours.state is theirs.state is State.DONE


@pytest.fixture
def city() -> City:
    return City()


def test_a_new_device_that_was_verified_gets_the_secrets_and_the_backup(city: City) -> None:
    old = Citizen(city, "alice", "OLD")
    old.set_up()
    with old.store.transaction():
        made = old.identity.backup.prepare()
        old.identity.backup.created("1")
    event = old.say("before the new device")
    old.settle()
    new = Citizen(city, "alice", "NEW")
    _sync(old, new)
    assert new.standing_of(old) is not Standing.VERIFIED
    _verify(new, old)
    assert new.identity.cross_signing.is_complete
    assert new.identity.secrets.missing() == ["m.megolm_backup.v1"]
    with new.store.transaction():
        new.identity.backup.found("1", made["algorithm"], made["auth_data"])
        restored = new.identity.backup.restore(city.backup)
    assert restored.taken >= 1
    assert new.read(event).content["body"] == "before the new device"
    assert old.standing_of(new) is new.standing_of(old) is Standing.VERIFIED


def test_a_device_that_is_not_verified_gets_no_secret(city: City) -> None:
    """CVE-2021-40823."""
    old = Citizen(city, "alice", "OLD")
    old.set_up()
    new = Citizen(city, "alice", "NEW")
    _sync(old, new)
    with new.store.transaction():
        new.identity.secrets.ask_for_missing()
    for name in (*SECRETS, "m.megolm_backup.v1"):
        box = city.box(old.user_id, old.device_id)
        content = {"action": "request", "name": name, "request_id": "r", "requesting_device_id": "NEW"}
        box.messages.append({"type": "m.secret.request", "sender": old.user_id, "content": content})
    _sync(old, new)
    assert new.identity.cross_signing.secrets() == {}
    assert all(message["type"] != "m.room.encrypted" for message in city.box(new.user_id, "NEW").messages)


def test_a_secret_in_clear_is_not_taken(city: City) -> None:
    alice = Citizen(city, "alice")
    alice.set_up()
    other = Citizen(city, "alice", "NEW")
    _sync(alice, other)
    content = {"request_id": "r", "secret": "AAAA"}
    city.box(other.user_id, "NEW").messages.append(
        {"type": "m.secret.send", "sender": other.user_id, "content": content}
    )
    received = other.sync()
    assert received.to_device == []


def test_a_verified_user_gets_keys_where_only_devices_are_trusted_that_their_users_vouch_for(city: City) -> None:
    alice, bob = Citizen(city, "alice", policy=Policy.CROSS_SIGNED), Citizen(city, "bob")
    alice.set_up()
    _sync(alice, bob)
    assert bob.reason(alice.say("secret")).reason is Reason.NO_KEY
    bob.sync()
    bob.set_up()
    _sync(alice, bob)
    assert bob.hears(alice.say("now")) == "now"


def test_another_identity_of_a_user_is_noticed_and_gets_nothing_until_it_is_accepted(city: City) -> None:
    """CVE-2024-52813: a change of identity is told, and has consequences."""
    alice, bob = Citizen(city, "alice", policy=Policy.CROSS_SIGNED), Citizen(city, "bob")
    alice.set_up()
    bob.set_up()
    _sync(alice, bob)
    assert bob.hears(alice.say("first")) == "first"
    forger = Citizen(city, "bob", "FORGED")
    forger.set_up()
    _sync(alice)
    identity = alice.machine.identity(bob.user_id)
    assert identity is not None
    assert identity.has_changed
    event = alice.say("second")
    forger.sync()
    assert forger.reason(event).reason in {Reason.NO_KEY, Reason.WITHHELD}
    with alice.store.transaction():
        assert alice.identity.cross_signing.accept_change(bob.user_id, identity.master)
    alice.machine.keep_identity(identity.accepted())
    assert forger.hears(alice.say("third")) == "third"


def test_another_identity_of_our_own_is_noticed(city: City) -> None:
    """CVE-2024-40648."""
    alice = Citizen(city, "alice")
    alice.set_up()
    forger = Citizen(city, "alice", "FORGED")
    with forger.store.transaction():
        keys = forger.identity.cross_signing.prepare()
        forger.identity.cross_signing.adopt()
    city.publish(alice.user_id, keys)
    forger.settle()
    _sync(alice)
    assert alice.identity.cross_signing.was_replaced
    assert not alice.identity.cross_signing.is_complete
    assert alice.standing_of(forger) is not Standing.VERIFIED


def test_keys_go_into_the_backup_as_they_come(city: City) -> None:
    alice = Citizen(city, "alice")
    alice.set_up()
    alice.say("before the backup")
    with alice.store.transaction():
        alice.identity.backup.prepare()
        alice.identity.backup.created("1")
    alice.settle()
    assert len(city.backup[ROOM]) == 1
    bob = Citizen(city, "bob")
    event = bob.say("hello")
    assert alice.hears(event) == "hello"
    assert len(city.backup[ROOM]) == 2


def test_a_refused_backup_is_looked_at_again(city: City) -> None:
    alice = Citizen(city, "alice")
    with alice.store.transaction():
        alice.identity.backup.prepare()
        alice.identity.backup.created("1")
    alice.identity.backup.must_look = False
    alice.encrypt()
    (request,) = (one for one in alice.machine.requests() if isinstance(one, BackupPut))
    alice.machine.refused(request.request_id, 403, {"errcode": "M_WRONG_ROOM_KEYS_VERSION"})
    assert alice.identity.backup.must_look
    assert alice.identity.backup.in_use is None


# History for those who are invited.


def _file() -> dict[str, Any]:
    return encrypt_attachment(b"", "mxc://localhost/bundle")[1]


def _invited(city: City) -> tuple[Citizen, Citizen, dict[str, Any]]:
    """Return Alice, Bob whom she invites, and what she said before."""
    alice = Citizen(city, "alice")
    alice.set_up()
    event = alice.say("before Bob")
    bob = Citizen(city, "bob")
    bob.set_up()
    _sync(alice, bob)
    alice.machine.follow([bob.user_id])
    alice.settle()
    return alice, bob, event


def _share(alice: Citizen, bob: Citizen) -> Bundle:
    file = _file()
    with alice.store.transaction():
        assert alice.identity.history.share(ROOM, bob.user_id, file) == 1
    alice.settle()
    _sync(alice, bob)
    with bob.store.transaction():
        bob.identity.history.accepted_invitation(ROOM, alice.user_id)
    (bundle,) = bob.identity.history.due()
    assert bundle.file == file
    return bundle


def test_who_is_invited_reads_what_was_said_before(city: City) -> None:
    alice, bob, event = _invited(city)
    content = alice.identity.history.bundle(ROOM)
    assert content is not None
    bundle = _share(alice, bob)
    assert bob.reason(event).reason is Reason.NO_KEY
    with bob.store.transaction():
        restored = bob.identity.history.take(bundle, content)
    assert (restored.taken, restored.refused) == (1, 0)
    decrypted = bob.read(event)
    assert decrypted.content["body"] == "before Bob"
    assert any("passed on" in doubt.value for doubt in decrypted.warnings)
    assert bob.identity.history.due() == []
    again = bob.identity.history.bundle(ROOM)
    assert again is None or b"session_key" in again


def test_only_sessions_whose_makers_said_so_are_shared(city: City) -> None:
    """CVE-2024-47080: keys that may not be shared stay where they are."""
    alice, bob, _ = _invited(city)
    city.state["m.room.history_visibility"] = {"history_visibility": "joined"}
    alice.sync({"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}})
    hidden = alice.say("not for Bob")
    assert alice.identity.history.bundle(ROOM) is None
    alice.sync({"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "shared"}})
    content = alice.identity.history.bundle(ROOM)
    assert content is not None
    session_id = hidden["content"]["session_id"]
    assert content.count(session_id.encode()) == 1
    bundle = _share(alice, bob)
    with bob.store.transaction():
        bob.identity.history.take(bundle, content)
    stranger = Citizen(city, "carol")
    assert stranger.reason(hidden).reason is Reason.NO_KEY


def test_devices_that_their_user_does_not_vouch_for_get_no_bundle(city: City) -> None:
    alice, bob, _ = _invited(city)
    unsigned = Citizen(city, "bob", "UNSIGNED")
    _sync(alice, bob)
    assert {device.device_id for device in alice.identity.history.recipients(bob.user_id)} == {bob.device_id}
    assert unsigned.device_id in alice.machine.devices_of(bob.user_id)
    carol = Citizen(city, "carol")
    _sync(alice, carol)
    alice.machine.follow([carol.user_id])
    alice.settle()
    assert alice.identity.history.recipients(carol.user_id) == []


def test_a_bundle_waits_until_its_senders_invitation_is_accepted(city: City) -> None:
    alice, bob, _ = _invited(city)
    with alice.store.transaction():
        alice.identity.history.share(ROOM, bob.user_id, _file())
    alice.settle()
    _sync(alice, bob)
    assert bob.identity.history.due() == []
    with bob.store.transaction():
        bob.identity.history.accepted_invitation(ROOM, UserId("@carol:localhost"))
    assert bob.identity.history.due() == []
    with bob.store.transaction():
        bob.identity.history.accepted_invitation(ROOM, alice.user_id)
    assert len(bob.identity.history.due()) == 1
    city.now_ms += 25 * 3_600_000
    assert bob.identity.history.due() == []


def test_a_bundle_of_a_device_that_its_user_does_not_vouch_for_is_not_downloaded(city: City) -> None:
    _, bob, _ = _invited(city)
    unsigned = Citizen(city, "alice", "UNSIGNED")
    unsigned.machine.follow([bob.user_id])
    unsigned.settle()
    with unsigned.store.transaction():
        unsigned.identity.history.share(ROOM, bob.user_id, _file())
    unsigned.settle()
    _sync(unsigned, bob)
    with bob.store.transaction():
        bob.identity.history.accepted_invitation(ROOM, unsigned.user_id)
    assert bob.identity.history.due() == []


def test_keys_of_other_rooms_and_malformed_ones_in_a_bundle_are_left(city: City) -> None:
    alice, bob, event = _invited(city)
    content = alice.identity.history.bundle(ROOM)
    assert content is not None
    bundle = _share(alice, bob)
    elsewhere = content.replace(b"!room:", b"!other:")
    with bob.store.transaction():
        assert bob.identity.history.take(bundle, elsewhere).total == 0
        broken = content.replace(b'"session_key":"', b'"session_key":"!!')
        assert bob.identity.history.take(bundle, broken).refused == 1
        for foreign in (b"", b"[]", b"nonsense"):
            with pytest.raises(Malformed):
                bob.identity.history.take(bundle, foreign)
        for odd in (b"{}", b'{"room_keys": {}, "withheld": [7, {}]}', b'{"room_keys": [null, {"room_id": 7}]}'):
            assert bob.identity.history.take(bundle, odd).taken == 0
    assert bob.reason(event).reason is Reason.NO_KEY


def test_a_bundle_that_does_not_say_how_to_read_it_is_left(city: City) -> None:
    alice, bob, _ = _invited(city)
    with alice.store.transaction():
        alice.identity.history.share(ROOM, bob.user_id, {"url": "mxc://localhost/x"})
    alice.settle()
    _sync(alice, bob)
    with bob.store.transaction():
        bob.identity.history.accepted_invitation(ROOM, alice.user_id)
    assert bob.identity.history.due() == []


def test_a_request_of_an_unknown_device_is_looked_at_once_its_keys_have_come(city: City) -> None:
    alice = Citizen(city, "alice")
    mallory = Citizen(city, "mallory")
    _sync(alice, mallory)
    content = {"from_device": "PHONE", "methods": ["m.sas.v1"], "timestamp": city.now_ms, "transaction_id": "t"}
    city.box(alice.user_id, "PHONE").messages.append(
        {"type": "m.key.verification.request", "sender": mallory.user_id, "content": content}
    )
    alice.sync()
    assert alice.only().other_device == DeviceId("PHONE")
