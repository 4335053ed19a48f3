"""Who is given the keys of our messages."""

from __future__ import annotations

import enum

from tricord.clients.encryption.devices import Device, Identity, Trust, standing


class Policy(enum.Enum):
    """Which devices are given the keys of our messages. A blocked device never is."""

    # Those that their users have vouched for; of users whose identity has changed none, until that was accepted.
    CROSS_SIGNED = "cross-signed"
    # Of users who vouch for devices, those; of users who have no identity, all. What is not known cannot be used to
    # make a device look like another's: an identity, once seen, is not forgotten.
    KNOWN = "known"
    ALL = "all"

    def refuses(self, device: Device, identity: Identity | None) -> str | None:
        """Return why a device is not given keys, as a code for it to be told; None if it is.

        https://spec.matrix.org/v1.19/client-server-api/#reporting-that-decryption-keys-are-withheld
        """
        if device.trust is Trust.BLOCKED:
            return "m.blacklisted"
        if self is Policy.ALL or device.trust is Trust.VERIFIED:
            return None
        if identity is None:
            return "m.unverified" if self is Policy.CROSS_SIGNED else None
        doubtful = identity.was_verified or (identity.has_changed and self is Policy.CROSS_SIGNED)
        return "m.unverified" if doubtful or not standing(device, identity).is_vouched_for else None
