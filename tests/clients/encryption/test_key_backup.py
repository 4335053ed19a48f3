"""Backups: keys are stored where the key is ours and nowhere else, and what is restored is marked as such."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st

from tests.clients.encryption.assembled import ALICE, ROOM, Assembled
from tests.clients.encryption.directory import Directory
from tricord.clients.encryption.errors import EncryptionError, Forged, Malformed
from tricord.clients.encryption.key_backup import ALGORITHM, BackupKey, Verdict, encrypt_session_data
from tricord.clients.encryption.stored import room_keys as stored
from tricord.clients.encryption.stored.room_keys import Origin
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64


@pytest.fixture
def device() -> Assembled:
    device = Assembled(Directory(), "PHONE")
    device.set_up()
    return device


def _begin(device: Assembled, version: str = "1") -> dict[str, Any]:
    with device.store.transaction():
        made = device.backup.prepare()
        device.backup.created(version)
    return made


def _store_all(device: Assembled) -> dict[Any, dict[str, Any]]:
    """Store what is to be stored, and return what the homeserver has."""
    rooms: dict[Any, dict[str, Any]] = {}
    while requests := device.backup.requests():
        (request,) = requests
        for room_id, room in request.rooms.items():
            rooms.setdefault(room_id, {}).update(room["sessions"])
        with device.store.transaction():
            device.backup.answered(request, {})
    return rooms


def test_a_key_is_encrypted_as_the_text_says() -> None:
    """Worked out with another library; the MAC is over nothing, as with everybody."""
    private = X25519PrivateKey.generate()
    public = encode_base64(private.public_key().public_bytes_raw())
    data = encrypt_session_data(public, {"session_key": "k"})
    ephemeral = X25519PublicKey.from_public_bytes(decode_base64(data["ephemeral"]))
    derived = HKDF(SHA256(), 80, salt=bytes(32), info=b"").derive(private.exchange(ephemeral))
    decryptor = Cipher(AES(derived[:32]), CBC(derived[64:])).decryptor()
    padded = decryptor.update(decode_base64(data["ciphertext"])) + decryptor.finalize()
    unpadder = PKCS7(128).unpadder()
    assert orjson.loads(unpadder.update(padded) + unpadder.finalize()) == {"session_key": "k"}
    assert decode_base64(data["mac"]) == hmac.digest(derived[32:64], b"", hashlib.sha256)[:8]
    assert BackupKey.from_secret(encode_base64(private.private_bytes_raw())).decrypt(data) == {"session_key": "k"}


def test_all_keys_are_stored_once_and_restored_on_another_device(device: Assembled) -> None:
    device.add_keys(250)
    made = _begin(device)
    assert device.backup.waiting == 250
    rooms = _store_all(device)
    assert len(rooms[ROOM]) == 250
    assert device.backup.waiting == 0
    assert device.backup.requests() == []
    other = Assembled(device.directory, "TABLET")
    key = device.backup.key
    assert key is not None
    with other.store.transaction():
        other.backup.take_secret(key.secret, "1", made["algorithm"], made["auth_data"])
        restored = other.backup.restore(rooms)
        again = other.backup.restore(rooms)
    assert (restored.taken, restored.total, restored.refused) == (250, 250, 0)
    assert again.taken == 0
    assert other.backup.waiting == 0
    restored_key = next(iter(stored.room_keys(other.store, ROOM)))
    assert restored_key.origin is Origin.BACKUP
    assert not restored_key.origin.is_authentic


def test_what_is_stored_says_how_good_it_is(device: Assembled) -> None:
    device.add_keys(1)
    device.add_keys(1, origin=Origin.BACKUP)
    _begin(device)
    sessions = _store_all(device)[ROOM].values()
    assert sorted(session["is_verified"] for session in sessions) == [False, True]
    assert {session["first_message_index"] for session in sessions} == {0}
    assert {session["forwarded_count"] for session in sessions} == {0}


def test_a_request_whose_answer_was_lost_is_made_again(device: Assembled) -> None:
    device.add_keys(3)
    _begin(device)
    (first,) = device.backup.requests()
    assert device.backup.requests() == [first]
    device.add_keys(1)
    with device.store.transaction():
        device.backup.answered(first, {})
    (second,) = device.backup.requests()
    assert sum(len(room["sessions"]) for room in second.rooms.values()) == 1


def test_a_homeserver_that_is_busy_is_asked_later(device: Assembled) -> None:
    device.add_keys(1)
    _begin(device)
    (request,) = device.backup.requests()
    with device.store.transaction():
        device.backup.refused(request, 500, "M_UNKNOWN")
    assert device.backup.requests() == []
    device.now_ms += 60_000
    assert len(device.backup.requests()) == 1


@pytest.mark.parametrize(("status", "errcode"), [(403, "M_WRONG_ROOM_KEYS_VERSION"), (404, "M_NOT_FOUND")])
def test_a_backup_that_was_replaced_gets_no_more_keys(device: Assembled, status: int, errcode: str) -> None:
    device.add_keys(1)
    _begin(device)
    device.backup.must_look = False
    (request,) = device.backup.requests()
    with device.store.transaction():
        device.backup.refused(request, status, errcode)
    assert device.backup.in_use is None
    assert device.backup.must_look
    assert device.backup.requests() == []


def test_a_new_backup_gets_all_keys_again(device: Assembled) -> None:
    device.add_keys(2)
    _begin(device)
    _store_all(device)
    _begin(device, "2")
    assert len(_store_all(device)[ROOM]) == 2


def test_no_key_goes_to_a_backup_that_nothing_shows_to_be_ours(device: Assembled) -> None:
    """A homeserver could make a backup with a key of its own, and read all messages."""
    device.add_keys(1)
    forged = {"public_key": BackupKey.generate().public}
    with device.store.transaction():
        assert device.backup.found("9", ALGORITHM, forged) is Verdict.UNTRUSTED
    assert device.backup.requests() == []
    signatures = {"signatures": {ALICE: {"ed25519:PHONE": "AAAA", "ed25519:OTHER": 7}}}
    with device.store.transaction():
        assert device.backup.found("9", ALGORITHM, {**forged, **signatures}) is Verdict.UNTRUSTED
        assert device.backup.found("9", "m.other", forged) is Verdict.UNKNOWN_ALGORITHM
        bad: tuple[Any, ...] = (None, [], {}, {"public_key": 7}, {"public_key": "AAAA"}, {**forged, "signatures": []})
        for malformed in bad:
            assert device.backup.found("9", ALGORITHM, malformed) is not Verdict.TRUSTED
    assert device.backup.in_use is None


def test_signatures_of_another_backup_do_not_count(device: Assembled) -> None:
    made = _begin(device)
    forged = {**made["auth_data"], "public_key": BackupKey.generate().public}
    with device.store.transaction():
        assert device.backup.found("1", ALGORITHM, forged) is Verdict.UNTRUSTED


def test_a_device_that_knows_our_identity_trusts_the_backup_it_signed(device: Assembled) -> None:
    made = _begin(device)
    other = Assembled(device.directory, "TABLET")
    with other.store.transaction():
        assert other.backup.found("1", ALGORITHM, made["auth_data"]) is Verdict.UNTRUSTED
    device.trust(other)
    with other.store.transaction():
        assert other.backup.found("1", ALGORITHM, made["auth_data"]) is Verdict.TRUSTED
    # It can store keys there, and read none.
    assert other.backup.in_use is not None
    assert other.backup.key is None
    with pytest.raises(Malformed), other.store.transaction():
        other.backup.restore({})


def test_a_backup_that_only_a_verified_device_has_signed_is_trusted(device: Assembled) -> None:
    public = BackupKey.generate().public
    other = Assembled(device.directory, "TABLET")
    signed = other.own.sign({"public_key": public})
    device.query()
    with device.store.transaction():
        assert device.backup.found("1", ALGORITHM, signed) is Verdict.UNTRUSTED
    device.trust(other)
    with device.store.transaction():
        assert device.backup.found("1", ALGORITHM, signed) is Verdict.TRUSTED


def test_prepared_keys_are_the_same_until_the_backup_is_made(device: Assembled) -> None:
    with device.store.transaction():
        first, second = device.backup.prepare(), device.backup.prepare()
    assert first["auth_data"]["public_key"] == second["auth_data"]["public_key"]
    assert device.backup.in_use is None


def test_a_backup_that_was_made_without_our_being_told_is_ours(device: Assembled) -> None:
    with device.store.transaction():
        made = device.backup.prepare()
        assert device.backup.found("7", made["algorithm"], made["auth_data"]) is Verdict.TRUSTED
    assert device.backup.in_use is not None
    assert device.backup.in_use.version == "7"
    assert device.backup.key is not None


def test_a_key_that_does_not_belong_to_the_backup_is_refused(device: Assembled) -> None:
    made = _begin(device)
    other = Assembled(device.directory, "TABLET")
    for secret, error in ((BackupKey.generate().secret, Forged), ("!", Malformed), ("AAAA", Malformed)):
        with pytest.raises(error), other.store.transaction():
            other.backup.take_secret(secret, "1", made["algorithm"], made["auth_data"])
    assert other.backup.key is None


def test_one_bad_key_in_a_backup_harms_no_other(device: Assembled) -> None:
    device.add_keys(3)
    made = _begin(device)
    rooms = _store_all(device)
    sessions = rooms[ROOM]
    first, second, _ = sessions
    sessions[first] = {**sessions[first], "session_data": sessions[second]["session_data"]}
    sessions["unknown"] = {"session_data": encrypt_session_data(made["auth_data"]["public_key"], {"algorithm": "x"})}
    sessions["none"] = None
    other = Assembled(device.directory, "TABLET")
    key = device.backup.key
    assert key is not None
    with other.store.transaction():
        other.backup.take_secret(key.secret, "1", made["algorithm"], made["auth_data"])
        restored = other.backup.restore(rooms)
    assert (restored.taken, restored.total, restored.refused) == (2, 5, 3)


def test_what_others_signed_stays_when_we_sign_too(device: Assembled) -> None:
    bare = {"public_key": BackupKey.generate().public, "signatures": {ALICE: {"ed25519:OTHER": "x"}}}
    signed = device.backup.signed_auth_data(bare)
    identity = device.signing.identity
    assert identity is not None
    assert set(signed["signatures"][ALICE]) == {"ed25519:OTHER", "ed25519:PHONE", f"ed25519:{identity.master}"}


LEAVES = st.none() | st.integers() | st.text(max_size=20) | st.binary(max_size=40).map(encode_base64)
KEY = BackupKey.generate()


@given(data=LEAVES | st.dictionaries(st.sampled_from(("ciphertext", "mac", "ephemeral")), LEAVES))
def test_any_foreign_data_is_read_or_refused(data: Any) -> None:
    with pytest.raises(EncryptionError):
        KEY.decrypt(data)
