"""The secrets handed to clients: made here, and kept by the server as SHA-256 only."""

from __future__ import annotations

import hashlib
import secrets
import string

from tricord.protocol.identifiers import DeviceId

# Prefixes let secret scanners find a token that somebody published.
ACCESS_TOKEN_PREFIX = "trc_"  # noqa: S105  # no secret
REFRESH_TOKEN_PREFIX = "trr_"  # noqa: S105  # no secret
LOGIN_TOKEN_PREFIX = "trl_"  # noqa: S105  # no secret
OPENID_TOKEN_PREFIX = "tro_"  # noqa: S105  # no secret


def new_token(prefix: str) -> str:
    """Return a secret of 256 bits."""
    return prefix + secrets.token_urlsafe(32)


def token_hash(token: str) -> bytes:
    """Return what is stored of a token. It is as random as the hash, so it needs no salt and no slow function."""
    return hashlib.sha256(token.encode()).digest()


def new_device_id() -> DeviceId:
    """Return a device id, short enough to be read out."""
    return DeviceId("".join(secrets.choice(string.ascii_uppercase) for _ in range(10)))


def new_localpart() -> str:
    """Return a name for somebody who did not ask for one."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(12))
