"""Secrets in account data, which the homeserver keeps and cannot read.

A *storage key* opens them: 32 random bytes, which people write down as their recovery key, or what a passphrase makes.
https://spec.matrix.org/v1.19/client-server-api/#storage
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tricord.clients.encryption.errors import Forged, Malformed, WrongSecret
from tricord.clients.encryption.recovery_key import KEY_BYTES, decode_recovery_key, encode_recovery_key
from tricord.protocol.errors import BadJson
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64

ALGORITHM = "m.secret_storage.v1.aes-hmac-sha2"
DEFAULT_KEY = "m.secret_storage.default_key"
KEY_PREFIX = "m.secret_storage.key."
PASSPHRASE_ALGORITHM = "m.pbkdf2"  # noqa: S105  # a name, not a secret
ROUNDS = 500_000

_IV_BYTES = 16
# More would keep us busy for minutes because a homeserver says so.
_MOST_ROUNDS = 10_000_000


@dataclass(frozen=True, slots=True)
class StorageKey:
    """A key to secrets, with its id, under which account data describes it."""

    key_id: str
    _key: bytes = field(repr=False)
    checked: bool = True
    """Whether it is known to be the key that was described. One that is not may be the homeserver's invention, say a
    passphrase with a single round, so that it reads, but writes nothing."""

    @property
    def recovery_key(self) -> str:
        """The key as people write it down. Whoever has it reads all secrets."""
        return encode_recovery_key(self._key)

    def encrypt(self, name: str, secret: str) -> dict[str, str]:
        """Return a secret encrypted under its name: what stands under our id in `encrypted`.

        https://spec.matrix.org/v1.19/client-server-api/#msecret_storagev1aes-hmac-sha2-1
        """
        if not self.checked:
            raise WrongSecret(f"nothing shows that this is the key {self.key_id}: no secret is stored with it")
        return _encrypted(self._key, name, secret.encode(), _new_iv())

    def decrypt(self, name: str, content: Mapping[str, Any]) -> str:
        """Return the secret in foreign account data of the type `name`.

        Raises Malformed if there is none for this key, Forged if somebody without the key wrote it, or moved it here
        from another name.
        """
        encrypted = content.get("encrypted")
        data = encrypted.get(self.key_id) if isinstance(encrypted, dict) else None
        if not isinstance(data, dict):
            raise Malformed(f"{name} is not encrypted with the key {self.key_id}")
        iv, ciphertext = _base64(data.get("iv"), "IV"), _base64(data.get("ciphertext"), "ciphertext")
        if len(iv) != _IV_BYTES:
            raise Malformed(f"the IV of {name} is not {_IV_BYTES} bytes long")
        key, mac_key = _derived(self._key, name)
        if not hmac.compare_digest(hmac.digest(mac_key, ciphertext, "sha256"), _base64(data.get("mac"), "MAC")):
            raise Forged(f"the MAC of {name} does not fit: it was not stored with this key")
        try:
            return Cipher(AES(key), CTR(iv)).decryptor().update(ciphertext).decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"{name} is not text") from error

    def description(self, *, passphrase: dict[str, Any] | None = None, name: str | None = None) -> dict[str, Any]:
        """Return the content that describes the key, with what it takes to check it.

        https://spec.matrix.org/v1.19/client-server-api/#msecret_storagev1aes-hmac-sha2
        """
        check = _encrypted(self._key, "", bytes(32), _new_iv())
        content: dict[str, Any] = {"algorithm": ALGORITHM, "iv": check["iv"], "mac": check["mac"]}
        if name is not None:
            content["name"] = name
        if passphrase is not None:
            content["passphrase"] = passphrase
        return content


def new_key(*, passphrase: str | None = None, name: str | None = None) -> tuple[StorageKey, dict[str, Any]]:
    """Make a storage key, at random or of a passphrase, and the content that describes it."""
    key_id = secrets.token_urlsafe(24).replace("-", "a").replace("_", "b")
    if passphrase is None:
        key = StorageKey(key_id, secrets.token_bytes(KEY_BYTES))
        return key, key.description(name=name)
    how = {
        "algorithm": PASSPHRASE_ALGORITHM,
        "salt": secrets.token_urlsafe(24),
        "iterations": ROUNDS,
        "bits": KEY_BYTES * 8,
    }
    key = StorageKey(key_id, _of_passphrase(passphrase, how))
    return key, key.description(passphrase=how, name=name)


def open_with_recovery_key(key_id: str, description: Mapping[str, Any], recovery_key: str) -> StorageKey:
    """Return the storage key that somebody wrote down.

    Raises Malformed if this, or the description, is none, and WrongSecret if it is another one than described.
    """
    return _checked(StorageKey(key_id, decode_recovery_key(recovery_key)), description)


def open_with_passphrase(key_id: str, description: Mapping[str, Any], passphrase: str) -> StorageKey:
    """Return the storage key that a passphrase makes. Raises as `open_with_recovery_key` does."""
    how = description.get("passphrase")
    if not isinstance(how, dict):
        raise Malformed(f"the key {key_id} has no passphrase: its recovery key is needed")
    return _checked(StorageKey(key_id, _of_passphrase(passphrase, how)), description)


def default_key_id(content: Mapping[str, Any]) -> str | None:
    """Return the id of the default key from the account data that names it, if it does.

    https://spec.matrix.org/v1.19/client-server-api/#key-storage
    """
    key_id = content.get("key")
    return key_id if isinstance(key_id, str) and key_id else None


def _checked(key: StorageKey, description: Mapping[str, Any]) -> StorageKey:
    if description.get("algorithm") != ALGORITHM:
        raise Malformed(f"the key {key.key_id} is of an unknown algorithm")
    iv, mac = description.get("iv"), description.get("mac")
    # Both are optional. Without them there is nothing to check: secrets that it does not open will tell.
    if iv is None or mac is None:
        return replace(key, checked=False)
    decoded = _base64(iv, "IV")
    if len(decoded) != _IV_BYTES:
        raise Malformed(f"the IV of the key {key.key_id} is not {_IV_BYTES} bytes long")
    expected = _base64(_encrypted(key._key, "", bytes(32), decoded)["mac"], "MAC")  # noqa: SLF001  # of this file
    if not hmac.compare_digest(expected, _base64(mac, "MAC")):
        raise WrongSecret(f"this is not the secret of the key {key.key_id}")
    return key


def _of_passphrase(passphrase: str, how: Mapping[str, Any]) -> bytes:
    """Return the key that a passphrase makes.

    https://spec.matrix.org/v1.19/client-server-api/#deriving-keys-from-passphrases
    """
    salt, rounds, bits = how.get("salt"), how.get("iterations"), how.get("bits", KEY_BYTES * 8)
    if how.get("algorithm") != PASSPHRASE_ALGORITHM:
        raise Malformed("keys are made of passphrases by an unknown algorithm")
    if not isinstance(salt, str) or type(rounds) is not int or not 0 < rounds <= _MOST_ROUNDS:
        raise Malformed(f"a passphrase has no salt, or not between 1 and {_MOST_ROUNDS} iterations")
    if bits != KEY_BYTES * 8:
        raise Malformed(f"keys of passphrases are of {KEY_BYTES * 8} bits")
    return hashlib.pbkdf2_hmac("sha512", passphrase.encode(), _utf8(salt), rounds, dklen=KEY_BYTES)


def _encrypted(key: bytes, name: str, plaintext: bytes, iv: bytes) -> dict[str, str]:
    aes_key, mac_key = _derived(key, name)
    ciphertext = Cipher(AES(aes_key), CTR(iv)).encryptor().update(plaintext)
    return {
        "iv": encode_base64(iv),
        "ciphertext": encode_base64(ciphertext),
        "mac": encode_base64(hmac.digest(mac_key, ciphertext, "sha256")),
    }


def _derived(key: bytes, name: str) -> tuple[bytes, bytes]:
    """Return the key that encrypts what has this name, and the one that authenticates it."""
    derived = HKDF(SHA256(), 64, salt=bytes(32), info=name.encode()).derive(key)
    return derived[:32], derived[32:]


def _new_iv() -> bytes:
    iv = bytearray(secrets.token_bytes(_IV_BYTES))
    # Bit 63 is zero, since implementations of AES-CTR differ in how far they carry.
    iv[8] &= 0x7F
    return bytes(iv)


def _base64(encoded: Any, noun: str) -> bytes:
    try:
        return decode_base64(encoded)
    except BadJson as error:
        raise Malformed(f"the {noun} of a stored secret is not base64") from error


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Malformed("a salt is not text") from error
