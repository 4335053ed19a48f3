"""Verifications between devices, message by message: how they succeed, and all the ways in which they must not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clients.encryption.directory import Directory
from tests.clients.encryption.directory import Party as Device
from tests.clients.encryption.published import CrossSigning as Published
from tests.clients.encryption.published import device_keys
from tricord.clients.encryption.devices import Standing, Trust
from tricord.clients.encryption.requests import SendToDevice
from tricord.clients.encryption.stored import devices as stored
from tricord.clients.encryption.stored import outgoing
from tricord.clients.encryption.verification.flow import LONGEST_MS, PROMPT_MS, Verifications
from tricord.clients.encryption.verification.messages import (
    ACCEPT,
    CANCEL,
    DONE,
    KEY,
    MAC,
    READY,
    RECIPROCATE,
    REQUEST,
    SAS,
    SCAN_QR,
    SHOW_QR,
    START,
    Code,
    VerificationFailed,
)
from tricord.clients.encryption.verification.sas import Party
from tricord.clients.encryption.verification.verification import State, Verification
from tricord.protocol.identifiers import DeviceId, EventId, RoomId, UserId
from tricord.protocol.unpadded_base64 import decode_base64

ALICE, BOB = UserId("@alice:example.org"), UserId("@bob:example.org")
ROOM = RoomId("!dm:example.org")
ALL = (SAS, SHOW_QR, SCAN_QR, RECIPROCATE)
NOW = 1_000_000_000

Message = tuple[str, dict[str, Any]]


class Talker(Device):
    """A device that verifies."""

    def __init__(self, directory: Directory, user_id: UserId, device_id: str, methods: tuple[str, ...] = ALL) -> None:
        super().__init__(directory, user_id, DeviceId(device_id), others=(ALICE, BOB))
        self.wanted: list[UserId] = []
        self.flow = Verifications(
            self.store,
            Party(user_id, self.device_id),
            self.ed25519,
            self.signing,
            want_devices=self.wanted.append,
            methods=methods,
        )

    def only(self) -> Verification:
        """Return the one verification that somebody has asked us for."""
        (verification,) = self.flow.take_incoming()
        return verification


class Wire:
    """Carries messages between devices, where somebody may change them on the way."""

    def __init__(self, *devices: Talker) -> None:
        self.devices = devices
        self.change: Callable[[str, dict[str, Any]], dict[str, Any] | None] = lambda _, content: content
        self.carried: list[tuple[DeviceId, str, dict[str, Any]]] = []
        self.events = 0
        self.twice = False

    def carry(self, *, now: int = NOW) -> None:
        """Deliver all that is to be delivered, and what that leads to."""
        while any(self._carry_from(device, now) for device in self.devices):
            pass

    def types(self, sender: Talker) -> list[str]:
        """Return what a device has sent."""
        return [event_type for device_id, event_type, _ in self.carried if device_id == sender.device_id]

    def codes(self, sender: Talker) -> list[str]:
        """Return why a device has cancelled."""
        return [c["code"] for device_id, kind, c in self.carried if kind == CANCEL and device_id == sender.device_id]

    def _carry_from(self, sender: Talker, now: int) -> bool:
        requests = [r for r in outgoing.oldest(sender.store, 100) if isinstance(r, SendToDevice)]
        for request in requests:
            with sender.store.transaction():
                outgoing.done(sender.store, request.request_id)
            for user_id, messages in request.messages.items():
                for device_id, content in messages.items():
                    self._deliver(sender, user_id, device_id, request.event_type, content, now)
        in_room = sender.flow.take_room_messages()
        for message in in_room:
            self.events += 1
            event_id = EventId(f"$event{self.events}")
            sender.flow.sent(message.request_id, event_id)
            changed = self._changed(sender, message.event_type, message.content)
            for device in self.devices * (2 if self.twice else 1):
                if changed is not None:
                    device.flow.receive(
                        message.event_type,
                        sender.user_id,
                        changed,
                        now,
                        room_id=message.room_id,
                        event_id=event_id,
                        sent_ms=now,
                    )
        return bool(requests or in_room)

    def _deliver(
        self, sender: Talker, user_id: UserId, device_id: DeviceId, event_type: str, content: Any, now: int
    ) -> None:
        changed = self._changed(sender, event_type, content)
        for device in self.devices * (2 if self.twice else 1):
            if (device.user_id, device.device_id) == (user_id, device_id) and changed is not None:
                device.flow.receive(event_type, sender.user_id, changed, now)

    def _changed(self, sender: Talker, event_type: str, content: dict[str, Any]) -> dict[str, Any] | None:
        self.carried.append((sender.device_id, event_type, content))
        return self.change(event_type, copy.deepcopy(content))


class Pair:
    """Two devices and the wire between them."""

    def __init__(self, first: Talker, second: Talker) -> None:
        self.first, self.second = first, second
        self.wire = Wire(first, second)

    def ask(self, room_id: RoomId | None = None) -> tuple[Verification, Verification]:
        """Let the first ask the second, who accepts."""
        asked = self.first.flow.request(self.second.user_id, NOW, room_id=room_id)
        self.wire.carry()
        answered = self.second.only()
        answered.accept()
        self.wire.carry()
        assert asked.state is answered.state is State.READY
        return asked, answered

    def compare(self, room_id: RoomId | None = None) -> tuple[Verification, Verification]:
        """Let both show the short string."""
        asked, answered = self.ask(room_id)
        asked.compare()
        self.wire.carry()
        assert asked.state is answered.state is State.COMPARING
        assert asked.short_string == answered.short_string
        return asked, answered


@pytest.fixture
def users() -> Pair:
    directory = Directory()
    alice, bob = Talker(directory, ALICE, "APHONE"), Talker(directory, BOB, "BPHONE")
    alice.set_up()
    bob.set_up()
    alice.query()
    return Pair(alice, bob)


@pytest.fixture
def own_devices() -> Pair:
    """A device with an identity, and a new one of the same user."""
    directory = Directory()
    old = Talker(directory, ALICE, "OLD")
    old.set_up()
    new = Talker(directory, ALICE, "NEW")
    old.query()
    return Pair(old, new)


def _is_verified(by: Talker, user_id: UserId) -> bool:
    identity = stored.identity(by.store, user_id)
    assert identity is not None
    return identity.is_verified


@pytest.mark.parametrize("room_id", [None, ROOM])
def test_two_users_compare_pictures_and_trust_each_others_master_keys(users: Pair, room_id: RoomId | None) -> None:
    asked, answered = users.compare(room_id)
    asked.confirm()
    users.wire.carry()
    assert not _is_verified(users.first, BOB)
    answered.confirm()
    users.wire.carry()
    assert asked.state is answered.state is State.DONE
    assert _is_verified(users.first, BOB)
    assert _is_verified(users.second, ALICE)
    users.first.upload()
    assert users.first.standing(BOB, DeviceId("BPHONE")) is Standing.VERIFIED
    device = stored.device(users.first.store, BOB, DeviceId("BPHONE"))
    assert device is not None
    assert device.trust is Trust.UNSET
    expected = {REQUEST} if room_id is None else {"m.room.message"}
    assert set(users.wire.types(users.first)) == {START, KEY, MAC, DONE} | expected
    assert users.wire.types(users.second) == [READY, ACCEPT, KEY, MAC, DONE]


def test_a_new_device_of_ours_is_signed_and_learns_that_the_identity_is_ours(own_devices: Pair) -> None:
    asked, answered = own_devices.compare()
    answered.confirm()
    asked.confirm()
    own_devices.wire.carry()
    assert asked.state is answered.state is State.DONE
    own_devices.first.upload()
    own_devices.second.query()
    assert own_devices.first.standing(ALICE, DeviceId("NEW")) is Standing.VERIFIED
    assert own_devices.second.signing.is_verified
    assert own_devices.second.standing(ALICE, DeviceId("OLD")) is Standing.VERIFIED
    (proven,) = own_devices.second.flow.take_proven()
    assert proven.keys.device_id == "OLD"


def test_a_program_lets_itself_be_verified_and_trusts_nobody_for_it(users: Pair) -> None:
    asked, answered = users.compare()
    answered.confirm(trust=False)
    asked.confirm()
    users.wire.carry()
    assert asked.state is answered.state is State.DONE
    assert _is_verified(users.first, BOB)
    assert not _is_verified(users.second, ALICE)


def test_who_sees_other_pictures_says_so_and_nobody_is_trusted(users: Pair) -> None:
    asked, answered = users.compare()
    answered.confirm()
    asked.mismatch()
    users.wire.carry()
    assert asked.state is answered.state is State.CANCELLED
    assert answered.code is Code.MISMATCHED_SAS
    assert not _is_verified(users.first, BOB)
    assert not _is_verified(users.second, ALICE)


def test_without_a_request_an_older_clients_start_is_answered(users: Pair) -> None:
    start = {
        "from_device": "APHONE",
        "transaction_id": "old",
        "method": SAS,
        "key_agreement_protocols": ["curve25519-hkdf-sha256"],
        "hashes": ["sha256"],
        "message_authentication_codes": ["hkdf-hmac-sha256"],
        "short_authentication_string": ["decimal"],
    }
    users.second.flow.receive(START, ALICE, start, NOW)
    verification = users.second.only()
    verification.accept()
    users.wire.carry()
    assert users.wire.types(users.second) == [ACCEPT]


def test_both_begin_at_once_and_the_smaller_user_counts(users: Pair) -> None:
    asked, answered = users.ask()
    asked.compare()
    answered.compare()
    users.wire.carry()
    assert asked.state is answered.state is State.COMPARING
    assert asked.short_string == answered.short_string
    assert ACCEPT not in users.wire.types(users.first)


def test_own_devices_that_begin_at_once_go_by_their_ids(own_devices: Pair) -> None:
    asked, answered = own_devices.ask()
    answered.compare()
    asked.compare()
    own_devices.wire.carry()
    assert asked.short_string == answered.short_string
    assert asked.state is State.COMPARING
    assert ACCEPT not in own_devices.wire.types(own_devices.second)


@pytest.mark.parametrize("room_id", [None, ROOM])
def test_two_users_scan_a_code(users: Pair, room_id: RoomId | None) -> None:
    asked, answered = users.ask(room_id)
    asked.scan(answered.show_code())
    assert _is_verified(users.first, BOB)
    users.wire.carry()
    assert answered.state.name == "SCANNED"
    assert not _is_verified(users.second, ALICE)
    answered.confirm()
    users.wire.carry()
    assert asked.state is answered.state is State.DONE
    assert _is_verified(users.second, ALICE)


def test_a_new_device_shows_a_code_and_the_old_one_scans_it(own_devices: Pair) -> None:
    asked, answered = own_devices.ask()
    code = answered.show_code()
    assert code[7] == 2
    asked.scan(code)
    own_devices.wire.carry()
    answered.confirm()
    own_devices.wire.carry()
    own_devices.first.upload()
    own_devices.second.query()
    assert own_devices.second.signing.is_verified
    assert own_devices.second.standing(ALICE, DeviceId("NEW")) is Standing.VERIFIED


def test_an_identity_that_is_swapped_while_a_code_is_shown_is_not_taken_for_ours(own_devices: Pair) -> None:
    """What the code says is what was fixed at the beginning, and that is what the scan proves."""
    new, real = own_devices.second, copy.deepcopy(own_devices.first.directory.published)
    new.publish_of(ALICE, Published(ALICE))
    new.query()
    asked, answered = own_devices.ask()
    forged = copy.deepcopy(new.directory.published)
    new.directory.published = real
    new.query()
    code = answered.show_code()
    new.directory.published = forged
    new.query()
    with pytest.raises(VerificationFailed, match="key_mismatch"):
        asked.scan(code)
    own_devices.wire.carry()
    assert answered.state is State.CANCELLED
    assert not new.signing.is_verified


def test_an_old_device_shows_a_code_and_the_new_one_scans_it(own_devices: Pair) -> None:
    asked, answered = own_devices.ask()
    code = asked.show_code()
    assert code[7] == 1
    answered.scan(code)
    assert own_devices.second.signing.is_verified
    own_devices.wire.carry()
    asked.confirm()
    own_devices.wire.carry()
    own_devices.first.upload()
    assert asked.state is answered.state is State.DONE
    assert own_devices.first.standing(ALICE, DeviceId("NEW")) is Standing.VERIFIED


def test_who_has_not_seen_the_code_cannot_say_to_have_scanned_it(users: Pair) -> None:
    _, answered = users.ask()
    answered.show_code()
    forged = {"from_device": "APHONE", "method": RECIPROCATE, "secret": "AAAAAAAAAAAAAAAAAAAAAA"}
    users.second.flow.receive(START, ALICE, {**forged, "transaction_id": answered.transaction_id}, NOW)
    users.wire.carry()
    assert users.wire.codes(users.second) == ["m.key_mismatch"]
    assert not _is_verified(users.second, ALICE)


def test_a_code_with_another_key_or_of_another_verification_is_refused(users: Pair) -> None:
    for change in (1, 12, 50, 100):
        asked, answered = users.ask()
        code = bytearray(answered.show_code())
        code[change] ^= 1
        with pytest.raises(VerificationFailed, match="key_mismatch"):
            asked.scan(bytes(code))
        users.wire.carry()
        assert asked.state is answered.state is State.CANCELLED
    assert not _is_verified(users.first, BOB)


def test_a_code_for_own_devices_does_not_verify_another_user(users: Pair) -> None:
    asked, answered = users.ask()
    code = bytearray(answered.show_code())
    code[7] = 1
    with pytest.raises(VerificationFailed):
        asked.scan(bytes(code))


def test_somebody_in_the_middle_who_changes_keys_is_noticed(users: Pair) -> None:
    def swap(event_type: str, content: dict[str, Any]) -> dict[str, Any]:
        if event_type == KEY:
            content["key"] = Published(ALICE).public("master")
        return content

    asked, answered = users.ask()
    users.wire.change = swap
    asked.compare()
    users.wire.carry()
    assert asked.code is Code.MISMATCHED_COMMITMENT
    assert answered.state is State.CANCELLED


def test_keys_that_the_homeserver_swaps_during_a_verification_are_not_trusted(users: Pair) -> None:
    """What is verified is fixed at the beginning."""
    asked, answered = users.compare()
    forged = Published(BOB)
    users.first.publish_of(BOB, forged)
    users.first.query()
    answered.confirm()
    users.wire.carry()
    with pytest.raises(VerificationFailed, match="key_mismatch"):
        asked.confirm()
    users.wire.carry()
    assert not _is_verified(users.first, BOB)
    assert asked.code is Code.KEY_MISMATCH
    # Bob's side had seen all that it needs; it is told all the same.
    assert users.wire.codes(users.first) == ["m.key_mismatch"]


def test_a_device_named_like_a_cross_signing_key_is_never_verified() -> None:
    """CVE-2022-39250: the id of a device and a cross-signing key are kept apart."""
    directory = Directory()
    alice = Talker(directory, ALICE, "APHONE")
    alice.set_up()
    bobs = Published(BOB)
    alice.publish_of(BOB, bobs)
    name = bobs.public("master")
    directory.publish_device(BOB, DeviceId(name), device_keys(BOB, name))
    alice.query()
    assert stored.device(alice.store, BOB, DeviceId(name)) is None
    with alice.store.transaction():
        stored.keep_device(alice.store, _device(BOB, name))
    request = {"from_device": name, "methods": [SAS], "timestamp": NOW, "transaction_id": "t"}
    alice.flow.receive(REQUEST, BOB, request, NOW)
    assert alice.flow.take_incoming() == []


def test_a_mac_of_a_device_does_not_verify_the_master_key(users: Pair) -> None:
    """CVE-2022-39250: only what was vouched for under its own name is trusted."""
    asked, answered = users.compare()
    sas = answered._sas
    assert sas is not None
    users.wire.carry()
    mac = sas.mac({"ed25519:BPHONE": users.second.ed25519})
    users.first.flow.receive(MAC, BOB, {**mac, "transaction_id": asked.transaction_id}, NOW)
    asked.confirm()
    assert asked.state is State.DONE
    assert not _is_verified(users.first, BOB)


def _device(user_id: UserId, device_id: str) -> Any:
    from tricord.clients.encryption.devices import Device as Stored

    return Stored.parse(user_id, DeviceId(device_id), device_keys(user_id, device_id))


@pytest.fixture
def ours() -> tuple[Talker, Talker, Talker]:
    directory = Directory()
    devices = Talker(directory, ALICE, "OLD"), Talker(directory, ALICE, "SECOND"), Talker(directory, ALICE, "THIRD")
    for device in devices:
        device.query()
    return devices


def test_one_device_accepts_and_the_others_are_told(ours: tuple[Talker, Talker, Talker]) -> None:
    old, second, third = ours
    wire = Wire(*ours)
    asked = old.flow.request(ALICE, NOW)
    wire.carry()
    second.only().accept()
    other = third.only()
    wire.carry()
    assert asked.other_device == "SECOND"
    assert other.code is Code.ACCEPTED
    assert wire.codes(old) == ["m.accepted"]


def test_one_device_refuses_and_the_others_are_told(ours: tuple[Talker, Talker, Talker]) -> None:
    old, second, third = ours
    wire = Wire(*ours)
    asked = old.flow.request(ALICE, NOW)
    wire.carry()
    second.only().cancel()
    other = third.only()
    wire.carry()
    assert asked.code is Code.USER
    assert other.code is Code.USER


def test_a_request_that_another_device_of_ours_answered_in_a_room_is_over_here(users: Pair) -> None:
    other = Talker(users.first.directory, BOB, "BTABLET")
    users.wire.devices = (users.first, users.second, other)
    users.first.query()
    users.first.flow.request(BOB, NOW, room_id=ROOM)
    users.wire.carry()
    here, there = users.second.only(), other.only()
    there.accept()
    users.wire.carry()
    assert here.code is Code.ACCEPTED
    assert there.state is State.READY


def test_a_request_to_somebody_else_in_a_room_is_not_ours(users: Pair) -> None:
    content = {"msgtype": REQUEST, "from_device": "APHONE", "methods": [SAS], "to": "@carol:example.org", "body": ""}
    users.second.flow.receive("m.room.message", ALICE, content, NOW, room_id=ROOM, event_id=EventId("$x"), sent_ms=NOW)
    assert users.second.flow.take_incoming() == []


@pytest.mark.parametrize("sent_ms", [NOW - LONGEST_MS - 1, NOW + 5 * 60_000 + 1, None, "1", True, 2**70])
def test_a_request_of_another_time_is_ignored(users: Pair, sent_ms: Any) -> None:
    request = {"from_device": "APHONE", "methods": [SAS], "timestamp": sent_ms, "transaction_id": "t"}
    users.second.flow.receive(REQUEST, ALICE, request, NOW)
    assert users.second.flow.take_incoming() == []


def test_what_takes_too_long_is_ended(users: Pair) -> None:
    asked, answered = users.compare()
    users.first.flow.tick(NOW + LONGEST_MS - 1)
    assert asked.state is State.COMPARING
    assert users.first.flow.next_tick_ms == NOW + LONGEST_MS
    users.first.flow.tick(NOW + LONGEST_MS)
    users.wire.carry()
    assert asked.code is answered.code is Code.TIMEOUT
    assert users.first.flow.next_tick_ms is None


def test_nobody_is_asked_for_more_than_two_minutes(users: Pair) -> None:
    asked = users.first.flow.request(BOB, NOW)
    users.wire.carry()
    answered = users.second.only()
    users.second.flow.tick(NOW + PROMPT_MS)
    users.wire.carry()
    assert answered.code is Code.TIMEOUT
    assert asked.state is State.REQUESTED


def test_a_device_that_asks_twice_at_once_gets_neither(users: Pair) -> None:
    users.first.flow.request(BOB, NOW)
    users.first.flow.request(BOB, NOW)
    users.wire.carry()
    assert users.second.flow.take_incoming() == []
    assert users.wire.codes(users.second) == ["m.unexpected_message"] * 2


@pytest.mark.parametrize("room_id", [None, ROOM])
def test_what_is_delivered_twice_does_no_harm(users: Pair, room_id: RoomId | None) -> None:
    users.wire.twice = True
    asked, answered = users.compare(room_id)
    asked.confirm()
    answered.confirm()
    users.wire.carry()
    assert asked.state is answered.state is State.DONE


def test_who_does_not_know_a_verification_says_so_once(users: Pair) -> None:
    users.first.flow.receive(KEY, BOB, {"key": "x", "transaction_id": "unknown"}, NOW)
    users.wire.carry()
    assert users.wire.codes(users.first) == ["m.unknown_transaction"]
    assert users.wire.types(users.second) == []


def test_a_request_of_a_device_that_is_not_known_yet_waits_until_it_is(users: Pair) -> None:
    tablet = Talker(users.first.directory, BOB, "BTABLET")
    users.wire.devices = (users.first, tablet)
    tablet.flow.request(ALICE, NOW)
    users.wire.carry()
    assert users.first.flow.take_incoming() == []
    assert users.first.wanted == [BOB]
    users.first.query()
    users.first.flow.devices_known([BOB], NOW)
    assert users.first.only().other_device == "BTABLET"
    request = {"from_device": "NOWHERE", "methods": [SAS], "timestamp": NOW, "transaction_id": "t"}
    users.first.flow.receive(REQUEST, BOB, request, NOW)
    users.first.flow.devices_known([BOB], NOW)
    assert users.first.wanted == [BOB, BOB]


def test_methods_that_are_not_common_are_refused(users: Pair) -> None:
    asked, answered = users.ask()
    asked.their_methods = (RECIPROCATE,)
    with pytest.raises(VerificationFailed, match="unknown_method"):
        asked.compare()
    start = {"from_device": "APHONE", "method": "m.telepathy", "transaction_id": answered.transaction_id}
    users.second.flow.receive(START, ALICE, start, NOW)
    assert answered.code is Code.UNKNOWN_METHOD


def test_messages_out_of_order_end_it_with_the_right_code(users: Pair) -> None:
    for event_type in (ACCEPT, KEY, MAC, DONE, READY):
        _, answered = users.ask()
        content = {"transaction_id": answered.transaction_id, "from_device": "APHONE"}
        users.second.flow.receive(event_type, ALICE, content, NOW)
        if event_type == READY:
            # It may only come from a device that was asked; Bob asked nobody.
            assert answered.state is State.READY
            answered.cancel()
        else:
            assert answered.code is Code.UNEXPECTED_MESSAGE
        users.wire.carry()


def test_a_third_user_cannot_speak_into_a_verification(users: Pair) -> None:
    asked, _ = users.compare()
    mallory = UserId("@mallory:example.org")
    users.first.flow.receive(
        CANCEL, mallory, {"transaction_id": asked.transaction_id, "code": "m.user", "reason": ""}, NOW
    )
    assert asked.state is State.COMPARING


def test_a_message_to_a_device_cannot_speak_into_a_verification_in_a_room(users: Pair) -> None:
    asked, _ = users.compare(ROOM)
    cancel = {"transaction_id": asked.transaction_id, "code": "m.user", "reason": ""}
    users.first.flow.receive(CANCEL, BOB, cancel, NOW)
    assert asked.state is State.COMPARING


def test_people_do_things_at_the_wrong_time(users: Pair) -> None:
    asked = users.first.flow.request(BOB, NOW)
    for act in (asked.accept, asked.confirm, asked.show_code, lambda: asked.scan(b"")):
        with pytest.raises(VerificationFailed):
            act()
    assert asked.state is State.REQUESTED


def test_an_identity_that_is_not_known_to_be_ours_is_not_vouched_for(own_devices: Pair) -> None:
    keys = own_devices.second.flow.our_keys()
    assert keys.master is None
    identity = own_devices.second.signing.identity
    assert identity is not None
    assert own_devices.first.flow.our_keys().master == identity.master
    assert len(decode_base64(identity.master)) == 32


def test_a_flood_of_requests_is_not_remembered(users: Pair) -> None:
    for number in range(200):
        request = {"from_device": "APHONE", "methods": [SAS], "timestamp": NOW, "transaction_id": f"t{number}"}
        users.second.flow.receive(REQUEST, ALICE, request, NOW)
        unknown = {**request, "from_device": f"D{number}", "transaction_id": f"u{number}"}
        users.second.flow.receive(REQUEST, ALICE, unknown, NOW)
    assert len(users.second.flow.take_incoming()) <= 1
    assert len(users.second.flow._arrivals._waiting) <= 50


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.lists(st.text(max_size=5), max_size=3)
CONTENT: st.SearchStrategy[Any] = LEAVES | st.dictionaries(
    st.sampled_from(
        ("from_device", "methods", "timestamp", "method", "key", "mac", "keys", "code", "commitment", "m.relates_to")
    ),
    LEAVES | st.just("APHONE") | st.just([SAS]) | st.just(NOW) | st.dictionaries(st.text(max_size=5), LEAVES),
)
TYPES = st.sampled_from((REQUEST, READY, START, ACCEPT, KEY, MAC, DONE, CANCEL, "m.key.verification.other"))


def _pairs() -> Iterator[Pair]:
    directory = Directory()
    alice, bob = Talker(directory, ALICE, "APHONE"), Talker(directory, BOB, "BPHONE")
    alice.set_up()
    bob.set_up()
    alice.query()
    while True:
        yield Pair(alice, bob)


PAIRS = _pairs()


@given(messages=st.lists(st.tuples(TYPES, CONTENT, st.booleans(), st.booleans()), max_size=12))
def test_nothing_that_somebody_sends_can_raise(messages: list[tuple[str, Any, bool, bool]]) -> None:
    pair = next(PAIRS)
    transaction_id = "known"
    pair.second.flow._verifications.clear()
    request = {"from_device": "APHONE", "methods": [SAS], "timestamp": NOW, "transaction_id": transaction_id}
    pair.second.flow.receive(REQUEST, ALICE, request, NOW)
    for verification in pair.second.flow.take_incoming():
        verification.accept()
    for event_type, content, known, in_room in messages:
        if isinstance(content, dict) and known:
            content = {**content, "transaction_id": transaction_id}
        room_id = ROOM if in_room else None
        event_id = EventId("$e") if in_room else None
        pair.second.flow.receive(event_type, ALICE, content, NOW, room_id=room_id, event_id=event_id, sent_ms=NOW)
    pair.second.flow.tick(NOW + 3 * LONGEST_MS)
    assert not _is_verified(pair.second, ALICE)
