"""The form of cross-signing keys, checked to the last field.

https://spec.matrix.org/v1.19/client-server-api/#cross-signing
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from tricord.homeserver.encryption.key_forms import ED25519, bounded, check_public_key, check_signatures
from tricord.homeserver.storage.cross_signing import CrossSigningKey
from tricord.protocol.errors import InvalidParam, InvalidSignature, SignatureInvalid
from tricord.protocol.identifiers import KeyId, ServerName, UserId
from tricord.protocol.signing import verify_json
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import encode_base64

MASTER, SELF_SIGNING, USER_SIGNING = "master", "self_signing", "user_signing"

_MOST_BYTES = 16 << 10


def checked_cross_signing_key(key: JsonObject, user_id: UserId, usage: str) -> CrossSigningKey:
    """Return a key as it is stored; raise InvalidParam if anything is wrong with it, but for who has signed it."""
    if key.get("user_id") != user_id:
        raise InvalidParam(f"the {usage} key is another user's")
    if key.get("usage") != [usage]:
        raise InvalidParam(f"the {usage} key has not this usage, and no other")
    public = key.get("keys")
    if not isinstance(public, dict) or len(public) != 1:
        raise InvalidParam("a cross-signing key has one public key")
    [(name, value)] = public.items()
    # Spelt in the one way, since the name is what it is known by.
    if encode_base64(check_public_key(value)) != value or name != f"{ED25519}:{value}":
        raise InvalidParam("a cross-signing key is named by its algorithm and itself")
    key = {name: value for name, value in key.items() if name != "unsigned"}
    if "signatures" in key:
        check_signatures(key["signatures"])
        # Others' are theirs to upload, and not for everybody to see.
        key["signatures"] = {user_id: key["signatures"].get(user_id, {})}
    return CrossSigningKey(user_id, usage, value, bounded(key, _MOST_BYTES))


def check_signed_with(signed: JsonObject, signer: UserId, key: CrossSigningKey) -> None:
    """Raise InvalidSignature unless an object is signed with a cross-signing key of a user."""
    key_id = KeyId(f"{ED25519}:{key.public_key}")
    try:
        verify_json(signed, ServerName(signer), key_id, check_public_key(key.public_key))
    except SignatureInvalid as error:
        raise InvalidSignature(str(error)) from error


def check_chain(new: Mapping[str, CrossSigningKey], master: CrossSigningKey) -> None:
    """Raise InvalidSignature unless the master key has signed the other keys."""
    for usage, key in new.items():
        if usage != MASTER:
            check_signed_with(orjson.loads(key.key), key.user_id, master)
