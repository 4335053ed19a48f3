"""Short authentication strings, checked against the text's steps worked out with another library."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from nio.crypto.sas import Sas as NioSas

from tricord.clients.encryption.verification.emoji import EMOJI
from tricord.clients.encryption.verification.messages import Code, VerificationFailed
from tricord.clients.encryption.verification.sas import (
    MAC_METHOD,
    OLD_MAC_METHOD,
    Party,
    ShortAuthentication,
    start_content,
)
from tricord.protocol.canonical_json import canonical_json
from tricord.protocol.identifiers import DeviceId, UserId
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64

ALICE = Party(UserId("@alice:example.org"), DeviceId("ALICE"))
BOB = Party(UserId("@bob:example.org"), DeviceId("BOB"))
KEYS = {"ed25519:ALICE": "device+key", "ed25519:master+key": "master+key"}


def _start(**changed: Any) -> dict[str, Any]:
    return {**start_content(), "from_device": "ALICE", "transaction_id": "t", **changed}


def _pair(start: dict[str, Any] | None = None) -> tuple[ShortAuthentication, ShortAuthentication]:
    start = start or _start()
    alice = ShortAuthentication(ALICE, BOB, "t", start, we_started=True)
    return alice, ShortAuthentication(BOB, ALICE, "t", start, we_started=False)


def _exchanged(start: dict[str, Any] | None = None) -> tuple[ShortAuthentication, ShortAuthentication]:
    alice, bob = _pair(start)
    bob.receive_key(alice.accepted(bob.accept()))
    alice.receive_key(bob.key())
    return alice, bob


class _ByHand:
    """The other side, of the text alone: X25519, HKDF and HMAC."""

    def __init__(self) -> None:
        self._key = X25519PrivateKey.generate()
        self.public = encode_base64(self._key.public_key().public_bytes_raw())

    def derived(self, their_key: str, info: str, length: int) -> bytes:
        shared = self._key.exchange(X25519PublicKey.from_public_bytes(decode_base64(their_key)))
        return HKDF(SHA256(), length, salt=None, info=info.encode()).derive(shared)

    def mac(self, their_key: str, text: str, info: str) -> str:
        key = self.derived(their_key, "MATRIX_KEY_VERIFICATION_MAC" + info, 32)
        return base64.b64encode(hmac.digest(key, text.encode(), "sha256")).decode().rstrip("=")


def test_both_sides_show_the_same_and_vouch_for_their_keys() -> None:
    alice, bob = _exchanged()
    assert alice.short_string() == bob.short_string()
    assert len(alice.short_string().emoji) == 7
    assert bob.verified(alice.mac(KEYS), KEYS) == set(KEYS)
    assert alice.verified(bob.mac({"ed25519:BOB": "b"}), {"ed25519:BOB": "b"}) == {"ed25519:BOB"}


def test_what_is_shown_and_vouched_for_is_what_the_text_says() -> None:
    start = _start()
    alice = ShortAuthentication(ALICE, BOB, "t", start, we_started=True)
    bob = _ByHand()
    commitment = encode_base64(hashlib.sha256(bob.public.encode() + canonical_json(start)).digest())
    chosen = {
        "key_agreement_protocol": "curve25519-hkdf-sha256",
        "hash": "sha256",
        "message_authentication_code": MAC_METHOD,
        "short_authentication_string": ["decimal", "emoji"],
        "commitment": commitment,
    }
    her_key = alice.accepted(chosen)["key"]
    shown = alice.receive_key({"key": bob.public})
    info = f"MATRIX_KEY_VERIFICATION_SAS|@alice:example.org|ALICE|{her_key}|@bob:example.org|BOB|{bob.public}|t"
    five = bob.derived(her_key, info, 6)
    bits = int.from_bytes(five[:6], "big") >> 6
    assert shown.emoji == tuple(EMOJI[bits >> shift & 63] for shift in range(36, -1, -6))
    numbers = int.from_bytes(five[:5], "big") >> 1
    assert shown.decimals == tuple((numbers >> shift & 0x1FFF) + 1000 for shift in (26, 13, 0))
    vouched = alice.mac(KEYS)
    parties = "@alice:example.orgALICE@bob:example.orgBOBt"
    assert vouched["mac"] == {key_id: bob.mac(her_key, key, parties + key_id) for key_id, key in KEYS.items()}
    assert vouched["keys"] == bob.mac(her_key, "ed25519:ALICE,ed25519:master+key", parties + "KEY_IDS")
    other_way = "@bob:example.orgBOB@alice:example.orgALICEt"
    by_hand = {
        "mac": {"ed25519:BOB": bob.mac(her_key, "b", other_way + "ed25519:BOB")},
        "keys": bob.mac(her_key, "ed25519:BOB", other_way + "KEY_IDS"),
    }
    assert alice.verified(by_hand, {"ed25519:BOB": "b"}) == {"ed25519:BOB"}


def test_the_pictures_are_those_of_everybody() -> None:
    assert [emoji.symbol for emoji in EMOJI] == [symbol for symbol, _ in NioSas.emoji]
    # The names that the specification has since changed.
    ours = {emoji.name for emoji in EMOJI} - {name for _, name in NioSas.emoji}
    assert ours == {"Spanner", "Thumbs Up", "Aeroplane"}


def test_the_right_mac_is_chosen_wherever_both_know_it_and_the_old_one_is_for_older_clients() -> None:
    _, bob = _pair()
    assert bob.accept()["message_authentication_code"] == MAC_METHOD
    alice, bob = _exchanged(_start(message_authentication_codes=[OLD_MAC_METHOD]))
    assert bob.verified(alice.mac(KEYS), KEYS) == set(KEYS)


def test_who_shows_numbers_alone_gets_no_pictures() -> None:
    alice, bob = _exchanged(_start(short_authentication_string=["decimal"]))
    assert alice.short_string().emoji == bob.short_string().emoji == ()
    assert alice.short_string().decimals == bob.short_string().decimals


def _refused(code: Code) -> Any:
    return pytest.raises(VerificationFailed, match=code.value)


def test_somebody_in_the_middle_who_changes_a_key_is_caught_by_the_commitment() -> None:
    alice, bob = _pair()
    alice.accepted(bob.accept())
    with _refused(Code.MISMATCHED_COMMITMENT):
        alice.receive_key({"key": _ByHand().public})


def test_somebody_in_the_middle_who_changes_the_start_is_caught_by_the_commitment() -> None:
    alice = ShortAuthentication(ALICE, BOB, "t", _start(), we_started=True)
    bob = ShortAuthentication(BOB, ALICE, "t", _start(hashes=["sha256", "weak"]), we_started=False)
    alice.accepted(bob.accept())
    with _refused(Code.MISMATCHED_COMMITMENT):
        alice.receive_key(bob.key())


def test_somebody_in_the_middle_of_both_sides_is_seen_by_the_people() -> None:
    alice, bob = _exchanged()[0], _exchanged()[1]
    assert alice.short_string() != bob.short_string()


@pytest.mark.parametrize(
    "changed",
    [
        {"key_agreement_protocols": ["curve25519"]},
        {"hashes": ["md5"]},
        {"message_authentication_codes": []},
        {"short_authentication_string": ["song"]},
    ],
)
def test_with_nothing_in_common_it_is_an_unknown_method(changed: dict[str, Any]) -> None:
    with _refused(Code.UNKNOWN_METHOD):
        _pair(_start(**changed))[1].accept()


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"key_agreement_protocol": "curve25519"}, Code.UNKNOWN_METHOD),
        ({"hash": "md5"}, Code.UNKNOWN_METHOD),
        ({"message_authentication_code": "none"}, Code.UNKNOWN_METHOD),
        ({"short_authentication_string": []}, Code.UNKNOWN_METHOD),
        ({"short_authentication_string": ["emoji", "song"]}, Code.UNKNOWN_METHOD),
        ({"commitment": None}, Code.INVALID_MESSAGE),
        ({"commitment": "!"}, Code.INVALID_MESSAGE),
        ({"hash": ["sha256"]}, Code.INVALID_MESSAGE),
    ],
)
def test_an_acceptance_of_something_that_was_not_offered_is_refused(changed: dict[str, Any], code: Code) -> None:
    alice, bob = _pair()
    with _refused(code):
        alice.accepted({**bob.accept(), **changed})


def test_keys_out_of_order_twice_or_reflected_are_refused() -> None:
    alice, bob = _pair()
    with _refused(Code.UNEXPECTED_MESSAGE):
        alice.receive_key(bob.key())
    with _refused(Code.UNEXPECTED_MESSAGE):
        bob.mac(KEYS)
    her_key = alice.accepted(bob.accept())
    with _refused(Code.INVALID_MESSAGE):
        bob.receive_key(bob.key())
    bob.receive_key(her_key)
    with _refused(Code.UNEXPECTED_MESSAGE):
        bob.receive_key(her_key)


@pytest.mark.parametrize("key", [None, "", "AAAA", "é", encode_base64(bytes(32))])
def test_a_key_that_is_none_is_refused(key: Any) -> None:
    _, bob = _pair()
    bob.accept()
    with _refused(Code.INVALID_MESSAGE):
        bob.receive_key({"key": key})


def test_macs_of_other_keys_or_another_list_are_a_mismatch() -> None:
    alice, bob = _exchanged()
    sent = alice.mac(KEYS)
    with _refused(Code.KEY_MISMATCH):
        bob.verified(sent, {**KEYS, "ed25519:ALICE": "another"})
    fewer = {**sent, "mac": {"ed25519:ALICE": sent["mac"]["ed25519:ALICE"]}}
    with _refused(Code.KEY_MISMATCH):
        bob.verified(fewer, KEYS)
    with _refused(Code.KEY_MISMATCH):
        bob.verified(alice.mac({"ed25519:UNKNOWN": "x"}), KEYS)
    with _refused(Code.KEY_MISMATCH):
        bob.verified(alice.mac({}), KEYS)


def test_a_mac_is_for_one_key_id_one_direction_and_one_verification() -> None:
    """CVE-2022-39250 began with a device whose id was a cross-signing key: the id is part of what the MAC covers."""
    alice, bob = _exchanged()
    sent = alice.mac({"ed25519:ALICE": "same", "ed25519:master": "same"})
    swapped = {"ed25519:ALICE": sent["mac"]["ed25519:master"], "ed25519:master": sent["mac"]["ed25519:ALICE"]}
    keys = {"ed25519:ALICE": "same", "ed25519:master": "same"}
    with _refused(Code.KEY_MISMATCH):
        bob.verified({**sent, "mac": swapped}, keys)
    with _refused(Code.KEY_MISMATCH):
        bob.verified(bob.mac(KEYS), KEYS)


LEAVES = st.none() | st.integers() | st.floats() | st.text() | st.lists(st.text() | st.none())
CONTENTS = st.dictionaries(
    st.sampled_from((*start_content(), "commitment", "hash", "mac", "keys", "key")),
    LEAVES | st.dictionaries(st.text(), st.text() | st.none()),
)


@given(start=CONTENTS, content=CONTENTS)
def test_any_foreign_content_is_taken_or_refused(start: dict[str, Any], content: dict[str, Any]) -> None:
    _, bob = _pair(start or {"hashes": 7})
    with pytest.raises(VerificationFailed):
        bob.accept()
    alice, bob = _exchanged()
    for take in (alice.accepted, alice.receive_key):
        with pytest.raises(VerificationFailed):
            take(content)
    with pytest.raises(VerificationFailed):
        bob.verified(content, KEYS)
