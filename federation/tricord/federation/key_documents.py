"""The objects in which servers publish their keys: read, merged, and made.

https://spec.matrix.org/v1.19/server-server-api/#publishing-keys
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import ValidationError

from tricord.federation.api.keys import ServerKeys
from tricord.protocol.errors import BadJson, SignatureInvalid
from tricord.protocol.identifiers import KeyId, ServerName
from tricord.protocol.signing import ALGORITHM, SigningKey, sign_json, verify_json
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import decode_base64, encode_base64
from tricord.protocol.verify import MAX_TRUST_MS, ServerKey

# How long others may use our keys without asking again.
OURS_LAST_MS = 24 * 3600 * 1000

_KEY_BYTES = 32
_MOST_KEYS = 200


@dataclass(frozen=True, slots=True)
class KeyDocument:
    """The keys of a server."""

    server_name: ServerName
    valid_until_ts: int
    """Until when the keys in use count; never more than a week after the document was got."""
    keys: Mapping[KeyId, ServerKey]
    """Those in use and those called old; old ones are valid until they expired."""
    json: JsonObject
    """What the server published, as it signed it."""
    read_ts: int
    """When this was."""

    def is_half_over(self, now_ms: int) -> bool:
        """Return whether half of its time is over, and it is to be got anew before it is given to others."""
        return now_ms - self.read_ts > self.valid_until_ts - now_ms


def read_document(document: JsonObject, server_name: ServerName, now_ms: int) -> KeyDocument:
    """Read what a server published of its keys; raise SignatureInvalid if it is not of this server, or not signed.

    Of the keys in use those are taken that signed the document: the server has them, then. A signature that is wrong
    makes all of it worthless.
    """
    try:
        published = ServerKeys.model_validate(document, strict=True)
    except ValidationError as error:
        raise SignatureInvalid(f"the keys of {server_name} have not the form of keys") from error
    if published.server_name != server_name:
        raise SignatureInvalid(f"the keys of {published.server_name} are not those of {server_name}")
    if len(published.verify_keys) + len(published.old_verify_keys) > _MOST_KEYS:
        raise SignatureInvalid(f"{server_name} publishes more than {_MOST_KEYS} keys")
    valid_until = min(published.valid_until_ts, now_ms + MAX_TRUST_MS)
    keys: dict[KeyId, ServerKey] = {}
    for key_id, old in published.old_verify_keys.items():
        if (public_key := _public_key(key_id, old.key)) is not None:
            keys[key_id] = ServerKey(public_key, old.expired_ts)
    signed = published.signatures.get(server_name, {})
    signers = 0
    for key_id, current in published.verify_keys.items():
        public_key = _public_key(key_id, current.key)
        if public_key is None or key_id not in signed:
            continue
        verify_json(document, server_name, key_id, public_key)
        keys[key_id] = ServerKey(public_key, valid_until)
        signers += 1
    if not signers:
        raise SignatureInvalid(f"{server_name} has signed its keys with none of them")
    return KeyDocument(server_name, valid_until, keys, document, now_ms)


def merged(known: KeyDocument | None, found: KeyDocument) -> KeyDocument:
    """Return a document with the keys of both; of what both say, the one that lasts longer is the newer."""
    if known is None:
        return found
    older, newer = (known, found) if found.valid_until_ts >= known.valid_until_ts else (found, known)
    return replace(newer, keys={**older.keys, **newer.keys}, read_ts=max(known.read_ts, found.read_ts))


def own_document(
    server_name: ServerName, key: SigningKey, now_ms: int, retired: Mapping[KeyId, ServerKey] | None = None
) -> JsonObject:
    """Return the keys of this server as it publishes them, signed; `retired` are those it used before."""
    document: JsonObject = {
        "server_name": server_name,
        "valid_until_ts": now_ms + OURS_LAST_MS,
        "verify_keys": {key.key_id: {"key": encode_base64(key.public_key)}},
        "old_verify_keys": {
            key_id: {"key": encode_base64(old.public_key), "expired_ts": old.valid_until_ts}
            for key_id, old in (retired or {}).items()
        },
    }
    return sign_json(document, server_name, key)


def _public_key(key_id: KeyId, encoded: str) -> bytes | None:
    if not key_id.startswith(f"{ALGORITHM}:"):
        return None
    try:
        key = decode_base64(encoded)
    except BadJson:
        return None
    return key if len(key) == _KEY_BYTES else None
