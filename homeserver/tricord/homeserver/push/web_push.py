"""Web Push: notifications straight to a browser's push service, encrypted so that only the browser can read them.

A subscription is what the browser's `PushManager.subscribe` returns; the pusher's `pushkey` is its key `p256dh`, its
`data` has `url` (the endpoint) and `auth`. The server proves who it is by VAPID.

https://www.rfc-editor.org/rfc/rfc8291 (encryption), https://www.rfc-editor.org/rfc/rfc8292 (VAPID)
"""

from __future__ import annotations

import base64
import binascii
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tricord.protocol.errors import InvalidParam, MissingParam
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import encode_url_safe_base64

# The one record of a message, with its padding and tag; push services take 4,096 bytes (RFC 8030, section 7.2).
_RECORD_SIZE = 4096
MOST_PLAINTEXT = 3_800
_TOKEN_SECONDS = 12 * 3600


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where to send, and for whom to encrypt."""

    endpoint: str
    public_key: bytes
    auth: bytes

    @classmethod
    def checked(cls, pushkey: str, data: JsonObject) -> Subscription:
        """Return the subscription of a pusher, or refuse one that nothing could be sent to."""
        endpoint, auth = data.get("url"), data.get("auth")
        if not isinstance(endpoint, str) or not isinstance(auth, str):
            raise MissingParam("a pusher of the kind `webpush` needs `data.url` and `data.auth`")
        try:
            parts = urlsplit(endpoint)
            if parts.scheme != "https" or not parts.hostname:
                raise ValueError(endpoint)
        except ValueError as error:
            raise InvalidParam("`data.url` is not an https URL") from error
        try:
            public_key, secret = _decoded(pushkey), _decoded(auth)
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
        except (ValueError, binascii.Error) as error:
            raise InvalidParam("`pushkey` is not a P-256 key, or `data.auth` is not base64url") from error
        if len(secret) != 16:
            raise InvalidParam("`data.auth` is not 16 bytes")
        return cls(endpoint, public_key, secret)


class VapidKey:
    """The key by which push services know this server."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, contact: str) -> None:
        self._key = key
        self._contact = contact
        self._public = encode_url_safe_base64(_point(key.public_key()))

    @classmethod
    def load_or_create(cls, file: Path, contact: str) -> VapidKey:
        """Return the key that is in a file; `contact` is a mailto: or https: URL of who runs the server."""
        if not file.exists():
            made = ec.generate_private_key(ec.SECP256R1())
            pem = made.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            new = file.with_suffix(f".{os.getpid()}")
            new.touch(mode=0o600)
            new.write_bytes(pem)
            try:
                os.link(new, file)  # of two processes that start, one wins
            except FileExistsError:
                pass
            finally:
                new.unlink()
        key = serialization.load_pem_private_key(file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{file} holds no P-256 key")
        return cls(key, contact)

    @property
    def public(self) -> str:
        """The public key, as `applicationServerKey` of `PushManager.subscribe` takes it."""
        return self._public

    def authorization(self, endpoint: str, now_seconds: int) -> str:
        """Return the header that says who sends. https://www.rfc-editor.org/rfc/rfc8292#section-3."""
        parts = urlsplit(endpoint)
        claims = {
            "aud": f"{parts.scheme}://{parts.netloc}",
            "exp": now_seconds + _TOKEN_SECONDS,
            "sub": self._contact,
        }
        token = ({"typ": "JWT", "alg": "ES256"}, claims)
        signed = ".".join(encode_url_safe_base64(orjson.dumps(part)) for part in token)
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"vapid t={signed}.{encode_url_safe_base64(signature)}, k={self._public}"


def encrypted(
    plaintext: bytes,
    to: Subscription,
    *,
    sender: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """Return a message that only the subscriber can read, as the body of the request to its push service.

    Each has a key and a salt of its own, which only tests choose. https://www.rfc-editor.org/rfc/rfc8291#section-3
    """
    sender = sender or ec.generate_private_key(ec.SECP256R1())
    salt = salt or os.urandom(16)
    own_point = _point(sender.public_key())
    receiver = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), to.public_key)
    shared = sender.exchange(ec.ECDH(), receiver)
    material = _derived(shared, to.auth, b"WebPush: info\0" + to.public_key + own_point, 32)
    key = _derived(material, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derived(material, salt, b"Content-Encoding: nonce\0", 12)
    header = salt + struct.pack("!IB", _RECORD_SIZE, len(own_point)) + own_point
    return header + AESGCM(key).encrypt(nonce, plaintext + b"\x02", None)


def _derived(material: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(material)


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _decoded(text: str) -> bytes:
    standard = text.rstrip("=").replace("+", "-").replace("/", "_")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), altchars=b"-_", validate=True)
