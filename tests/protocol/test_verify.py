from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.scenes import ALICE, ALL_VERSIONS, BOB, CAROL, KEY, Room
from tricord.protocol.errors import SignatureInvalid
from tricord.protocol.events import Event, VerifiedEvent, countersigned, parse_event
from tricord.protocol.hashes import signed_form
from tricord.protocol.identifiers import KeyId, ServerName, UserId
from tricord.protocol.numbered_rules import RuleBroken
from tricord.protocol.redaction import redact
from tricord.protocol.room_versions import V1, V3, V4, V5, V8, V9, V10, V11, V12, RoomVersion
from tricord.protocol.signing import SigningKey, sign_json
from tricord.protocol.unpadded_base64 import encode_base64
from tricord.protocol.verify import (
    MAX_TRUST_MS,
    KeyName,
    ServerKey,
    check_signature,
    keys_needed,
    required_signers,
    verify,
)

each_version = pytest.mark.parametrize("version", ALL_VERSIONS, ids=repr)

A, B, C = (ServerName(name) for name in ("a.test", "b.test", "c.test"))
SENT_AT = 1_700_000_000_000
FOREVER = ServerKey(KEY.public_key, 2**60)
KEYS: dict[KeyName, ServerKey] = {(server, KEY.key_id): FOREVER for server in (A, B, C)}


def received(event: Event, **changes: Any) -> Event:
    """Return an event as another server might hand it on."""
    return parse_event({**event.pdu, **changes}, event.version)


def signed_by(event: Event, *servers: ServerName) -> Event:
    """Return an event with the signatures of these servers and no others."""
    signature = KEY.sign(signed_form(redact(event.pdu, event.version), event.version))
    return received(event, signatures={server: {KEY.key_id: signature} for server in servers})


@each_version
def test_what_was_signed_is_verified(version: RoomVersion) -> None:
    event = Room(version).event(ALICE, "m.room.name", "", {"name": "x"})
    verified = verify(received(event, unsigned={"age": 5}), KEYS)
    assert isinstance(verified, VerifiedEvent)
    assert (verified.event_id, verified.content) == (event.event_id, event.content)
    assert keys_needed(event) == {(A, KEY.key_id)}


@each_version
def test_content_that_was_not_signed_is_cut_off(version: RoomVersion) -> None:
    event = Room(version).event(ALICE, "m.room.name", "", {"name": "x"})
    verified = verify(received(event, content={"name": "another"}, age_ts=5), KEYS)
    assert verified.event_id == event.event_id
    assert verified.content == {}
    assert "age_ts" not in verified.pdu


@each_version
@pytest.mark.parametrize(
    "signatures",
    [
        {},
        {"b.test": {"ed25519:1": "AAAA"}},
        {"a.test": {}},
        {"a.test": {"rsa:1": "AAAA"}},
        {"a.test": {"ed25519:unknown": "AAAA"}},
        {"a.test": {"ed25519:1": "AAAA"}},
        {"a.test": {"ed25519:1": "*"}},
        {"a.test": {"ed25519:1": 5}},
    ],
    ids=repr,
)
def test_what_its_server_has_not_signed_is_refused(version: RoomVersion, signatures: Any) -> None:
    event = Room(version).event(ALICE, "m.room.name", "", {"name": "x"})
    with pytest.raises(SignatureInvalid):
        verify(received(event, signatures=signatures), KEYS)


@each_version
@pytest.mark.parametrize(
    "change", [{"depth": 7}, {"origin_server_ts": 7}, {"state_key": "y"}, {"type": "x"}, {"hashes": {"sha256": "A"}}]
)
def test_what_redaction_keeps_cannot_be_changed(version: RoomVersion, change: dict[str, Any]) -> None:
    event = Room(version).event(ALICE, "m.room.name", "", {"name": "x"})
    with pytest.raises(SignatureInvalid):
        verify(received(event, **change), KEYS)


def test_a_key_of_another_server_or_another_key_says_nothing() -> None:
    event = Room(V11).event(ALICE, "x", None, {})
    for keys in (
        {},
        {(B, KEY.key_id): FOREVER},
        {(A, KeyId("ed25519:2")): FOREVER},
        {(A, KEY.key_id): ServerKey(SigningKey.generate().public_key, 2**60)},
        {(A, KEY.key_id): ServerKey(b"short", 2**60)},
    ):
        with pytest.raises(SignatureInvalid):
            verify(received(event), keys)


def test_signatures_by_unknown_keys_are_passed_over() -> None:
    event = Room(V11).event(ALICE, "x", None, {})
    signatures = {"a.test": {**event.pdu["signatures"]["a.test"], "ed25519:policy_server": "AAAA", "x": "y"}, "z": {}}
    verify(received(event, signatures=signatures), KEYS)


@each_version
def test_keys_that_had_run_out_count_only_in_the_oldest_rooms(version: RoomVersion) -> None:
    event = Room(version).event(ALICE, "x", None, {}, origin_server_ts=SENT_AT)
    verify(received(event), {(A, KEY.key_id): ServerKey(KEY.public_key, SENT_AT)})
    keys = {(A, KEY.key_id): ServerKey(KEY.public_key, SENT_AT - 1)}
    with pytest.raises(SignatureInvalid) if version.keys_must_be_valid_at_event_time else contextlib.nullcontext():
        verify(received(event), keys)


def test_no_key_is_trusted_for_more_than_a_week() -> None:
    assert FOREVER.trusted_at(SENT_AT).valid_until_ts == SENT_AT + MAX_TRUST_MS
    assert ServerKey(b"", SENT_AT + 1).trusted_at(SENT_AT).valid_until_ts == SENT_AT + 1
    assert (V4.keys_must_be_valid_at_event_time, V5.keys_must_be_valid_at_event_time) == (False, True)


def test_the_server_that_chose_the_id_signs_too() -> None:
    event = Room(V1).event(ALICE, "x", None, {})
    other = received(event, event_id="$x:b.test")
    assert required_signers(other) == {A, B}
    with pytest.raises(SignatureInvalid):
        verify(signed_by(other, A), KEYS)
    verify(signed_by(other, A, B), KEYS)
    assert required_signers(Room(V3).event(ALICE, "x", None, {})) == {A}


@each_version
def test_whoever_authorises_a_join_signs_it(version: RoomVersion) -> None:
    content = {"membership": "join", "join_authorised_via_users_server": CAROL}
    join = Room(version).event(BOB, "m.room.member", BOB, content)
    assert required_signers(join) == ({B, C} if version.restricted_joins else {B})
    if version.restricted_joins:
        with pytest.raises(SignatureInvalid):
            verify(signed_by(join, B), KEYS)
        assert keys_needed(signed_by(join, B, C)) == {(B, KEY.key_id), (C, KEY.key_id)}
    verify(signed_by(join, B, C), KEYS)


def test_who_authorises_a_join_is_lost_with_the_content_in_version_8() -> None:
    for version in (V8, V9):
        content = {"membership": "join", "join_authorised_via_users_server": CAROL, "displayname": "Bob"}
        join = signed_by(Room(version).event(BOB, "m.room.member", BOB, content), B)
        changed = received(join, content={**content, "displayname": "Eve"})
        with pytest.raises(SignatureInvalid) if version is V9 else contextlib.nullcontext():
            assert verify(changed, KEYS).content == {"membership": "join"}


@each_version
def test_another_server_may_add_its_signature(version: RoomVersion) -> None:
    key, policy = SigningKey.generate(), ServerName("policy.test")
    event = Room(version).event(ALICE, "m.room.message", None, {"body": "x"})
    signed = countersigned(event, policy, key)
    assert signed.event_id == event.event_id
    verify(received(signed), KEYS)
    check_signature(received(signed, content={}), policy, key.key_id, key.public_key)
    for missing in (event, received(signed, depth=9)):
        with pytest.raises(SignatureInvalid):
            check_signature(missing, policy, key.key_id, key.public_key)


IDENTITY_KEY = SigningKey.generate()
DAVE = UserId("@dave:d.test")


def third_party_invite(room: Room, **content: Any) -> Event:
    """Return an invite for Dave that his server made in the name of Alice."""
    signed = sign_json({"mxid": DAVE, "token": "t"}, ServerName("id.test"), IDENTITY_KEY)
    content = {"membership": "invite", "third_party_invite": {"display_name": "d…", "signed": signed}, **content}
    return received(room.event(ALICE, "m.room.member", DAVE, content), signatures={"d.test": {}})


@pytest.mark.parametrize("version", ALL_VERSIONS[2:], ids=repr)
def test_the_invited_server_makes_the_invite_that_a_third_party_signed(version: RoomVersion) -> None:
    room = Room(version)
    key = {"public_key": encode_base64(IDENTITY_KEY.public_key)}
    room.add(ALICE, "m.room.third_party_invite", "t", {"public_keys": [{"public_key": "A"}, 5, key]})
    invite = verify(third_party_invite(room), {})
    room.authorize(invite)


@pytest.mark.parametrize("version", [V3, V10, V11, V12], ids=repr)
def test_a_forged_third_party_invite_does_not_become_a_plain_one(version: RoomVersion) -> None:
    invite = third_party_invite(Room(version))
    forged = received(invite, content={"membership": "invite", "third_party_invite": {}})
    with pytest.raises(SignatureInvalid):
        verify(forged, {})


@pytest.mark.parametrize(
    ("signed", "rule"),
    [
        (5, "2"),
        ({"mxid": DAVE}, "3"),
        ({"mxid": BOB, "token": "t"}, "4"),
        ({"mxid": DAVE, "token": "u"}, "5"),
        ({"mxid": DAVE, "token": "t"}, "8"),
        ({"mxid": DAVE, "token": "t", "signatures": 5}, "8"),
        ({"mxid": DAVE, "token": "t", "signatures": {"x": {"ed25519:1": "A", "ed25519:2": 5}, "y": 5}}, "8"),
        ({"mxid": DAVE, "token": "t", "number": 1.5}, "8"),
    ],
    ids=repr,
)
def test_a_third_party_invite_is_for_whom_it_was_signed(signed: Any, rule: str) -> None:
    room = Room(V5)
    room.add(ALICE, "m.room.third_party_invite", "t", {"public_key": "A"})
    invite = {"third_party_invite": {"signed": signed}}
    with pytest.raises(RuleBroken) as refusal:
        room.authorize(third_party_invite(room, **invite))
    assert refusal.value.rule == f"5.3.1.{rule}"


@given(st.sampled_from(ALL_VERSIONS), st.dictionaries(st.text(max_size=5), st.integers(0, 9) | st.text(max_size=5)))
def test_signing_and_redacting_commute(version: RoomVersion, content: dict[str, Any]) -> None:
    event = Room(version).event(ALICE, "m.room.message", None, content)
    redacted_later = received(event, content={})
    assert redacted_later.event_id == event.event_id
    redacted = verify(redacted_later, KEYS)
    assert redact(verify(event, KEYS).pdu, version) == redacted.pdu or content == {}
