"""Devices with keys, made as clients make them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.servers import PASSWORD
from tricord.clients import Client
from tricord.protocol.identifiers import DeviceId, KeyId, ServerName
from tricord.protocol.signing import SigningKey, sign_json
from tricord.protocol.unpadded_base64 import encode_base64

ALGORITHM = "signed_curve25519"


def a_key(number: int = 0) -> str:
    """Return a public key like no other."""
    return encode_base64(number.to_bytes(32, "big"))


class Device:
    """What a client knows of itself, and can sign with."""

    def __init__(self, client: Client, device_id: DeviceId | None = None) -> None:
        self.client = client
        self.device_id = device_id or client.device_id
        self.key = SigningKey(KeyId(f"ed25519:{self.device_id}"), SigningKey.generate()._seed)

    def sign(self, signed: dict[str, Any]) -> dict[str, Any]:
        """Sign an object as this device."""
        return sign_json(signed, ServerName(self.client.user_id), self.key)

    def keys(self, **changed: Any) -> dict[str, Any]:
        """Return its own keys, signed; with `changed` members."""
        device_id = self.device_id
        keys = {
            "user_id": self.client.user_id,
            "device_id": device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                f"curve25519:{device_id}": a_key(1),
                f"ed25519:{device_id}": encode_base64(self.key.public_key),
            },
        }
        return self.sign(keys | changed)

    def pre_keys(self, *numbers: int, **more: Any) -> dict[str, Any]:
        """Return one-time keys, signed."""
        return {f"{ALGORITHM}:K{number}": self.sign({"key": a_key(number), **more}) for number in numbers}

    async def upload(self, *numbers: int) -> None:
        """Upload its own keys, and one-time keys."""
        await self.client.upload_keys(self.keys(), one_time_keys=self.pre_keys(*numbers))


@asynccontextmanager
async def another_device(of: Client, **options: Any) -> AsyncIterator[Client]:
    """Sign in once more."""
    async with Client(of.http.base_url, **options) as client:
        await client.login(of.user_id, PASSWORD)
        yield client
