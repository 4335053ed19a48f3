"""Machines among themselves: who can read what, and what nobody should believe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients.encryption.town import ROOM, Somebody, Town, member
from tricord.clients.encryption.devices import Standing, Trust
from tricord.clients.encryption.errors import CannotEncrypt, KeysNotShared, NotThisDevice, Reason
from tricord.clients.encryption.machine import Machine
from tricord.clients.encryption.megolm import Doubt
from tricord.clients.encryption.requests import KeysClaim, KeysQuery, KeysUpload, SendToDevice
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import room_keys as stored_keys
from tricord.protocol.identifiers import DeviceId, UserId

HOUR_MS = 3_600_000


def two() -> tuple[Town, Somebody, Somebody]:
    town = Town()
    return town, Somebody(town, "alice"), Somebody(town, "bob")


def session_of(event: dict[str, Any]) -> str:
    return str(event["content"]["session_id"])


def test_what_one_says_the_other_reads_and_oneself_too() -> None:
    _, alice, bob = two()
    event = alice.say("Is anybody here?")
    assert "Is anybody" not in str(event)
    assert bob.hears(event) == "Is anybody here?"
    assert alice.hears(event) == "Is anybody here?"
    answer = bob.say("Yes")
    assert alice.hears(answer) == "Yes"
    decrypted = alice.read(answer)
    assert decrypted.device is not None
    assert decrypted.device.device_id == bob.device_id
    assert decrypted.standing is Standing.UNSIGNED
    assert decrypted.warnings == (Doubt.UNSIGNED_DEVICE,)


def test_who_writes_from_a_new_device_before_we_hear_of_it_gets_our_answer_there() -> None:
    town, alice, bob = two()
    assert bob.hears(alice.say("Hello")) == "Hello"
    tablet = Somebody(town, "bob", "TABLET")
    # As across servers, where the news of a device and its messages go different ways.
    town.changed.clear()
    alice.sync()
    assert alice.hears(tablet.say("From my tablet")) == "From my tablet"
    assert tablet.hears(alice.say("I see")) == "I see"
    queries = [request for request in town.made if isinstance(request, KeysQuery)]
    town.box(bob.user_id, "TABLET").keys = None
    alice.hears(tablet.say("Again"))
    alice.say("Once more")
    assert queries == [request for request in town.made if isinstance(request, KeysQuery)]


def test_a_room_whose_members_have_not_the_key_is_not_written_to() -> None:
    _, alice, _ = two()
    with pytest.raises(CannotEncrypt):
        alice.machine.encrypt(ROOM, "m.room.message", {})
    alice.learn_room()
    assert not alice.machine.prepare(ROOM)
    with pytest.raises(KeysNotShared):
        alice.machine.encrypt(ROOM, "m.room.message", {})


def test_encryption_cannot_be_turned_off() -> None:
    town, alice, _ = two()
    alice.learn_room()
    off = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.none"}}
    empty = {"type": "m.room.encryption", "state_key": "", "content": {}}
    alice.sync(off, empty)
    del town.state["m.room.encryption"]
    alice.learn_room()
    assert alice.machine.is_encrypted(ROOM)
    assert alice.encrypt()["algorithm"] == "m.megolm.v1.aes-sha2"


def test_an_unknown_algorithm_is_not_guessed_at() -> None:
    town, alice, _ = two()
    town.state["m.room.encryption"] = {"algorithm": "org.example.better"}
    alice.learn_room()
    with pytest.raises(CannotEncrypt, match=r"org\.example\.better"):
        alice.machine.prepare(ROOM)


def test_relations_stay_readable_and_those_inside_are_ignored() -> None:
    _, alice, bob = two()
    relation = {"rel_type": "m.thread", "event_id": "$root"}
    event = alice.say("in a thread", relates_to=relation)
    assert event["content"]["m.relates_to"] == relation
    bob.sync()
    assert bob.read(event).content["m.relates_to"] == relation
    del event["content"]["m.relates_to"]
    assert "m.relates_to" not in bob.read(event).content


def test_the_key_is_rotated_after_a_hundred_messages_and_after_a_week() -> None:
    town, alice, bob = two()
    sessions = [session_of(alice.say()) for _ in range(101)]
    assert len(set(sessions[:100])) == 1
    assert sessions[100] != sessions[0]
    town.now_ms += 7 * 24 * HOUR_MS
    event = alice.say("later")
    assert session_of(event) != sessions[100]
    assert bob.hears(event) == "later"


def test_the_room_says_when_the_key_is_rotated() -> None:
    town, alice, _ = two()
    town.state["m.room.encryption"] |= {"rotation_period_msgs": 2, "rotation_period_ms": 2 * HOUR_MS}
    first, second, third = (session_of(alice.say()) for _ in range(3))
    assert first == second != third
    town.now_ms += 2 * HOUR_MS
    assert session_of(alice.say()) != third
    nonsense = {"algorithm": "m.megolm.v1.aes-sha2", "rotation_period_msgs": -5, "rotation_period_ms": "x"}
    alice.sync({"type": "m.room.encryption", "state_key": "", "content": nonsense})
    alice.say()


def test_the_key_is_rotated_when_somebody_leaves() -> None:
    town, alice, bob = two()
    carol = Somebody(town, "carol")
    before = alice.say()
    del town.members[carol.user_id]
    alice.sync(member(carol.user_id, "leave"))
    after = alice.say()
    assert session_of(before) != session_of(after)
    assert bob.hears(after) == "Hello"
    carol.sync()
    assert carol.reason(after).reason is Reason.NO_KEY


def test_the_key_is_rotated_when_somebody_came_and_left_unseen() -> None:
    _, alice, _ = two()
    before = alice.say()
    alice.sync(member("@stranger:localhost", "leave"))
    assert session_of(alice.say()) != session_of(before)


def test_the_key_is_rotated_when_a_device_is_gone_or_blocked() -> None:
    town, alice, bob = two()
    tablet = Somebody(town, "bob", "TABLET")
    alice.sync()
    sessions = [session_of(alice.say())]
    town.box(tablet.user_id, tablet.device_id).keys = None
    town.changed.append(tablet.user_id)
    alice.sync()
    sessions.append(session_of(alice.say()))
    alice.machine.set_trust(alice.machine.devices_of(bob.user_id)[bob.device_id], Trust.BLOCKED)
    event = alice.say()
    sessions.append(session_of(event))
    assert len(set(sessions)) == 3
    bob.sync()
    reason = bob.reason(event)
    assert (reason.reason, reason.code) == (Reason.WITHHELD, "m.blacklisted")


def test_the_key_is_rotated_when_the_history_visibility_changes() -> None:
    town, alice, bob = two()
    before = alice.say()
    town.state["m.room.history_visibility"] = {"history_visibility": "joined"}
    alice.sync({"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}})
    after = alice.say()
    assert session_of(before) != session_of(after)
    bob.sync()
    keys = {key.session_id: key.shared_history for key in stored_keys.room_keys(bob.store, ROOM)}
    assert keys == {session_of(before): True, session_of(after): False}


def test_who_comes_later_reads_from_then_on() -> None:
    town, alice, bob = two()
    before = alice.say("before")
    carol = Somebody(town, "carol")
    alice.sync(member(carol.user_id))
    after = alice.say("after")
    assert session_of(before) == session_of(after)
    assert carol.hears(after) == "after"
    assert carol.reason(before).reason is Reason.KEY_TOO_LATE
    assert bob.hears(after) == "after"


def test_a_new_device_is_given_the_key() -> None:
    town, alice, _ = two()
    alice.say()
    tablet = Somebody(town, "bob", "TABLET")
    alice.sync()
    assert tablet.hears(alice.say("for both")) == "for both"


def test_who_is_invited_reads_unless_only_members_may() -> None:
    town, alice, _ = two()
    carol = Somebody(town, "carol", joined=False)
    town.members[carol.user_id] = "invite"
    assert carol.hears(alice.say("come")) == "come"
    town.state["m.room.history_visibility"] = {"history_visibility": "joined"}
    alice.sync({"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "joined"}})
    event = alice.say("secret")
    carol.sync()
    assert carol.reason(event).reason is Reason.NO_KEY


def test_a_gap_in_the_membership_is_read_again() -> None:
    town, alice, bob = two()
    alice.say()
    carol = Somebody(town, "carol")
    content = alice.content()
    content["rooms"] = {"join": {ROOM: {"timeline": {"limited": True, "events": []}}}}
    alice.machine.receive(content, since=alice.since, members_are_complete=False)
    alice.since = content["next_batch"]
    assert carol.hears(alice.say("for all")) == "for all"
    # The position is another than ours: anything may have happened.
    dave = Somebody(town, "dave")
    alice.machine.receive({**alice.content(), "device_lists": {}}, since="somewhere else")
    assert dave.hears(alice.say("for Dave")) == "for Dave"
    assert bob.hears(alice.say("for Bob")) == "for Bob"


def test_a_membership_that_changes_while_the_state_is_read_is_not_overwritten() -> None:
    town, alice, bob = two()
    carol = Somebody(town, "carol")
    alice.machine.read_room(ROOM)
    (request,) = alice.machine.requests()
    state = town.room_state()
    del town.members[carol.user_id]
    alice.machine.receive({**alice.content(member(carol.user_id, "leave"))}, since=alice.since)
    alice.since = "s1"
    alice.machine.answered(request.request_id, state)
    event = alice.say("without Carol")
    assert bob.hears(event) == "without Carol"
    carol.sync()
    assert carol.reason(event).reason is Reason.NO_KEY


def test_a_thousand_devices_are_given_the_key_in_bulk() -> None:
    town = Town()
    alice = Somebody(town, "alice")
    first = Somebody(town, "u0")
    for number in range(1, 1000):
        town.stranger(f"@u{number}:localhost", "PHONE")
    town.made.clear()
    event = alice.say("to all")
    claims = [request for request in town.made if isinstance(request, KeysClaim)]
    sent = [request for request in town.made if isinstance(request, SendToDevice)]
    assert (len(claims), len(sent)) == (4, 4)
    for claim in claims:
        assert sum(len(devices) for devices in claim.devices.values()) <= 250
    for request in sent:
        assert sum(len(messages) for messages in request.messages.values()) <= 250
    assert first.hears(event) == "to all"


def test_a_device_without_one_time_keys_is_told_once_and_tried_again_later() -> None:
    town, alice, bob = two()
    town.unanswered_claims.add(bob.user_id)
    event = alice.say("first")
    bob.sync()
    reason = bob.reason(event)
    assert (reason.reason, reason.code) == (Reason.WITHHELD, "m.no_olm")
    # Told so, it begins a session of its own, and lets it be known; so the second message reaches it.
    alice.sync()
    town.now_ms += 61_000
    assert bob.hears(alice.say("second")) == "second"
    withheld = [request for request in town.made if getattr(request, "event_type", "") == "m.room_key.withheld"]
    assert len(withheld) == 1


def test_a_server_that_is_down_does_not_stop_the_others() -> None:
    town, alice, bob = two()
    town.members["@carol:down"] = "join"
    town.failures = {"down": {"status": 503}}
    assert bob.hears(alice.say()) == "Hello"


def test_one_time_keys_are_kept_at_half_of_what_is_allowed() -> None:
    town, alice, _ = two()
    box = town.box(alice.user_id, alice.device_id)
    assert len(box.one_time_keys) == 25
    for name in list(box.one_time_keys)[:10]:
        del box.one_time_keys[name]
    alice.sync()
    assert len(box.one_time_keys) == 25
    town.made.clear()
    alice.sync()
    assert town.made == []
    box.one_time_keys.clear()
    content = alice.content()
    content["device_one_time_keys_count"] = {}
    alice.machine.receive(content, since=alice.since)
    alice.settle()
    assert len(box.one_time_keys) == 25


def test_a_fallback_key_that_was_used_is_replaced_and_then_forgotten() -> None:
    town, alice, bob = two()
    box = town.box(bob.user_id, bob.device_id)
    box.one_time_keys.clear()
    first = box.fallback_key
    event = alice.say("by the fallback key")
    assert box.fallback_used
    assert bob.hears(event) == "by the fallback key"
    second = box.fallback_key
    assert first != second
    bob.sync()
    assert box.fallback_key == second
    town.now_ms += HOUR_MS + 1
    bob.sync()
    third = box.fallback_key
    assert third != second
    town.now_ms += 2 * HOUR_MS
    bob.sync()
    assert box.fallback_key == third


def test_one_time_keys_that_the_homeserver_refuses_are_replaced() -> None:
    town, alice, _ = two()
    box = town.box(alice.user_id, alice.device_id)
    box.one_time_keys.clear()
    content = alice.content()
    alice.machine.receive(content, since=alice.since)
    alice.since = content["next_batch"]
    first, *_ = alice.machine.requests()
    alice.machine.refused(first.request_id, 400, {"errcode": "M_INVALID_PARAM"})
    assert not any(isinstance(request, KeysUpload) for request in alice.machine.requests())
    town.now_ms += 61_000
    second, *_ = alice.machine.requests()
    assert isinstance(first, KeysUpload)
    assert isinstance(second, KeysUpload)
    assert first.one_time_keys.keys().isdisjoint(second.one_time_keys)
    alice.settle()
    assert len(box.one_time_keys) == 25


def test_keys_that_the_homeserver_has_forgotten_are_published_again() -> None:
    town, alice, _ = two()
    box = town.box(alice.user_id, alice.device_id)
    box.keys = None
    town.changed.append(alice.user_id)
    alice.sync()
    assert box.keys is not None
    assert box.keys["keys"] == alice.device.keys["keys"]


def test_keys_of_before_are_not_replaced() -> None:
    town, alice, bob = two()
    kept = town.box(alice.user_id, alice.device_id).keys
    # The same device, and its store is gone.
    with pytest.raises(NotThisDevice, match="sign in as a new device"):
        Somebody(town, "alice")
    assert town.box(alice.user_id, alice.device_id).keys == kept
    assert bob.hears(alice.say()) == "Hello"


def test_a_store_is_one_devices() -> None:
    store = Store(None)
    Machine(store, UserId("@alice:localhost"), DeviceId("PHONE"))
    with pytest.raises(NotThisDevice):
        Machine(store, UserId("@alice:localhost"), DeviceId("TABLET"))


def test_a_broken_session_is_replaced_and_what_is_said_then_is_read(tmp_path: Path) -> None:
    town = Town()
    alice, bob = Somebody(town, "alice"), Somebody(town, "bob", path=tmp_path / "bob")
    assert bob.hears(alice.say("before")) == "before"
    # Bob's store goes back in time: he has lost the session.
    with bob.store.transaction():
        bob.store.change("DELETE FROM olm_sessions")
    assert alice.hears(bob.say("from Bob's new session")) == "from Bob's new session"
    with bob.store.transaction():
        bob.store.change("DELETE FROM olm_sessions")
    town.now_ms += 8 * 24 * HOUR_MS
    lost = alice.say("lost")
    bob.sync()
    assert bob.reason(lost, wait=True).reason is Reason.NO_KEY
    alice.sync()
    town.now_ms += 8 * 24 * HOUR_MS
    assert bob.hears(alice.say("found")) == "found"


def test_sessions_are_renewed_at_most_once_an_hour() -> None:
    town, alice, bob = two()
    alice.say()
    bob.sync()

    def disturb() -> int:
        town.made.clear()
        for number in range(3):
            ciphertext = {bob.device.curve25519: {"type": 1, "body": f"AwogAAA{number}"}}
            content = {
                "algorithm": "m.olm.v1.curve25519-aes-sha2",
                "sender_key": alice.device.curve25519,
                "ciphertext": ciphertext,
            }
            message = {"type": "m.room.encrypted", "sender": alice.user_id, "content": content}
            town.box(bob.user_id, bob.device_id).messages.append(message)
            bob.sync()
        return sum(isinstance(request, KeysClaim) for request in town.made)

    garbage = disturb()
    assert garbage <= 1
    assert disturb() == 0
    town.now_ms += HOUR_MS + 1
    assert disturb() == garbage


def test_late_keys_give_the_event_again() -> None:
    town, alice, bob = two()
    event = alice.say("early")
    box = town.box(bob.user_id, bob.device_id)
    held, box.messages = box.messages, []
    bob.sync()
    assert bob.reason(event, wait=True).reason is Reason.NO_KEY
    assert bob.late() == []
    box.messages = held
    bob.sync()
    (late,) = bob.machine.late_events()
    assert late.decrypted.content["body"] == "early"
    assert late.event == event
    # Until it has been handled it is given again: nothing is lost if we are killed in between.
    assert len(bob.late()) == 1
    assert bob.late() == []


def test_devices_of_our_own_ask_each_other_for_keys_if_they_are_verified() -> None:
    town, alice, bob = two()
    tablet = Somebody(town, "bob", "TABLET", joined=False)
    alice.learn_room()
    town.boxes[(tablet.user_id, tablet.device_id)].keys, kept = None, town.box(tablet.user_id, "TABLET").keys
    event = alice.say("only for the phone")
    town.box(tablet.user_id, "TABLET").keys = kept
    town.changed.append(bob.user_id)
    assert bob.hears(event) == "only for the phone"
    tablet.sync()
    # Nobody is verified: nobody is asked.
    town.made.clear()
    assert tablet.reason(event, wait=True).reason is Reason.NO_KEY
    tablet.settle()
    assert town.made == []
    tablet.machine.set_trust(tablet.machine.devices_of(bob.user_id)[bob.device_id], Trust.VERIFIED)
    tablet.reason(event, wait=True)
    tablet.settle()
    # The phone has not verified the tablet: it gives nothing (CVE-2021-40823).
    bob.sync()
    tablet.sync()
    assert tablet.late() == []
    bob.machine.set_trust(bob.machine.devices_of(bob.user_id)[tablet.device_id], Trust.VERIFIED)
    with tablet.store.transaction():
        tablet.store.change("DELETE FROM key_requests")
    tablet.reason(event, wait=True)
    tablet.settle()
    bob.sync()
    tablet.sync()
    (late,) = tablet.late()
    assert late.decrypted.content["body"] == "only for the phone"
    assert Doubt.NOT_AUTHENTIC in late.decrypted.warnings
    # It is asked for no more.
    assert town.box(bob.user_id, bob.device_id).messages[-1]["content"]["action"] == "request_cancellation"


def test_a_room_that_cannot_be_read_says_why() -> None:
    _, alice, _ = two()
    alice.machine.read_room(ROOM)
    (request,) = alice.machine.requests()
    alice.machine.refused(request.request_id, 403, {"errcode": "M_FORBIDDEN", "error": "not in the room"})
    with pytest.raises(CannotEncrypt, match="M_FORBIDDEN"):
        alice.machine.prepare(ROOM)


def test_requests_are_the_same_until_they_are_answered() -> None:
    _, alice, _ = two()
    alice.learn_room()
    alice.machine.prepare(ROOM)
    assert alice.machine.requests() == alice.machine.requests() != []
    alice.settle()
    alice.machine.prepare(ROOM)
    assert alice.machine.requests() == alice.machine.requests() != []
    alice.settle()
    alice.machine.prepare(ROOM)
    (share,) = alice.machine.requests()
    assert isinstance(share, SendToDevice)
    alice.machine.refused(share.request_id, 502, {})
    assert alice.machine.requests() == [share]
    for _ in range(3):
        alice.machine.refused(share.request_id, 400, {"errcode": "M_BAD_JSON"})
        alice.machine.requests()
    assert alice.machine.requests() == []
