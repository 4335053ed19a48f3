"""Which keys a QR code has to show, and what one proves that was scanned.

https://spec.matrix.org/v1.19/client-server-api/#qr-code-format
"""

from __future__ import annotations

import hmac

from tricord.clients.encryption.errors import Malformed
from tricord.clients.encryption.verification.keys import Keys
from tricord.clients.encryption.verification.messages import Code, VerificationFailed, text_of
from tricord.clients.encryption.verification.qr_code import Mode, QrCode
from tricord.protocol.errors import BadJson
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import decode_base64


def code_to_show(transaction_id: str, ours: Keys, theirs: Keys, *, is_self: bool) -> QrCode:
    """Return the code by which the other side, or another device of ours, can verify us; raise VerificationFailed."""
    mode, first, second = Mode.ANOTHER_USER, ours.master, theirs.master
    if is_self and ours.master is not None:
        mode, first, second = Mode.TRUSTS_MASTER_KEY, ours.master, theirs.device
    elif is_self:
        mode, first, second = Mode.LACKS_MASTER_KEY, ours.device, theirs.master
    if first is None or second is None:
        raise VerificationFailed(Code.UNKNOWN_METHOD, "one of the two sides has no cross-signing keys")
    return QrCode.show(mode, transaction_id, decode_base64(first), decode_base64(second))


def read_code(scanned: bytes, transaction_id: str, ours: Keys, theirs: Keys, *, is_self: bool) -> QrCode:
    """Return what a code says that fits what we know; raise VerificationFailed if it does not."""
    try:
        code = QrCode.decode(scanned)
    except Malformed as error:
        raise VerificationFailed(Code.KEY_MISMATCH, str(error)) from error
    if code.transaction_id != transaction_id:
        raise VerificationFailed(Code.KEY_MISMATCH, "the code is of another verification")
    if (code.mode is Mode.ANOTHER_USER) is is_self:
        raise VerificationFailed(Code.KEY_MISMATCH, "the code is not for verifying this user")
    first, second = {
        Mode.ANOTHER_USER: (theirs.master, ours.master),
        Mode.TRUSTS_MASTER_KEY: (theirs.master, ours.device),
        Mode.LACKS_MASTER_KEY: (theirs.device, ours.master),
    }[code.mode]
    for name, expected, shown in (("its", first, code.first_key), ("our", second, code.second_key)):
        if expected is None or not hmac.compare_digest(decode_base64(expected), shown):
            raise VerificationFailed(Code.KEY_MISMATCH, f"the code has another key for {name} side")
    return code


def proves_device_of_scanned(code: QrCode) -> bool:
    """Return whether a code proves the device of the one who shows it; or else their master key."""
    return code.mode is Mode.LACKS_MASTER_KEY


def proves_device_of_scanner(code: QrCode) -> bool:
    """Return whether a code proves the device of the one who scans it; or else their master key."""
    return code.mode is Mode.TRUSTS_MASTER_KEY


def check_secret(code: QrCode | None, content: JsonObject) -> None:
    """Check that who says to have scanned a code of ours has seen it; raise VerificationFailed."""
    if code is None:
        raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "a code was scanned that we have not shown")
    try:
        secret = decode_base64(text_of(content, "secret"))
    except BadJson as error:
        raise VerificationFailed(Code.INVALID_MESSAGE, "the secret is not base64") from error
    if not hmac.compare_digest(secret, code.secret):
        raise VerificationFailed(Code.KEY_MISMATCH, "whoever says to have scanned our code has not seen it")
