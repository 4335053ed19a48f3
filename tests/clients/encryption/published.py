"""Keys as people publish them, for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vodozemac import Account

from tricord.clients.encryption.devices import MEGOLM, OLM
from tricord.protocol.signing import SigningKey, signed_bytes
from tricord.protocol.unpadded_base64 import encode_base64


def device_keys(user_id: str, device_id: str, account: Account | None = None, /, **changed: Any) -> dict[str, Any]:
    """Return the keys of a device, signed by itself; what is `changed` is signed too."""
    account = account or Account()
    keys = {
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": [OLM, MEGOLM],
        "keys": {
            f"ed25519:{device_id}": account.ed25519_key.to_base64(),
            f"curve25519:{device_id}": account.curve25519_key.to_base64(),
        },
        **changed,
    }
    signature = account.sign(signed_bytes(keys)).to_base64()
    return {**keys, "signatures": {user_id: {f"ed25519:{device_id}": signature}}}


class CrossSigning:
    """The cross-signing keys of somebody."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self.keys: Mapping[str, SigningKey] = {
            usage: SigningKey.generate() for usage in ("master", "self_signing", "user_signing")
        }

    def published(self, usage: str) -> dict[str, Any]:
        """Return one of them, signed by the master key."""
        public = self.public(usage)
        key = {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{public}": public}}
        return key if usage == "master" else self.sign(key, "master")

    def public(self, usage: str) -> str:
        """Return the public key of one."""
        return encode_base64(self.keys[usage].public_key)

    def sign(self, signed: dict[str, Any], usage: str) -> dict[str, Any]:
        """Return something with a signature of one of them."""
        key = self.keys[usage]
        copy = {**signed, "signatures": {user: dict(names) for user, names in signed.get("signatures", {}).items()}}
        signature = key.sign(signed_bytes(signed))
        copy["signatures"].setdefault(self.user_id, {})[f"ed25519:{self.public(usage)}"] = signature
        return copy

    def answer(self) -> dict[str, Any]:
        """Return what an answer to a key query says of them."""
        return {
            f"{usage}_keys": {self.user_id: self.published(usage)}
            for usage in ("master", "self_signing", "user_signing")
        }
