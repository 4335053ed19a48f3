"""Two people on a homeserver, signed in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.homeserver.encryption.devices import Device
from tests.servers import signed_in
from tricord.homeserver.app import Homeserver


@pytest.fixture
async def alice(homeserver: Homeserver) -> AsyncIterator[Device]:
    async with signed_in(homeserver, "alice", patience_seconds=0) as client:
        yield Device(client)


@pytest.fixture
async def bob(homeserver: Homeserver) -> AsyncIterator[Device]:
    async with signed_in(homeserver, "bob", patience_seconds=0) as client:
        yield Device(client)
