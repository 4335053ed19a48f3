"""What went wrong in other clients, and must not in this one: each test is named for its lesson."""

from __future__ import annotations

import logging
from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vodozemac import Curve25519PublicKey, GroupSession

from tests.clients.encryption.published import CrossSigning, device_keys
from tests.clients.encryption.town import ROOM, Somebody, Town
from tricord.clients import Encryption
from tricord.clients.encryption.devices import MEGOLM, OLM, Trust
from tricord.clients.encryption.errors import CannotDecrypt, Reason
from tricord.clients.encryption.machine import Machine
from tricord.clients.encryption.megolm import Doubt
from tricord.clients.encryption.policy import Policy
from tricord.clients.encryption.requests import SendToDevice
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import room_keys as stored_keys
from tricord.clients.encryption.stored import rooms as stored_rooms
from tricord.clients.errors import SignedOut
from tricord.clients.events import typed_event
from tricord.clients.testing import PASSWORD, Homeserver, Person
from tricord.protocol.errors import InvalidParam
from tricord.protocol.identifiers import DeviceId, RoomId, UserId
from tricord.protocol.unpadded_base64 import encode_base64

HOUR_MS = 3_600_000
MALLORY = "@mallory:localhost"


def two() -> tuple[Town, Somebody, Somebody]:
    town = Town()
    return town, Somebody(town, "alice"), Somebody(town, "bob")


class Forger:
    """An attacker who can make Olm messages that say anything."""

    def __init__(self, town: Town, user_id: str = MALLORY, device_id: str = "EVIL") -> None:
        self.town = town
        self.user_id = user_id
        self.device_id = device_id
        self.account = town.stranger(user_id, device_id)

    @property
    def curve25519(self) -> str:
        return self.account.curve25519_key.to_base64()

    def plaintext(self, victim: Somebody, event_type: str, content: dict[str, Any], **changed: Any) -> dict[str, Any]:
        return {
            "type": event_type,
            "content": content,
            "sender": self.user_id,
            "recipient": victim.user_id,
            "recipient_keys": {"ed25519": victim.device.ed25519},
            "keys": {"ed25519": self.account.ed25519_key.to_base64()},
            **changed,
        }

    def send(self, victim: Somebody, plaintext: dict[str, Any], *, sender: str | None = None) -> None:
        """Let the homeserver deliver an Olm message with this in it."""
        box = self.town.box(victim.user_id, victim.device_id)
        name = next(iter(box.one_time_keys))
        session = self.account.create_outbound_session(
            Curve25519PublicKey.from_base64(victim.device.curve25519),
            Curve25519PublicKey.from_base64(box.one_time_keys.pop(name)["key"]),
        )
        message_type, body = session.encrypt(orjson.dumps(plaintext)).to_parts()
        content = {
            "algorithm": OLM,
            "sender_key": self.curve25519,
            "ciphertext": {victim.device.curve25519: {"type": message_type, "body": encode_base64(body)}},
        }
        box.messages.append({"type": "m.room.encrypted", "sender": sender or self.user_id, "content": content})


def room_key(session: GroupSession, room_id: str = ROOM) -> dict[str, Any]:
    key = session.session_key.to_base64()
    return {"algorithm": MEGOLM, "room_id": room_id, "session_id": session.session_id, "session_key": key}


def encrypted(session: GroupSession, sender: str, body: str, event_id: str = "$x", **changed: Any) -> dict[str, Any]:
    plaintext = {"type": "m.room.message", "content": {"body": body}, "room_id": ROOM, **changed}
    content = {
        "algorithm": MEGOLM,
        "session_id": session.session_id,
        "ciphertext": session.encrypt(orjson.dumps(plaintext)).to_base64(),
    }
    return {"type": "m.room.encrypted", "event_id": event_id, "sender": sender, "content": content}


def forwarded(key: stored_keys.RoomKey) -> dict[str, Any]:
    return {
        "algorithm": MEGOLM,
        "room_id": key.room_id,
        "session_id": key.session_id,
        "session_key": key.exported(),
        "sender_key": key.sender_key,
        "sender_claimed_ed25519_key": key.ed25519,
        "forwarding_curve25519_key_chain": [],
    }


def test_keys_are_given_on_request_to_verified_devices_of_our_own_only() -> None:
    """CVE-2021-40823: keys shared to the wrong device."""
    town, alice, bob = two()
    event = alice.say()
    bob.sync()
    session_id = event["content"]["session_id"]
    tablet = Somebody(town, "bob", "TABLET", joined=False)
    town.stranger(MALLORY, "EVIL")
    bob.machine.follow([UserId(MALLORY)])
    bob.sync()
    evil = bob.machine.devices_of(UserId(MALLORY))[DeviceId("EVIL")]
    # Even a verified device of somebody else is somebody else's.
    bob.machine.set_trust(evil, Trust.VERIFIED)
    body = {"algorithm": MEGOLM, "room_id": ROOM, "session_id": session_id}
    requests = [
        (MALLORY, "EVIL"),
        (MALLORY, "TABLET"),
        (bob.user_id, "TABLET"),
        (bob.user_id, "EVIL"),
        (bob.user_id, "PHONE"),
        (bob.user_id, ["TABLET"]),
    ]
    town.made.clear()
    for number, (sender, device_id) in enumerate(requests):
        content = {"action": "request", "body": body, "request_id": str(number), "requesting_device_id": device_id}
        message = {"type": "m.room_key_request", "sender": sender, "content": content}
        town.box(bob.user_id, bob.device_id).messages.append(message)
    bob.sync()
    assert not [request for request in town.made if isinstance(request, SendToDevice)]
    tablet.sync()
    assert tablet.reason(event).reason is Reason.NO_KEY


def test_forwarded_keys_that_nobody_asked_for_are_refused() -> None:
    """CVE-2022-39249, 39246, 39257, 39252, 39254: unsolicited forwarded keys impersonate."""
    town, alice, bob = two()
    alice.say()
    (key,) = stored_keys.room_keys(alice.store)
    mallory = Forger(town)
    mallory.send(bob, mallory.plaintext(bob, "m.forwarded_room_key", forwarded(key)))
    # Nor from a device of our own that is not verified, not even if we have asked for it.
    second = Forger(town, bob.user_id, "SECOND")
    second.send(bob, second.plaintext(bob, "m.forwarded_room_key", forwarded(key)))
    with bob.store.transaction():
        bob.store.change("DELETE FROM room_keys")
        bob.machine.key_requests.ask(ROOM, key.session_id)
    # What Alice has sent herself is left out, to see the others alone.
    box = town.box(bob.user_id, bob.device_id)
    box.messages = [message for message in box.messages if message["sender"] != alice.user_id]
    bob.sync()
    assert list(stored_keys.room_keys(bob.store)) == []


def test_forwarded_keys_in_clear_are_refused() -> None:
    town, alice, bob = two()
    alice.say()
    (key,) = stored_keys.room_keys(alice.store)
    session = GroupSession()
    box = town.box(bob.user_id, bob.device_id)
    box.messages = [
        {"type": "m.forwarded_room_key", "sender": bob.user_id, "content": forwarded(key)},
        {"type": "m.room_key", "sender": alice.user_id, "content": room_key(session)},
    ]
    bob.sync()
    assert list(stored_keys.room_keys(bob.store)) == []


def test_a_device_is_told_things_by_olm_only() -> None:
    """CVE-2022-39251: to-device messages encrypted with Megolm were accepted."""
    town, alice, bob = two()
    alice.say()
    bob.sync()
    other = GroupSession()
    plaintext = {"type": "m.room_key", "content": room_key(other), "room_id": ROOM}
    content = alice.machine.encrypt(ROOM, "m.room_key", plaintext["content"])  # type: ignore[arg-type]  # an object
    message = {"type": "m.room.encrypted", "sender": alice.user_id, "content": content}
    town.box(bob.user_id, bob.device_id).messages.append(message)
    bob.sync()
    assert stored_keys.room_key(bob.store, ROOM, other.session_id) is None


def test_an_olm_message_says_who_sent_it_to_whom() -> None:
    """CVE-2025-48937, CVE-2026-45056: who sent something is bound to the keys it was encrypted with."""
    town, alice, bob = two()
    mallory = Forger(town)
    wrong: list[dict[str, Any]] = [
        {"sender": alice.user_id},
        {"recipient": alice.user_id},
        {"recipient_keys": {"ed25519": alice.device.ed25519}},
        {"recipient_keys": None},
        {"keys": {}},
        {"keys": {"ed25519": alice.device.ed25519}, "sender_device_keys": alice.machine.own.device_keys()},
        {"sender_device_keys": alice.machine.own.device_keys()},
        {"sender_device_keys": device_keys(MALLORY, "OTHER")},
        {"sender_device_keys": {**device_keys(MALLORY, "EVIL", mallory.account), "signatures": {}}},
        {"sender_device_keys": "nonsense"},
    ]
    sessions = [GroupSession() for _ in wrong]
    for changed, session in zip(wrong, sessions, strict=True):
        mallory.send(bob, mallory.plaintext(bob, "m.room_key", room_key(session), **changed))
    # The homeserver says that it is Alice's.
    relayed = GroupSession()
    mallory.send(bob, mallory.plaintext(bob, "m.room_key", room_key(relayed)), sender=alice.user_id)
    good = GroupSession()
    mallory.send(bob, mallory.plaintext(bob, "m.room_key", room_key(good)))
    bob.sync()
    assert [key.session_id for key in stored_keys.room_keys(bob.store)] == [good.session_id]


def test_a_message_is_its_senders_only_if_the_key_is() -> None:
    """CVE-2025-48937: the sender of a Megolm event is not whom the homeserver names."""
    town, alice, bob = two()
    mallory = Forger(town)
    session = GroupSession()
    mallory.send(bob, mallory.plaintext(bob, "m.room_key", room_key(session)))
    bob.sync()
    assert bob.reason(encrypted(session, alice.user_id, "I am Alice")).reason is Reason.WRONG_SENDER
    assert bob.read(encrypted(session, MALLORY, "I am Mallory", "$y")).content["body"] == "I am Mallory"


def test_somebody_elses_key_does_not_become_ones_own_by_sending_it() -> None:
    town, alice, bob = two()
    event = alice.say("Hello")
    bob.sync()
    (key,) = stored_keys.room_keys(bob.store)
    mallory = Forger(town)
    session = stored_rooms.own_session(alice.store, ROOM)
    assert session is not None
    mallory.send(bob, mallory.plaintext(bob, "m.room_key", room_key(session.session)))
    bob.sync()
    assert bob.read(event).content["body"] == "Hello"
    assert bob.reason({**event, "sender": MALLORY}).reason is Reason.WRONG_SENDER
    (kept,) = stored_keys.room_keys(bob.store)
    assert (kept.user_id, kept.sender_key) == (alice.user_id, key.sender_key)


def test_a_passed_on_key_of_a_known_device_is_not_another_users() -> None:
    _, alice, bob = two()
    event = alice.say("Hello")
    bob.say("to know each other's devices")
    bob.sync()
    (key,) = [key for key in stored_keys.room_keys(bob.store) if key.session_id == event["content"]["session_id"]]
    with bob.store.transaction():
        bob.store.change("DELETE FROM room_keys")
        bob.machine.megolm.add_exported(forwarded(key), stored_keys.Origin.EXPORT)
    assert bob.reason({**event, "sender": MALLORY}).reason is Reason.WRONG_SENDER
    assert Doubt.NOT_AUTHENTIC in bob.read(event).warnings


def test_a_ciphertext_is_read_once_and_in_its_room() -> None:
    """The text: "clients must guard against replay attacks"."""
    _, alice, bob = two()
    event = alice.say("pay 10")
    bob.sync()
    assert bob.read(event).content["body"] == "pay 10"
    assert bob.read(event).content["body"] == "pay 10"
    assert bob.reason({**event, "event_id": "$again"}).reason is Reason.REPLAYED
    with pytest.raises(CannotDecrypt) as elsewhere:
        bob.machine.decrypt(RoomId("!other:localhost"), event)
    assert elsewhere.value.reason is Reason.NO_KEY


def test_a_message_stays_in_the_room_it_was_written_for() -> None:
    town, _, bob = two()
    mallory = Forger(town)
    session = GroupSession()
    mallory.send(bob, mallory.plaintext(bob, "m.room_key", room_key(session)))
    bob.sync()
    event = encrypted(session, MALLORY, "Hello", room_id="!other:localhost")
    assert bob.reason(event).reason is Reason.WRONG_ROOM


def test_a_worse_key_does_not_replace_a_better_one_nor_another_ratchet_any() -> None:
    _, alice, bob = two()
    event = alice.say("first")
    bob.sync()
    (key,) = stored_keys.room_keys(bob.store)
    later = key.session.export_at(1)
    assert later is not None
    with bob.store.transaction():
        assert (
            bob.machine.megolm.add_exported(
                {**forwarded(key), "session_key": later.to_base64()}, stored_keys.Origin.BACKUP
            )
            is None
        )
    assert bob.read(event).content["body"] == "first"
    # What merely says that it is better is looked at twice; then the certain one comes back, as far as it reaches.
    with bob.store.transaction():
        bob.store.change("DELETE FROM room_keys")
        bob.machine.megolm.add_exported({**forwarded(key), "session_key": later.to_base64()}, stored_keys.Origin.BACKUP)
        assert bob.machine.megolm.add(key)
    (kept,) = stored_keys.room_keys(bob.store)
    assert (kept.first_index, kept.origin) == (0, stored_keys.Origin.RECEIVED)


def test_the_homeserver_cannot_add_a_device_that_reads() -> None:
    """Albrecht et al., 2022: a malicious homeserver adds devices."""
    town = Town()
    bob = Somebody(town, "bob")
    keys = CrossSigning(bob.user_id)
    box = town.box(bob.user_id, bob.device_id)
    assert box.keys is not None
    box.keys = keys.sign(box.keys, "self_signing")
    for name, published in keys.answer().items():
        town.cross_signing[name] |= published
    readers = {}
    for policy in Policy:
        readers[policy] = Somebody(town, f"alice-{policy.value}", policy=policy)
    spy = Somebody(town, "bob", "SPY", joined=False)
    for policy, alice in readers.items():
        alice.sync()
        event = alice.say()
        assert bob.hears(event) == "Hello"
        spy.sync()
        if policy is Policy.ALL:
            assert spy.read(event)
        else:
            assert (spy.reason(event).reason, spy.reason(event).code) == (Reason.WITHHELD, "m.unverified")


def test_what_an_unknown_device_wrote_is_not_shown_to_who_asks_for_certainty() -> None:
    town = Town()
    alice, bob = Somebody(town, "alice"), Somebody(town, "bob", policy=Policy.CROSS_SIGNED)
    event = alice.say()
    bob.sync()
    assert bob.reason(event).reason is Reason.UNTRUSTED_DEVICE


def test_what_others_say_of_keys_does_not_fill_the_store() -> None:
    town, _, bob = two()
    town.stranger(MALLORY, "EVIL")
    box = town.box(bob.user_id, bob.device_id)
    for number in range(1500):
        content = {"room_id": ROOM, "session_id": str(number), "algorithm": MEGOLM, "code": "m.x", "reason": "x" * 5000}
        box.messages.append({"type": "m.room_key.withheld", "sender": MALLORY, "content": content})
    bob.sync()
    ((count, longest),) = bob.store.rows("SELECT count(*), max(length(reason)) FROM withheld_keys")
    assert (count, longest) == (1000, 1000)
    town.now_ms += 100 * 24 * HOUR_MS
    box.messages.append({"type": "m.room_key.withheld", "sender": bob.user_id, "content": content})
    bob.sync()
    ((count,),) = bob.store.rows("SELECT count(*) FROM withheld_keys")
    assert count == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
SECTIONS = ("to_device", "device_lists", "device_one_time_keys_count", "device_unused_fallback_key_types", "rooms")
EVENT_KEYS = st.sampled_from(
    ["type", "sender", "content", "event_id", "state_key", "algorithm", "ciphertext", "sender_key", "session_id"]
)
TYPES = st.sampled_from(
    [
        "m.room.encrypted",
        "m.room_key",
        "m.room_key_request",
        "m.room_key.withheld",
        "m.forwarded_room_key",
        "m.dummy",
        "m.key.verification.request",
    ]
)
CONTENT = st.dictionaries(EVENT_KEYS, JSON | st.sampled_from([OLM, MEGOLM, ROOM]), max_size=6)
MESSAGE = st.fixed_dictionaries({"type": TYPES, "sender": st.just(MALLORY) | JSON, "content": CONTENT | JSON}) | JSON


@settings(max_examples=150, deadline=None)
@given(
    sections=st.dictionaries(st.sampled_from(SECTIONS), JSON, max_size=5),
    messages=st.lists(MESSAGE, max_size=4),
    events=st.lists(MESSAGE, max_size=4),
)
def test_nothing_malformed_stops_the_sync(sections: dict[str, Any], messages: list[Any], events: list[Any]) -> None:
    """CVE-2022-39236, CVE-2022-36059, CVE-2023-28427: one bad event stops the client."""
    machine = Machine(Store(None), UserId("@alice:localhost"), DeviceId("PHONE"), clock=lambda: 0)
    content = {"to_device": {"events": messages}, **sections, "next_batch": "s1"}
    machine.receive(content, since=None)
    room = {"join": {ROOM: {"timeline": {"events": events}, "state": {"events": events}}}}
    machine.receive({"rooms": room, "next_batch": "s2"}, since="s1")
    assert machine.position == "s2"
    for event in events:
        if isinstance(event, dict):
            with pytest.raises(CannotDecrypt):
                machine.decrypt(ROOM, event)
    for request in machine.requests():
        machine.answered(request.request_id, sections)


def test_a_bad_message_does_not_take_the_good_ones_with_it() -> None:
    town, alice, bob = two()
    event = alice.say("good")
    box = town.box(bob.user_id, bob.device_id)
    good = box.messages[:]
    bad = deepcopy(good[0])
    bad["content"]["ciphertext"][bob.device.curve25519]["body"] = "AAAA"
    box.messages = [None, {}, {"type": 1}, bad, *good, bad]  # type: ignore[list-item]  # that is the point
    assert bob.hears(event) == "good"


def test_numbers_out_of_range_and_unknown_words_are_only_that() -> None:
    """CVE-2025-59047, CVE-2025-66622: a power level of -2^63 and a custom join rule stop the client."""
    _, alice, bob = two()
    alice.learn_room()
    strange = [
        ("m.room.power_levels", {"users": {alice.user_id: -(2**63)}, "events_default": 2**80, "ban": "x"}),
        ("m.room.join_rules", {"join_rule": "org.example.custom", "allow": [{"type": 7}]}),
        ("m.room.history_visibility", {"history_visibility": "org.example.custom"}),
        ("m.room.encryption", {"algorithm": MEGOLM, "rotation_period_ms": 2**80, "rotation_period_msgs": -(2**63)}),
    ]
    events = [
        {"type": name, "state_key": "", "event_id": f"${number}", "sender": alice.user_id, "content": content}
        for number, (name, content) in enumerate(strange)
    ]
    alice.sync(*events)
    assert bob.hears(alice.say()) == "Hello"
    for event in events:
        assert typed_event(ROOM, event, Person("http://localhost")) is not None


def test_keys_and_tokens_are_not_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """RUSTSEC-2022-0062: secrets in logs."""
    caplog.set_level(logging.DEBUG)
    town, alice, bob = two()
    town.unanswered_claims.add(bob.user_id)
    alice.say("a secret")
    (key,) = stored_keys.room_keys(alice.store)
    assert key.exported() not in caplog.text
    assert "a secret" not in caplog.text


@pytest.mark.parametrize(
    "uri",
    [
        "mxc://../../_matrix/client/v3/account/whoami",
        "mxc://localhost/../../v3/account",
        "mxc://localhost/%2e%2e%2fadmin",
        "mxc://localhost/a/b",
        "mxc://localhost/a?b#c",
        "mxc://localhost",
        "https://localhost/a",
        "mxc://user@localhost/a",
    ],
)
async def test_content_uris_lead_to_media_only(in_memory: Homeserver, uri: str) -> None:
    """CVE-2024-50336: path traversal through `mxc://`."""
    alice = await in_memory.user("alice")
    with pytest.raises(InvalidParam):
        async with alice.download(uri):
            pass
    with pytest.raises(InvalidParam):
        async with alice.thumbnail(uri, 32, 32):
            pass


async def test_tokens_and_passwords_are_not_in_the_log(in_memory: Homeserver, caplog: pytest.LogCaptureFixture) -> None:
    """RUSTSEC-2022-0062: the access token in logs."""
    caplog.set_level(logging.DEBUG)
    alice = await in_memory.user("alice")
    room_id = await alice.create_room()
    await alice.send_text(room_id, "Hello")
    token = alice.access_token
    assert token is not None
    in_memory.end_sessions(alice.user_id)
    with pytest.raises(SignedOut) as ended:
        await alice.whoami()
    options = Encryption("keys", passphrase=PASSWORD)
    for secret in (token, PASSWORD):
        assert secret not in caplog.text + repr(options)
        assert secret not in repr(alice.session) + str(ended.value) + repr(alice.http.tokens)


async def test_a_room_is_followed_to_no_other_by_itself(in_memory: Homeserver) -> None:
    """CVE-2024-42369, CVE-2025-59160: cycles of predecessors hang a client, and nobody checks that they are meant."""
    alice, bob = await in_memory.user("alice"), await in_memory.user("bob")
    there, here = await alice.create_room(), await alice.create_room(invite=[bob.user_id])
    await bob.join(here)
    for room_id, other in ((here, there), (there, here), (here, here)):
        await alice.set_state(room_id, "m.room.tombstone", {"body": "moved", "replacement_room": other})
    await bob.sync()
    assert await bob.joined_rooms() == [here]
