"""The words of the verification framework: types of messages, methods, and why one is cancelled.

https://spec.matrix.org/v1.19/client-server-api/#key-verification-framework
"""

from __future__ import annotations

import enum
from typing import Any, Final

from tricord.clients.encryption.errors import EncryptionError

PREFIX: Final = "m.key.verification."
REQUEST: Final = "m.key.verification.request"
READY: Final = "m.key.verification.ready"
START: Final = "m.key.verification.start"
ACCEPT: Final = "m.key.verification.accept"
KEY: Final = "m.key.verification.key"
MAC: Final = "m.key.verification.mac"
DONE: Final = "m.key.verification.done"
CANCEL: Final = "m.key.verification.cancel"
ALL_TYPES: Final = (REQUEST, READY, START, ACCEPT, KEY, MAC, DONE, CANCEL)

SAS: Final = "m.sas.v1"
SHOW_QR: Final = "m.qr_code.show.v1"
SCAN_QR: Final = "m.qr_code.scan.v1"
RECIPROCATE: Final = "m.reciprocate.v1"


class Code(enum.Enum):
    """Why a verification was cancelled.

    https://spec.matrix.org/v1.19/client-server-api/#mkeyverificationcancel
    """

    USER = "m.user"
    TIMEOUT = "m.timeout"
    UNKNOWN_TRANSACTION = "m.unknown_transaction"
    UNKNOWN_METHOD = "m.unknown_method"
    UNEXPECTED_MESSAGE = "m.unexpected_message"
    KEY_MISMATCH = "m.key_mismatch"
    USER_MISMATCH = "m.user_mismatch"
    INVALID_MESSAGE = "m.invalid_message"
    ACCEPTED = "m.accepted"
    MISMATCHED_COMMITMENT = "m.mismatched_commitment"
    MISMATCHED_SAS = "m.mismatched_sas"


class VerificationFailed(EncryptionError):
    """A verification cannot go on: the other side is told the code, and its words."""

    def __init__(self, code: Code, reason: str) -> None:
        """Take the code, and what happened in words for people."""
        self.code = code
        self.reason = reason
        super().__init__(f"{code.value}: {reason}")


def text_of(content: dict[str, Any], key: str) -> str:
    """Return a string that a foreign message must have; raise VerificationFailed."""
    value = content.get(key)
    if not isinstance(value, str) or not value:
        raise VerificationFailed(Code.INVALID_MESSAGE, f"{key} is missing, or no string")
    return value


def list_of(content: dict[str, Any], key: str) -> list[str]:
    """Return the strings of a list that a foreign message must have; raise VerificationFailed."""
    value = content.get(key)
    if not isinstance(value, list):
        raise VerificationFailed(Code.INVALID_MESSAGE, f"{key} is missing, or no list")
    return [item for item in value if isinstance(item, str)]
