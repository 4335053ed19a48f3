"""Encrypted files, checked against matrix-nio's own code for them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nio.crypto.attachments import decrypt_attachment as nio_decrypts
from nio.crypto.attachments import encrypt_attachment as nio_encrypts

from tricord.clients.encryption.attachments import (
    Decryption,
    Encryption,
    decrypt_attachment,
    encrypt_attachment,
    url_of,
)
from tricord.clients.encryption.errors import EncryptionError, Forged, Malformed
from tricord.protocol.unpadded_base64 import decode_base64

TEA = b"Tea is at four." * 1000


def test_what_we_encrypt_nio_decrypts() -> None:
    ciphertext, file = encrypt_attachment(TEA, "mxc://example.org/tea")
    assert nio_decrypts(ciphertext, file["key"]["k"], file["hashes"]["sha256"], file["iv"]) == TEA


def test_what_nio_encrypts_we_decrypt() -> None:
    ciphertext, file = nio_encrypts(TEA)
    assert decrypt_attachment(ciphertext, file) == TEA


def test_a_file_encrypted_part_by_part_is_the_same_file() -> None:
    encryption = Encryption()
    ciphertext = b"".join(encryption.update(TEA[start : start + 1001]) for start in range(0, len(TEA), 1001))
    file = encryption.finish("mxc://example.org/tea")
    decryption = Decryption(file)
    parts = [decryption.update(ciphertext[start : start + 777]) for start in range(0, len(ciphertext), 777)]
    decryption.finish()
    assert b"".join(parts) == TEA
    assert url_of(file) == "mxc://example.org/tea"


def test_every_file_has_a_key_and_an_iv_of_its_own_and_the_counter_begins_at_zero() -> None:
    files = [encrypt_attachment(b"same")[1] for _ in range(50)]
    assert len({file["key"]["k"] for file in files}) == 50
    assert len({file["iv"] for file in files}) == 50
    assert all(decode_base64(file["iv"])[8:] == bytes(8) for file in files)


def test_a_homeserver_that_changes_one_bit_is_noticed() -> None:
    ciphertext, file = encrypt_attachment(TEA)
    with pytest.raises(Forged):
        decrypt_attachment(bytes([ciphertext[0] ^ 1]) + ciphertext[1:], file)
    with pytest.raises(Forged):
        decrypt_attachment(ciphertext[:-1], file)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("v",), "v1"),
        (("v",), None),
        (("key",), "secret"),
        (("key", "kty"), "RSA"),
        (("key", "alg"), "A128CTR"),
        (("key", "ext"), "true"),
        (("key", "key_ops"), ["encrypt"]),
        (("key", "key_ops"), [{}, []]),
        (("key", "k"), "AAAA"),
        (("key", "k"), "!"),
        (("key", "k"), 7),
        (("iv",), "AAAAAAAAAAA"),
        (("iv",), "w+sE15fzSc0AAAAAAAAAAQ"),
        (("iv",), None),
        (("hashes",), {}),
        (("hashes",), []),
        (("hashes", "sha256"), "AAAA"),
    ],
)
def test_a_file_that_does_not_say_properly_how_to_read_it_is_malformed(path: tuple[str, ...], value: Any) -> None:
    ciphertext, original = encrypt_attachment(TEA, "mxc://example.org/tea")
    file = copy.deepcopy(original)
    place = file
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(Malformed):
        decrypt_attachment(ciphertext, file)


@pytest.mark.parametrize("url", [None, "", "https://example.org/x", 7])
def test_a_file_is_where_an_mxc_uri_says(url: Any) -> None:
    with pytest.raises(Malformed):
        url_of({"url": url})


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=50)
KEY = st.dictionaries(st.sampled_from(("k", "kty", "alg", "ext", "key_ops")), LEAVES | st.lists(LEAVES, max_size=3))
FILE = st.fixed_dictionaries(
    {"v": st.just("v2") | LEAVES},
    optional={"key": KEY | LEAVES, "iv": LEAVES, "hashes": st.dictionaries(st.just("sha256"), LEAVES) | LEAVES},
)


@given(file=FILE)
def test_any_foreign_file_is_read_or_refused(file: dict[str, Any]) -> None:
    with pytest.raises(EncryptionError):
        decrypt_attachment(b"", file)
