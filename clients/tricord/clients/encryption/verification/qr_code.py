"""What a QR code says: both sides' keys, and a secret that shows who has scanned it.

https://spec.matrix.org/v1.19/client-server-api/#qr-code-format
"""

from __future__ import annotations

import enum
import secrets
from dataclasses import dataclass, field

from tricord.clients.encryption.errors import Malformed

KEY_BYTES = 32

_HEADER = b"MATRIX"
_VERSION = 2
_SECRET_BYTES = 16
# Without one, everybody could say to have scanned the code.
_SHORTEST_SECRET_BYTES = 8


class Mode(enum.IntEnum):
    """Whom the one who shows the code verifies, and what it trusts already."""

    ANOTHER_USER = 0
    TRUSTS_MASTER_KEY = 1
    """Another device of ours, and this one has verified our master key."""
    LACKS_MASTER_KEY = 2
    """Another device of ours, and this one has yet to verify our master key."""


@dataclass(frozen=True, slots=True)
class QrCode:
    """The content of a code; keys are public ones."""

    mode: Mode
    transaction_id: str
    """The event id or `transaction_id` of the verification."""
    first_key: bytes
    """Of the one who shows it: its master key, or its device's if that is not trusted yet."""
    second_key: bytes
    """What it takes for the key of the other: its master key, or its device's."""
    secret: bytes = field(repr=False)

    @classmethod
    def show(cls, mode: Mode, transaction_id: str, first_key: bytes, second_key: bytes) -> QrCode:
        """Make a code with a new secret."""
        return cls(mode, transaction_id, first_key, second_key, secrets.token_bytes(_SECRET_BYTES))

    def encode(self) -> bytes:
        """Return the bytes for the code's single segment, in byte mode."""
        transaction_id = self.transaction_id.encode()
        if len(self.first_key) != KEY_BYTES or len(self.second_key) != KEY_BYTES:
            raise ValueError(f"keys are {KEY_BYTES} bytes long")
        return b"".join(
            (
                _HEADER,
                bytes((_VERSION, self.mode)),
                len(transaction_id).to_bytes(2, "big"),
                transaction_id,
                self.first_key,
                self.second_key,
                self.secret,
            )
        )

    @classmethod
    def decode(cls, scanned: bytes) -> QrCode:
        """Read what was scanned; raise Malformed if it is not such a code."""
        if not scanned.startswith(_HEADER) or len(scanned) < len(_HEADER) + 4:
            raise Malformed("this is not a code for verifying keys")
        version, mode = scanned[len(_HEADER)], scanned[len(_HEADER) + 1]
        if version != _VERSION:
            raise Malformed(f"the code is of version {version}; version {_VERSION} is known")
        if mode not in list(Mode):
            raise Malformed(f"the code is of the unknown mode {mode}")
        start = len(_HEADER) + 4
        first = start + int.from_bytes(scanned[start - 2 : start], "big")
        second, secret = first + KEY_BYTES, first + 2 * KEY_BYTES
        if len(scanned) < secret + _SHORTEST_SECRET_BYTES:
            raise Malformed("the code is cut short")
        try:
            transaction_id = scanned[start:first].decode()
        except UnicodeDecodeError as error:
            raise Malformed("the code names no verification") from error
        return cls(Mode(mode), transaction_id, scanned[first:second], scanned[second:secret], scanned[secret:])
