"""What every group of calls stands on."""

from __future__ import annotations

import secrets

from tricord.clients.http import Http
from tricord.protocol.identifiers import DeviceId, UserId


class Calls:
    """Methods that call one homeserver as one user."""

    http: Http
    # Known once signed in; empty before.
    user_id: UserId
    device_id: DeviceId


def new_transaction_id() -> str:
    """Return an id that makes repeating a request harmless: the homeserver acts once per id and device."""
    return secrets.token_urlsafe(12)
