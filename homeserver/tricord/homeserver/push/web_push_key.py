"""The key by which push services know this server, as far as everybody is told of it.

Few servers push to browsers, and what does (`web_push.py`, with the curves and file formats of cryptography) takes 10
MiB. So that is loaded with the first such pusher, the key is made for the first client that asks for it, and the public
one is read without it ever after.
"""

from __future__ import annotations

import base64
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from tricord.federation.late import Late
from tricord.protocol.unpadded_base64 import encode_url_safe_base64

if TYPE_CHECKING:
    from tricord.homeserver.push.web_push import VapidKey

KEY_FILE = "web_push_key.pem"

_BEGIN, _END = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"
# A P-256 key in PKCS #8 (RFC 5958, RFC 5915): these bytes, 32 of the private key, these, and 65 of the public key.
_BEFORE_PRIVATE = bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")
_BEFORE_PUBLIC = bytes.fromhex("a144034200")
_PUBLIC_FROM = len(_BEFORE_PRIVATE) + 32 + len(_BEFORE_PUBLIC)


class WebPushKey:
    """A key that lies in a folder, or is made there; `contact` is a mailto: or https: URL of who runs the server."""

    def __init__(self, folder: Path, contact: str) -> None:
        self._file = folder / KEY_FILE
        self._contact = contact
        self._public = self._public_in_file()
        self._made = Late(lambda: self.vapid.public)

    async def public(self) -> str:
        """Return the public key, as `applicationServerKey` of `PushManager.subscribe` takes it."""
        return self._public or await self._made.get()

    @functools.cached_property
    def vapid(self) -> VapidKey:
        """The key, to sign with."""
        from tricord.homeserver.push.web_push import VapidKey

        return VapidKey.load_or_create(self._file, self._contact)

    def _public_in_file(self) -> str:
        """Return the public key; empty if there is no file yet, or one that only cryptography can read."""
        try:
            begin, *lines, end = self._file.read_text().splitlines()
            key = base64.b64decode("".join(lines), validate=True)
        except (FileNotFoundError, ValueError):
            return ""
        before, public = key[:_PUBLIC_FROM], key[_PUBLIC_FROM:]
        is_known = before.startswith(_BEFORE_PRIVATE) and before.endswith(_BEFORE_PUBLIC) and len(public) == 65
        return encode_url_safe_base64(public) if is_known and (begin, end) == (_BEGIN, _END) else ""
