from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.protocol.vectors import load
from tricord.protocol.errors import BadJson, InvalidParam, SignatureInvalid
from tricord.protocol.identifiers import KeyId, ServerName
from tricord.protocol.signing import SigningKey, sign_json, verify_json
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64, encode_url_safe_base64

VECTORS = load("signing")
KEY = SigningKey.parse(f"ed25519 1 {VECTORS['signing_key_seed_base64']}")
SERVER = ServerName(VECTORS["server_name"])


@pytest.mark.parametrize("case", VECTORS["json_signing"])
def test_objects_of_the_appendix_are_signed_as_there(case: dict[str, Any]) -> None:
    assert sign_json(deepcopy(case["input"]), SERVER, KEY) == case["signed"]
    verify_json(case["signed"], SERVER, KEY.key_id, KEY.public_key)


def test_the_object_that_the_appendix_shows_is_signed_by_its_key() -> None:
    shown = VECTORS["signed_object_example"]
    key = SigningKey.generate()
    with pytest.raises(SignatureInvalid):
        verify_json(shown, ServerName("example.org"), KeyId("ed25519:1"), key.public_key)


def test_what_is_unsigned_may_change() -> None:
    signed = sign_json({"one": 1, "unsigned": {"age": 1}}, SERVER, KEY)
    signed["unsigned"] = {"age": 2}
    sign_json(signed, ServerName("other"), SigningKey.generate())
    verify_json(signed, SERVER, KEY.key_id, KEY.public_key)


@pytest.mark.parametrize(
    "change",
    [
        {"one": 2},
        {"signatures": {}},
        {"signatures": []},
        {"signatures": {"domain": []}},
        {"signatures": {"domain": {"ed25519:1": 5}}},
        {"signatures": {"domain": {"ed25519:1": "***"}}},
        {"signatures": {"domain": {"ed25519:1": "AAAA"}}},
        {"float": 1.5},
    ],
    ids=repr,
)
def test_what_was_not_signed_is_refused(change: dict[str, Any]) -> None:
    signed = sign_json({"one": 1}, SERVER, KEY)
    with pytest.raises(SignatureInvalid):
        verify_json({**signed, **change}, SERVER, KEY.key_id, KEY.public_key)


@pytest.mark.parametrize("public_key", [b"", b"short", bytes(33), SigningKey.generate().public_key], ids=len)
def test_another_key_verifies_nothing(public_key: bytes) -> None:
    signed = sign_json({"one": 1}, SERVER, KEY)
    with pytest.raises(SignatureInvalid):
        verify_json(signed, SERVER, KEY.key_id, public_key)


def test_a_key_survives_its_file_and_never_shows_itself() -> None:
    key = SigningKey.generate()
    again = SigningKey.parse(key.dump() + "\n")
    assert (again.key_id, again.public_key) == (key.key_id, key.public_key)
    assert key.dump().split()[2] not in repr(key)


@pytest.mark.parametrize(
    "line",
    ["", "ed25519", "rsa 1 AAAA", "ed25519 1 AAAA", "ed25519 a-b " + "A" * 43, "ed25519 1 " + "*" * 43, "a b c d"],
)
def test_lines_that_hold_no_key_are_refused(line: str) -> None:
    with pytest.raises(InvalidParam):
        SigningKey.parse(line)


@pytest.mark.parametrize("case", load("canonical_json")["unpadded_base64"])
def test_base64_is_written_without_padding_and_read_with_or_without(case: dict[str, str]) -> None:
    assert encode_base64(case["raw"].encode()) == case["base64"]
    assert decode_base64(case["base64"]) == case["raw"].encode()
    assert decode_base64(case["base64"] + "=" * (-len(case["base64"]) % 4)) == case["raw"].encode()


def test_base64_is_read_from_both_alphabets() -> None:
    data = bytes(range(256))
    assert decode_base64(encode_base64(data)) == decode_base64(encode_url_safe_base64(data)) == data


@pytest.mark.parametrize("value", [None, 5, "*", "A", "AA A", "é"])
def test_what_is_not_base64_is_refused(value: Any) -> None:
    with pytest.raises(BadJson):
        decode_base64(value)
