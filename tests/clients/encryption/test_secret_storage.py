"""Secrets in account data, checked against the steps of the specification worked out with another library."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from Crypto.Cipher import AES
from Crypto.Hash import HMAC, SHA256
from Crypto.Protocol.KDF import HKDF
from hypothesis import given
from hypothesis import strategies as st

from tricord.clients.encryption.errors import EncryptionError, Forged, Malformed, WrongSecret
from tricord.clients.encryption.recovery_key import decode_recovery_key
from tricord.clients.encryption.secret_storage import (
    ALGORITHM,
    StorageKey,
    default_key_id,
    new_key,
    open_with_passphrase,
    open_with_recovery_key,
)

NAME = "m.cross_signing.master"
SECRET = "aGVsbG8gdGhlcmU"


def _by_hand(key: bytes, name: str, plaintext: bytes, iv: bytes) -> dict[str, str]:
    """Encrypt as the text says, with padded base64, as some clients write it."""
    derived = HKDF(key, 64, bytes(32), SHA256, context=name.encode())
    assert isinstance(derived, bytes)
    ciphertext = AES.new(derived[:32], AES.MODE_CTR, nonce=b"", initial_value=iv).encrypt(plaintext)
    mac = HMAC.new(derived[32:], ciphertext, SHA256).digest()
    values = {"iv": iv, "ciphertext": ciphertext, "mac": mac}
    return {key: base64.b64encode(value).decode() for key, value in values.items()}


def _raw(key: StorageKey) -> bytes:
    return decode_recovery_key(key.recovery_key)


def test_a_secret_comes_back_under_its_name_and_key() -> None:
    key, description = new_key(name="bot")
    content = {"encrypted": {key.key_id: key.encrypt(NAME, SECRET)}}
    again = open_with_recovery_key(key.key_id, description, key.recovery_key)
    assert again.decrypt(NAME, content) == SECRET
    assert description["algorithm"] == ALGORITHM
    assert description["name"] == "bot"


def test_a_secret_that_was_encrypted_by_hand_is_read() -> None:
    key, _ = new_key()
    by_hand = _by_hand(_raw(key), NAME, SECRET.encode(), bytes(range(7)) + bytes(9))
    assert key.decrypt(NAME, {"encrypted": {key.key_id: by_hand}}) == SECRET


def test_what_is_stored_is_what_the_text_says() -> None:
    key, _ = new_key()
    stored = key.encrypt(NAME, SECRET)
    iv = base64.b64decode(stored["iv"] + "==")
    by_hand = _by_hand(_raw(key), NAME, SECRET.encode(), iv)
    assert stored == {field: value.rstrip("=") for field, value in by_hand.items()}
    assert iv[8] < 0x80


def test_a_description_that_was_made_by_hand_tells_the_right_key_from_a_wrong_one() -> None:
    key, _ = new_key()
    check = _by_hand(_raw(key), "", bytes(32), bytes(range(16)))
    description = {"algorithm": ALGORITHM, "iv": check["iv"], "mac": check["mac"]}
    assert open_with_recovery_key(key.key_id, description, key.recovery_key).checked
    other, _ = new_key()
    with pytest.raises(WrongSecret):
        open_with_recovery_key(key.key_id, description, other.recovery_key)


def test_a_passphrase_makes_the_key() -> None:
    key, description = new_key(passphrase="correct horse battery staple")
    assert open_with_passphrase(key.key_id, description, "correct horse battery staple") == key
    assert open_with_recovery_key(key.key_id, description, key.recovery_key) == key
    with pytest.raises(WrongSecret):
        open_with_passphrase(key.key_id, description, "incorrect horse")


def test_a_key_that_nothing_vouches_for_reads_and_never_writes() -> None:
    """A homeserver could describe a key of a passphrase with one round, to guess what is then stored with it."""
    key, _ = new_key()
    content = {"encrypted": {key.key_id: key.encrypt(NAME, SECRET)}}
    unchecked = open_with_recovery_key(key.key_id, {"algorithm": ALGORITHM}, key.recovery_key)
    assert unchecked.decrypt(NAME, content) == SECRET
    with pytest.raises(WrongSecret):
        unchecked.encrypt(NAME, SECRET)


def test_a_secret_that_was_moved_to_another_name_or_changed_is_forged() -> None:
    key, _ = new_key()
    data = key.encrypt(NAME, SECRET)
    with pytest.raises(Forged):
        key.decrypt("m.megolm_backup.v1", {"encrypted": {key.key_id: data}})
    with pytest.raises(Forged):
        key.decrypt(NAME, {"encrypted": {key.key_id: {**data, "ciphertext": "AAAA"}}})
    other, _ = new_key()
    with pytest.raises(Forged):
        StorageKey(key.key_id, _raw(other)).decrypt(NAME, {"encrypted": {key.key_id: data}})


@pytest.mark.parametrize(
    "passphrase",
    [
        None,
        {},
        {"algorithm": "m.argon2", "salt": "s", "iterations": 1},
        {"algorithm": "m.pbkdf2", "salt": 7, "iterations": 1},
        {"algorithm": "m.pbkdf2", "salt": "\ud800", "iterations": 1},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": 0},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": 2**53},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": True},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": 1000.0},
        {"algorithm": "m.pbkdf2", "salt": "s", "iterations": 1000, "bits": 8},
    ],
)
def test_a_passphrase_that_is_badly_described_is_malformed(passphrase: Any) -> None:
    with pytest.raises(Malformed):
        open_with_passphrase("id", {"algorithm": ALGORITHM, "passphrase": passphrase}, "secret")


@pytest.mark.parametrize(
    "changed",
    [{"algorithm": "m.other"}, {"iv": "!"}, {"iv": "AAAA"}, {"mac": 7}, {"iv": {}}],
)
def test_a_bad_description_is_malformed(changed: dict[str, Any]) -> None:
    key, description = new_key()
    with pytest.raises(Malformed):
        open_with_recovery_key(key.key_id, {**description, **changed}, key.recovery_key)


def test_the_default_key_is_what_account_data_names() -> None:
    assert default_key_id({"key": "abc"}) == "abc"
    assert [default_key_id(content) for content in ({}, {"key": ""}, {"key": 7})] == [None, None, None]


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=50)
DATA = st.dictionaries(st.sampled_from(("iv", "mac", "ciphertext", "algorithm", "salt", "iterations")), LEAVES)
CONTENT = st.dictionaries(
    st.sampled_from(("encrypted", "passphrase", "algorithm", "iv")),
    LEAVES | DATA | st.dictionaries(st.just("id"), DATA),
)


@given(content=CONTENT)
def test_any_foreign_content_is_read_or_refused(content: dict[str, Any]) -> None:
    with pytest.raises(EncryptionError):
        StorageKey("id", bytes(32)).decrypt(NAME, content)
    with pytest.raises(EncryptionError):
        open_with_passphrase("id", content, "secret")
