"""Cross-signing keys, made and signed as clients do."""

from __future__ import annotations

from typing import Any

from tests.homeserver.encryption.devices import Device
from tricord.protocol.identifiers import KeyId, ServerName, UserId
from tricord.protocol.signing import SigningKey, sign_json
from tricord.protocol.unpadded_base64 import encode_base64


class CrossKey:
    """One cross-signing key of a user."""

    def __init__(self, user_id: UserId, usage: str) -> None:
        generated = SigningKey.generate()
        self.user_id = user_id
        self.usage = usage
        self.name = encode_base64(generated.public_key)
        self._key = SigningKey(KeyId(f"ed25519:{self.name}"), generated._seed)

    @property
    def key_id(self) -> str:
        """The id of the key in signatures."""
        return f"ed25519:{self.name}"

    def json(self, **changed: Any) -> dict[str, Any]:
        """Return the key as it is uploaded, unsigned."""
        return {"user_id": self.user_id, "usage": [self.usage], "keys": {self.key_id: self.name}, **changed}

    def sign(self, signed: dict[str, Any]) -> dict[str, Any]:
        """Sign an object with this key."""
        return sign_json(signed, ServerName(self.user_id), self._key)


class Identity:
    """All three keys of a user."""

    def __init__(self, device: Device) -> None:
        self.device = device
        user_id = device.client.user_id
        self.master = CrossKey(user_id, "master")
        self.self_signing = CrossKey(user_id, "self_signing")
        self.user_signing = CrossKey(user_id, "user_signing")

    def json(self) -> dict[str, Any]:
        """Return the keys as they are uploaded."""
        return {
            "master_key": self.master.json(),
            "self_signing_key": self.master.sign(self.self_signing.json()),
            "user_signing_key": self.master.sign(self.user_signing.json()),
        }

    async def upload(self, password: str | None = None) -> None:
        """Upload the keys of the device, and then these."""
        await self.device.client.upload_keys(self.device.keys())
        await self.device.client.upload_cross_signing_keys(**self.json(), password=password)
