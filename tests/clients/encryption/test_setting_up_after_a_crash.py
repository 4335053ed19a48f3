"""An identity is set up whole, however often we are killed while at it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from httpx import AsyncHTTPTransport

from tests.clients.either_server import RealServer
from tricord.clients import Client, Encryption
from tricord.clients.encryption.devices import Standing, standing
from tricord.clients.testing import PASSWORD


class Killed(Exception):
    """The process has ended here."""


class Mortal(AsyncHTTPTransport):
    """A network that ends with one request: before it is sent, or before its answer comes."""

    def __init__(self, lives: int, *, answer_lost: bool) -> None:
        super().__init__()
        self.left = lives
        self._answer_lost = answer_lost

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.left -= 1
        if self.left < 0 and not self._answer_lost:
            raise Killed
        response = await super().handle_async_request(request)
        if self.left < 0:
            await response.aclose()
            raise Killed
        return response


@pytest.mark.slow
@pytest.mark.parametrize("answer_lost", [False, True])
async def test_whoever_is_killed_while_setting_up_goes_on_later(
    real: RealServer, tmp_path: Path, answer_lost: bool
) -> None:
    lives, killed = 0, True
    while killed:
        name = f"alice{lives}"
        encryption = Encryption(tmp_path / f"{name}.keys")
        async with Client(real.url, encryption=encryption) as first:
            session = await first.register(name, PASSWORD)
            await first.sync()
        network = Mortal(lives, answer_lost=answer_lost)
        async with Client(real.url, session=session, encryption=encryption, transport=network) as mortal:
            try:
                await mortal.set_up_identity()
                killed = False
            except Killed:
                pass
        async with Client(real.url, session=session, encryption=encryption) as again:
            made = await again.set_up_identity()
            own = again.identity.own
            assert own.cross_signing.is_complete
            assert own.backup.key is not None
            assert own.backup.in_use is not None
            assert own.backup.in_use.version == (await again.key_backup()).version
            machine = again.encryption.machine
            assert standing(machine.own.device(), own.cross_signing.identity) is Standing.VERIFIED
        async with Client(real.url, encryption=Encryption(None)) as other:
            await other.login(name, PASSWORD)
            assert made.recovery_key is not None
            await other.restore_identity(recovery_key=made.recovery_key)
            assert other.identity.own.secrets.missing() == []
        lives += 1
    assert lives > 10
