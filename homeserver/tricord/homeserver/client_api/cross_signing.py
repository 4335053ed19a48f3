"""Routes of cross-signing keys, and of signatures on keys."""

from __future__ import annotations

from typing import Any

from tricord.clients.api.cross_signing import UploadCrossSigningKeys, UploadSignatures
from tricord.homeserver.accounts.interactive_auth import InteractiveAuth
from tricord.homeserver.client_api.interactive import require_same_user
from tricord.homeserver.encryption.cross_signing import AuthenticationNeeded, CrossSigning
from tricord.homeserver.encryption.cross_signing_forms import MASTER, SELF_SIGNING, USER_SIGNING
from tricord.homeserver.encryption.key_signatures import KeySignatures
from tricord.homeserver.serving.call import Call, Route
from tricord.protocol.errors import BadJson
from tricord.protocol.strict_json import JsonObject


class CrossSigningApi:
    """One's cross-signing keys, and what one signs with them."""

    def __init__(self, cross_signing: CrossSigning, signatures: KeySignatures, auth: InteractiveAuth) -> None:
        self._cross_signing = cross_signing
        self._signatures = signatures
        self._auth = auth

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(UploadCrossSigningKeys, self.upload_keys), Route(UploadSignatures, self.upload_signatures)]

    async def upload_keys(self, call: Call[UploadCrossSigningKeys.Body, Any]) -> JsonObject:
        """Take in the keys; ask again who it is before they replace others."""
        user_id, body = call.requester.user_id, call.body
        given = {MASTER: body.master_key, SELF_SIGNING: body.self_signing_key, USER_SIGNING: body.user_signing_key}
        keys = {usage: key for usage, key in given.items() if key is not None}
        try:
            await self._cross_signing.upload(user_id, keys)
        except AuthenticationNeeded:
            await require_same_user(self._auth, call)
            await self._cross_signing.upload(user_id, keys, is_authenticated=True)
        return {}

    async def upload_signatures(self, call: Call[JsonObject, Any]) -> JsonObject:
        """Take in signatures."""
        if not all(isinstance(keys, dict) for keys in call.body.values()):
            raise BadJson("signed keys are by user and name")
        return {"failures": await self._signatures.upload(call.requester.user_id, call.body)}
