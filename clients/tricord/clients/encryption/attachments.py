"""Files that only those can read who are told their key: AES-CTR under a key of their own, and a hash of the result.

https://spec.matrix.org/v1.19/client-server-api/#sending-encrypted-attachments
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from tricord.clients.encryption.errors import Forged, Malformed
from tricord.protocol.errors import BadJson, InvalidParam
from tricord.protocol.media import parse_mxc
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64, encode_url_safe_base64

VERSION = "v2"

_KEY_BYTES = 32
_IV_BYTES = 16
# The second half of the IV counts blocks, and begins at zero: so no file of less than 2^68 bytes runs over.
_RANDOM_IV_BYTES = 8


class Encryption:
    """Encrypting one file, part by part; its key and IV are made here and used for nothing else."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._iv = secrets.token_bytes(_RANDOM_IV_BYTES) + bytes(_IV_BYTES - _RANDOM_IV_BYTES)
        self._cipher: CipherContext = Cipher(AES(self._key), CTR(self._iv)).encryptor()
        self._hash = hashlib.sha256()

    def update(self, plaintext: bytes) -> bytes:
        """Return the next part, encrypted."""
        ciphertext = self._cipher.update(plaintext)
        self._hash.update(ciphertext)
        return ciphertext

    def finish(self, mxc: str) -> dict[str, Any]:
        """Return the `EncryptedFile` that says where the file is and how to read it. It holds the key."""
        return {
            "url": mxc,
            "v": VERSION,
            "key": {
                "kty": "oct",
                "key_ops": ["encrypt", "decrypt"],
                "alg": "A256CTR",
                "k": encode_url_safe_base64(self._key),
                "ext": True,
            },
            "iv": encode_base64(self._iv),
            "hashes": {"sha256": encode_base64(self._hash.digest())},
        }


class Decryption:
    """Decrypting one file, part by part. Nothing of it may be used before `finish` has returned."""

    def __init__(self, file: Mapping[str, Any]) -> None:
        """Take a foreign `EncryptedFile`; raise Malformed if it does not say how to read the file."""
        key, iv, self._expected = _read(file)
        self._cipher: CipherContext = Cipher(AES(key), CTR(iv)).decryptor()
        self._hash = hashlib.sha256()

    def update(self, ciphertext: bytes) -> bytes:
        """Return the next part, decrypted."""
        self._hash.update(ciphertext)
        return self._cipher.update(ciphertext)

    def finish(self) -> None:
        """Check the hash of all that was decrypted; raise Forged if it is another file: throw away what came of it."""
        if not hmac.compare_digest(self._hash.digest(), self._expected):
            raise Forged("the hash of an encrypted file does not fit: it is not the file that was sent")


def encrypt_attachment(plaintext: bytes, mxc: str = "") -> tuple[bytes, dict[str, Any]]:
    """Return a file encrypted, and the `EncryptedFile` for it; its `url` is set once the file has been uploaded."""
    encryption = Encryption()
    ciphertext = encryption.update(plaintext)
    return ciphertext, encryption.finish(mxc)


def decrypt_attachment(ciphertext: bytes, file: Mapping[str, Any]) -> bytes:
    """Return a file decrypted; raise Malformed if `file` does not say how, Forged if it is not the file sent."""
    decryption = Decryption(file)
    plaintext = decryption.update(ciphertext)
    decryption.finish()
    return plaintext


def url_of(file: Mapping[str, Any]) -> str:
    """Return where a foreign `EncryptedFile` says that the file is; raise Malformed if it is no `mxc://` URI."""
    url = file.get("url")
    try:
        return str(parse_mxc(url if isinstance(url, str) else ""))
    except InvalidParam as error:
        raise Malformed(f"an encrypted file has no mxc:// URI: {error}") from error


def _read(file: Mapping[str, Any]) -> tuple[bytes, bytes, bytes]:
    """Return key, IV and hash of a foreign `EncryptedFile`, or raise Malformed."""
    if file.get("v") != VERSION:
        raise Malformed(f"an encrypted file is not of version {VERSION}")
    key, hashes = file.get("key"), file.get("hashes")
    if not isinstance(key, dict) or not isinstance(hashes, dict):
        raise Malformed("an encrypted file has no key or no hashes")
    if key.get("kty") != "oct" or key.get("alg") != "A256CTR" or key.get("ext") is not True:
        raise Malformed("the key of an encrypted file is not an extractable one for A256CTR")
    operations = key.get("key_ops")
    if not isinstance(operations, list) or not _has_all(operations, ("encrypt", "decrypt")):
        raise Malformed("the key of an encrypted file is not for encrypting and decrypting")
    iv = _bytes(file.get("iv"), _IV_BYTES, "IV")
    # A counter that does not begin at zero could run into blocks of another file with the same key.
    if any(iv[_RANDOM_IV_BYTES:]):
        raise Malformed("the counter of an encrypted file does not begin at zero")
    return (
        _bytes(key.get("k"), _KEY_BYTES, "key"),
        iv,
        _bytes(hashes.get("sha256"), hashlib.sha256().digest_size, "SHA-256 hash"),
    )


def _has_all(operations: Iterable[Any], wanted: Iterable[str]) -> bool:
    given = [operation for operation in operations if isinstance(operation, str)]
    return all(operation in given for operation in wanted)


def _bytes(encoded: Any, length: int, noun: str) -> bytes:
    try:
        decoded = decode_base64(encoded)
    except BadJson as error:
        raise Malformed(f"the {noun} of an encrypted file is not base64") from error
    if len(decoded) != length:
        raise Malformed(f"the {noun} of an encrypted file is not {length} bytes long")
    return decoded
