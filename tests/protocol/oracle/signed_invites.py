"""Invites by third parties: the offer that names the keys, and what an identity server signs; signed once for all."""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

TOKEN = "token"
_KEY, _OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))


def _base64(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")


OFFER = {"public_keys": [{"public_key": _base64(_KEY.public_key().public_bytes_raw())}]}


@cache
def signed_for(user: str, choice: int) -> dict[str, Any]:
    """Return `third_party_invite` for a user: right for most choices, and with something wrong for the others."""
    signed: dict[str, Any] = {"mxid": user, "token": TOKEN}
    match choice:
        case 0:
            signed["mxid"] = "@other:a.test"
        case 1:
            signed["token"] = "another"
        case 2:
            return {"display_name": "nothing signed"}
        case 3:
            del signed["mxid"]
    key = _OTHER_KEY if choice == 4 else _KEY
    message = json.dumps(signed, separators=(",", ":"), sort_keys=True).encode()
    return {"signed": {**signed, "signatures": {"id.test": {"ed25519:1": _base64(key.sign(message))}}}}
