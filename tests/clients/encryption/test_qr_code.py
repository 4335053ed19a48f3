"""What a QR code says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tricord.clients.encryption.errors import Malformed
from tricord.clients.encryption.verification.qr_code import Mode, QrCode

FIRST, SECOND = bytes(range(32)), bytes(range(16, 48))


def test_a_code_is_written_as_the_specification_shows() -> None:
    code = QrCode(Mode.ANOTHER_USER, "$ABCD" + "e" * 40, FIRST, SECOND, bytes(range(0x20, 0x28)))
    expected = bytes.fromhex("4D4154524958 02 00 002D") + b"$ABCD" + b"e" * 40 + FIRST + SECOND + b" !\"#$%&'"
    assert code.encode() == expected
    assert QrCode.decode(expected) == code


@pytest.mark.parametrize("mode", list(Mode))
def test_what_is_shown_is_what_is_scanned(mode: Mode) -> None:
    code = QrCode.show(mode, "verification-ä", FIRST, SECOND)
    assert QrCode.decode(code.encode()) == code


def test_every_code_has_a_secret_of_its_own() -> None:
    codes = {QrCode.show(Mode.ANOTHER_USER, "t", FIRST, SECOND).secret for _ in range(50)}
    assert len(codes) == 50
    assert all(len(secret) >= 8 for secret in codes)


@pytest.mark.parametrize(
    "scanned",
    [
        b"",
        b"MATRIX",
        b"https://matrix.to/#/@alice:example.org",
        b"MATRIX\x01\x00\x00\x01t" + bytes(80),
        b"MATRIX\x02\x03\x00\x01t" + bytes(80),
        b"MATRIX\x02\x00\xff\xfft" + bytes(80),
        b"MATRIX\x02\x00\x00\x01\xff" + bytes(80),
        b"MATRIX\x02\x00\x00\x01t" + bytes(64),
        b"MATRIX\x02\x00\x00\x01t" + bytes(71),
    ],
)
def test_what_is_no_such_code_is_malformed(scanned: bytes) -> None:
    with pytest.raises(Malformed):
        QrCode.decode(scanned)


@given(rest=st.binary())
def test_anything_scanned_is_read_or_refused(rest: bytes) -> None:
    for scanned in (rest, b"MATRIX\x02\x00" + rest):
        try:
            assert QrCode.decode(scanned).encode() == scanned
        except Malformed:
            continue
