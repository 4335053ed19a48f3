"""All keys of users that others may see, in one statement: most queries are for one user or a few."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from tricord.homeserver.storage.cross_signing import CrossSigningKey, KeySignature
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.device_keys import DeviceKeys
from tricord.protocol.identifiers import UserId


@dataclass(slots=True)
class PublishedKeys:
    """Keys of devices and users, and the signatures that came after them."""

    devices: list[DeviceKeys] = field(default_factory=list)
    identities: list[CrossSigningKey] = field(default_factory=list)
    signatures: list[KeySignature] = field(default_factory=list)


async def published_keys(tx: Transaction, user_ids: Collection[UserId], seen_by: UserId | None) -> PublishedKeys:
    """Return the keys of users, and the signatures on them: the users' own, and those of whom they are shown to."""
    rows = await tx.fetch(
        """
        SELECT 0, user_id, device_id, display_name, NULL, keys
            FROM device_keys JOIN devices USING (user_id, device_id) WHERE user_id = ANY($1)
        UNION ALL
        SELECT 1, user_id, usage, public_key, NULL, key FROM cross_signing_keys WHERE user_id = ANY($1)
        UNION ALL
        SELECT 2, user_id, name, signer, key_id, convert_to(signature, 'UTF8') FROM key_signatures
            WHERE user_id = ANY($1) AND (signer = user_id OR signer = $2)
        ORDER BY 1, 2, 3
        """,
        list(user_ids),
        seen_by,
    )
    found = PublishedKeys()
    for kind, user_id, name, detail, key_id, content in rows:
        if kind == 0:
            found.devices.append(DeviceKeys(user_id, name, content, detail))
        elif kind == 1:
            found.identities.append(CrossSigningKey(user_id, name, detail, content))
        else:
            found.signatures.append(KeySignature(user_id, name, detail, key_id, content.decode()))
    return found
