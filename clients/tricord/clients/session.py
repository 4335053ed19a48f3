"""A session: who we are, on which device, and the tokens that prove it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tricord.protocol.identifiers import DeviceId, UserId


@dataclass(frozen=True, slots=True)
class Session:
    """What it takes to go on as the same device later. The tokens are as good as the password: keep them as safely."""

    user_id: UserId
    device_id: DeviceId
    access_token: str = field(repr=False)
    # Only if it was asked for: then the access token is short-lived, and renewed with this one.
    refresh_token: str | None = field(default=None, repr=False)
