"""Keys as people write them down."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.clients.encryption.errors import Malformed
from tricord.clients.encryption.recovery_key import decode_recovery_key, encode_recovery_key

# Alice's private key of RFC 7748, section 6.1, and how matrix-js-sdk and matrix-rust-sdk write it in their tests.
RFC_KEY = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
RFC_TEXT = "EsTcLW2KPGiFwKEA3As5g5c4BXwkqeeJZJV8Q9fugUMNUE4d"


def test_a_key_is_written_as_other_clients_write_it() -> None:
    text = encode_recovery_key(RFC_KEY)
    assert text.replace(" ", "") == RFC_TEXT
    assert {len(group) for group in text.split(" ")} == {4}


@pytest.mark.parametrize("text", [RFC_TEXT, f"  {RFC_TEXT[:7]}\n\t{RFC_TEXT[7:]} "])
def test_white_space_does_not_matter(text: str) -> None:
    assert decode_recovery_key(text) == RFC_KEY


@given(key=st.binary(min_size=32, max_size=32))
def test_what_is_written_is_read(key: bytes) -> None:
    assert decode_recovery_key(encode_recovery_key(key)) == key


@given(place=st.integers(0, len(RFC_TEXT) - 1), character=st.characters())
def test_one_slip_of_the_pen_is_noticed(place: int, character: str) -> None:
    text = RFC_TEXT[:place] + character + RFC_TEXT[place + 1 :]
    if text == RFC_TEXT:
        return
    # One byte of parity misses one in 256 slips: then it is another key, and never Alice's.
    with contextlib.suppress(Malformed):
        assert decode_recovery_key(text) != RFC_KEY


@pytest.mark.parametrize("text", ["", "E", "0OIl", RFC_TEXT[:-1], RFC_TEXT + "4", "1" * 48, "z" * 100_000, "é" * 48])
def test_what_is_no_key_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        decode_recovery_key(text)


@given(text=st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(Malformed):
        decode_recovery_key(text)
