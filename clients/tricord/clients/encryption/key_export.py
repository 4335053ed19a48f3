"""Keys of rooms in a file under a passphrase, to be carried to another device.

https://spec.matrix.org/v1.19/client-server-api/#key-exports
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Any

import orjson
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from tricord.clients.encryption.errors import Malformed, WrongSecret
from tricord.protocol.errors import MatrixError
from tricord.protocol.strict_json import parse_json

HEADER = "-----BEGIN MEGOLM SESSION DATA-----"
FOOTER = "-----END MEGOLM SESSION DATA-----"
ROUNDS = 500_000

_VERSION = 1
_SALT_BYTES = 16
_IV_BYTES = 16
_MAC_BYTES = 32
_PREAMBLE_BYTES = 1 + _SALT_BYTES + _IV_BYTES + 4
# A file that asks for more would keep us busy for minutes.
_MOST_ROUNDS = 10_000_000
_LINE = 96


def export_keys(sessions: Sequence[dict[str, Any]], passphrase: str, *, rounds: int = ROUNDS) -> str:
    """Write sessions, as `ExportedSessionData`, into the text of a file that opens with a passphrase.

    Takes about a second, on purpose: who tries many passphrases needs as long for each.
    """
    salt, iv = secrets.token_bytes(_SALT_BYTES), bytearray(secrets.token_bytes(_IV_BYTES))
    # Bit 63 is zero, since implementations of AES-CTR differ in how far they carry.
    iv[8] &= 0x7F
    key, mac_key = _derived(passphrase, salt, rounds)
    ciphertext = Cipher(AES(key), CTR(bytes(iv))).encryptor().update(orjson.dumps(list(sessions)))
    payload = bytes([_VERSION]) + salt + iv + rounds.to_bytes(4, "big") + ciphertext
    text = base64.b64encode(payload + hmac.digest(mac_key, payload, "sha256")).decode()
    lines = (text[start : start + _LINE] for start in range(0, len(text), _LINE))
    return "\n".join((HEADER, *lines, FOOTER)) + "\n"


def read_exported_keys(text: str, passphrase: str) -> list[dict[str, Any]]:
    """Return the sessions in the text of a file; raise Malformed if it is none, WrongSecret if it does not open.

    Entries are as they stand in the file: who imports one checks it.
    """
    payload = _payload(text)
    rounds = int.from_bytes(payload[_PREAMBLE_BYTES - 4 : _PREAMBLE_BYTES], "big")
    if not 0 < rounds <= _MOST_ROUNDS:
        raise Malformed(f"a key export asks for {rounds} rounds of PBKDF2; at most {_MOST_ROUNDS} are done")
    salt, iv = payload[1 : 1 + _SALT_BYTES], payload[1 + _SALT_BYTES : _PREAMBLE_BYTES - 4]
    key, mac_key = _derived(passphrase, salt, rounds)
    if not hmac.compare_digest(hmac.digest(mac_key, payload[:-_MAC_BYTES], "sha256"), payload[-_MAC_BYTES:]):
        raise WrongSecret("the passphrase does not open this key export, or the file is damaged")
    plaintext = Cipher(AES(key), CTR(iv)).decryptor().update(payload[_PREAMBLE_BYTES:-_MAC_BYTES])
    try:
        sessions = parse_json(plaintext)
    except MatrixError as error:
        raise Malformed(f"a key export holds no list of keys: {error}") from error
    if not isinstance(sessions, list):
        raise Malformed("a key export holds no list of keys")
    return [session for session in sessions if isinstance(session, dict)]


def _payload(text: str) -> bytes:
    before, header, rest = text.partition(HEADER)
    body, footer, _ = rest.partition(FOOTER)
    if not header or not footer or before.strip():
        raise Malformed(f"a key export stands between {HEADER} and {FOOTER}")
    compact = "".join(body.split()).rstrip("=")
    try:
        payload = binascii.a2b_base64(compact + "=" * (-len(compact) % 4), strict_mode=True)
    except ValueError as error:
        raise Malformed("a key export is not base64") from error
    if len(payload) < _PREAMBLE_BYTES + _MAC_BYTES:
        raise Malformed("a key export is cut short")
    if payload[0] != _VERSION:
        raise Malformed(f"a key export is of version {payload[0]}; version {_VERSION} is known")
    return payload


def _derived(passphrase: str, salt: bytes, rounds: int) -> tuple[bytes, bytes]:
    """Return the key that encrypts, and the one that authenticates."""
    key = hashlib.pbkdf2_hmac("sha512", passphrase.encode(), salt, rounds, dklen=64)
    return key[:32], key[32:]
