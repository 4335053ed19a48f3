"""Ed25519 keys, and signatures on JSON objects.

https://spec.matrix.org/v1.19/appendices/#signing-json

cryptography takes 7 MiB and 50 ms, so that it is loaded with the first signature: keys are kept as their bytes.
"""

from __future__ import annotations

import re
import secrets
import string
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from tricord.protocol.canonical_json import canonical_json
from tricord.protocol.errors import BadJson, InvalidParam, SignatureInvalid
from tricord.protocol.identifiers import KeyId, ServerName
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ALGORITHM = "ed25519"
UNSIGNED_KEYS = frozenset({"signatures", "unsigned"})

_KEY_VERSION = re.compile(r"[a-zA-Z0-9_]+")
_SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A server's private key under the id by which others look up its public half."""

    key_id: KeyId
    _seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, version: str | None = None) -> SigningKey:
        """Make a new key, by default with an id that no earlier key of the server is likely to have."""
        version = version or "a_" + "".join(secrets.choice(string.ascii_letters) for _ in range(6))
        return cls(KeyId(f"{ALGORITHM}:{version}"), secrets.token_bytes(_SEED_BYTES))

    @classmethod
    def parse(cls, line: str) -> SigningKey:
        """Read a key from the line that key files hold, `ed25519 VERSION SEED`; raise InvalidParam."""
        words = line.split()
        if len(words) != 3 or words[0] != ALGORITHM or not _KEY_VERSION.fullmatch(words[1]):
            raise InvalidParam(f"a signing key reads `{ALGORITHM} VERSION SEED`")
        try:
            seed = decode_base64(words[2])
        except BadJson:
            seed = b""
        if len(seed) != _SEED_BYTES:
            raise InvalidParam("the seed of a signing key is 32 bytes in base64")
        return cls(KeyId(f"{ALGORITHM}:{words[1]}"), seed)

    def dump(self) -> str:
        """Write the line that `parse` reads. It holds the secret."""
        version = self.key_id.partition(":")[2]
        return f"{ALGORITHM} {version} {encode_base64(self._seed)}"

    @property
    def public_key(self) -> bytes:
        """The 32 bytes that others verify with."""
        return _private_key(self._seed).public_key().public_bytes_raw()

    def sign(self, message: bytes) -> str:
        """Return the signature on `message`, in unpadded base64."""
        return encode_base64(_private_key(self._seed).sign(message))


def sign_json(signed: JsonObject, server_name: ServerName, key: SigningKey) -> JsonObject:
    """Add a signature to an object, in place as the specification's own example does, and return the object."""
    signature = key.sign(signed_bytes(signed))
    signed.setdefault("signatures", {}).setdefault(server_name, {})[key.key_id] = signature
    return signed


def verify_json(signed: JsonObject, server_name: ServerName, key_id: KeyId, public_key: bytes) -> None:
    """Check that `server_name` signed an object with a key; raise SignatureInvalid if not."""
    try:
        message = signed_bytes(signed)
    except BadJson as error:
        raise SignatureInvalid(f"what {server_name} signed has no canonical form: {error}") from error
    verify_signature(message, signature_of(signed, server_name, key_id), public_key)


def signed_bytes(signed: JsonObject) -> bytes:
    """Return what a signature on an object covers; raise BadJson if it has no canonical form."""
    return canonical_json({key: value for key, value in signed.items() if key not in UNSIGNED_KEYS})


def signature_of(signed: JsonObject, server_name: ServerName, key_id: KeyId) -> bytes:
    """Return the signature that an object carries; raise SignatureInvalid if there is none."""
    signatures = signed.get("signatures")
    of_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    encoded = of_server.get(key_id) if isinstance(of_server, dict) else None
    if encoded is None:
        raise SignatureInvalid(f"{server_name} has not signed with {key_id}")
    try:
        return decode_base64(encoded)
    except BadJson as error:
        raise SignatureInvalid(f"the signature of {server_name} is not base64") from error


def verify_signature(message: bytes, signature: bytes, public_key: bytes) -> None:
    """Check a signature on bytes; raise SignatureInvalid if it, or the key, is none."""
    from cryptography.exceptions import InvalidSignature

    try:
        _public_key(public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise SignatureInvalid("a signature does not fit its key") from error


@lru_cache(maxsize=256)
def _private_key(seed: bytes) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)


@lru_cache(maxsize=4096)
def _public_key(public_key: bytes) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(public_key)
