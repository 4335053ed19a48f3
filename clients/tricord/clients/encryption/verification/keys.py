"""Whose keys a verification is about, and what it has shown of them."""

from __future__ import annotations

from dataclasses import dataclass

from tricord.protocol.identifiers import DeviceId, UserId


@dataclass(frozen=True, slots=True)
class Keys:
    """The public keys of one side. A device's id and a master key are kept apart, whatever they are named."""

    device_id: DeviceId
    device: str
    master: str | None

    @property
    def device_key_id(self) -> str:
        """The name of the device's key in a list of MACs."""
        return f"ed25519:{self.device_id}"

    @property
    def master_key_id(self) -> str | None:
        """The name of the master key in a list of MACs."""
        return None if self.master is None else f"ed25519:{self.master}"

    def by_id(self) -> dict[str, str]:
        """Return the keys as MACs name them."""
        keys = {self.device_key_id: self.device}
        if self.master is not None:
            keys[f"ed25519:{self.master}"] = self.master
        return keys


@dataclass(frozen=True, slots=True)
class Proven:
    """What a verification has shown to be the other side's."""

    user_id: UserId
    keys: Keys
    device: bool
    master: bool
