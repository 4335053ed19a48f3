"""Asking identity servers who an e-mail address or telephone number belongs to.

They are named by clients, who give a token of theirs with each request: only those are asked that the operator trusts.

https://spec.matrix.org/v1.19/identity-service-api/
"""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import sha256
from typing import Any

import orjson

from tricord.federation.errors import EgressError
from tricord.federation.transport import Outside
from tricord.homeserver.rooms.third_parties import StoredInvite, ThirdParty
from tricord.protocol.errors import Forbidden, InvalidParam, MatrixError, ServerNotTrusted, Unknown
from tricord.protocol.identifiers import UserId, is_valid_user_id, parse_server_name
from tricord.protocol.strict_json import JsonObject, parse_object
from tricord.protocol.unpadded_base64 import encode_url_safe_base64

_TIMEOUT_SECONDS = 15.0
_MOST_ANSWER_BYTES = 64 << 10
_MOST_KEYS = 10
_MOST_CHARACTERS = 1_000
_MOST_ADDRESS_CHARACTERS = 500
_TOKEN = re.compile(r"[0-9a-zA-Z.=_-]{1,255}")


class IdentityServers:
    """Asks the identity servers that the operator trusts."""

    def __init__(self, outside: Outside, trusted: Collection[str]) -> None:
        self._outside = outside
        self._trusted = frozenset(trusted)

    def third_party(self, id_server: str, access_token: str, medium: str, address: str) -> ThirdParty:
        """Return whom a client means; ServerNotTrusted if the identity server is none that is asked."""
        server = parse_server_name(id_server)
        if server not in self._trusted:
            raise ServerNotTrusted(f"this server does not ask {server} who an address belongs to: invite by user id")
        if not access_token.isascii() or not access_token.isprintable() or len(access_token) > _MOST_CHARACTERS:
            raise InvalidParam("`id_access_token` is no access token")
        if not address or len(address) > _MOST_ADDRESS_CHARACTERS or any(character.isspace() for character in address):
            raise InvalidParam("`address` is no address")
        if medium not in ("email", "msisdn"):
            raise InvalidParam("`medium` is neither email nor msisdn")
        return ThirdParty(server, access_token, medium, address.casefold() if medium == "email" else address)

    async def user_of(self, who: ThirdParty) -> UserId | None:
        """Return the user whose address it is, if the identity server knows.

        https://spec.matrix.org/v1.19/identity-service-api/#association-lookup
        """
        details = await self._ask(who, "GET", "hash_details", None)
        pepper, algorithms = details.get("lookup_pepper"), details.get("algorithms")
        if not isinstance(pepper, str) or not isinstance(algorithms, list):
            raise Unknown(f"{who.id_server} does not say how to look up addresses")
        if "sha256" in algorithms:
            algorithm = "sha256"
            hashed = sha256(f"{who.address} {who.medium} {pepper}".encode()).digest()
            wanted = encode_url_safe_base64(hashed)
        else:
            algorithm, wanted = "none", f"{who.address} {who.medium}"
        answer = await self._ask(
            who, "POST", "lookup", {"addresses": [wanted], "algorithm": algorithm, "pepper": pepper}
        )
        mappings = answer.get("mappings")
        found = mappings.get(wanted) if isinstance(mappings, dict) else None
        return UserId(found) if is_valid_user_id(found) else None

    async def store_invite(self, who: ThirdParty, about: JsonObject) -> StoredInvite:
        """Have an invitation kept, and the address told of it; `about` is what the room is to be shown as.

        https://spec.matrix.org/v1.19/identity-service-api/#invitation-storage
        """
        answer = await self._ask(who, "POST", "store-invite", {**about, "medium": who.medium, "address": who.address})
        token, display_name = answer.get("token"), answer.get("display_name")
        listed = answer.get("public_keys")
        keys = [_key(each) for each in listed[:_MOST_KEYS]] if isinstance(listed, list) else []
        good = [key for key in keys if key is not None]
        if not isinstance(token, str) or not _TOKEN.fullmatch(token) or not good:
            raise Unknown(f"{who.id_server} has kept the invitation in a way that nobody could accept")
        shown = display_name if isinstance(display_name, str) and len(display_name) <= _MOST_CHARACTERS else ""
        return StoredInvite(token, shown, good)

    async def _ask(self, who: ThirdParty, method: str, what: str, body: JsonObject | None) -> JsonObject:
        try:
            response = await (await self._outside.open()).fetch(
                f"https://{who.id_server}/_matrix/identity/v2/{what}",
                method=method,
                headers={"Authorization": f"Bearer {who.access_token}", "Content-Type": "application/json"},
                content=None if body is None else orjson.dumps(body),
                timeout_seconds=_TIMEOUT_SECONDS,
                max_bytes=_MOST_ANSWER_BYTES,
            )
        except EgressError as error:
            raise Unknown(f"the identity server {who.id_server} could not be asked") from error
        try:
            answer = parse_object(response.body)
        except MatrixError as error:
            raise Unknown(f"the identity server {who.id_server} gave no answer that can be read") from error
        if response.status == 200:
            return answer
        said: Any = answer.get("error")
        reason = said[:_MOST_CHARACTERS] if isinstance(said, str) else f"status {response.status}"
        raise Forbidden(f"the identity server {who.id_server} refused: {reason}")


def _key(listed: object) -> dict[str, str] | None:
    """Return a public key with where to ask if it is still valid; None if it is none."""
    if not isinstance(listed, dict):
        return None
    key, url = listed.get("public_key"), listed.get("key_validity_url")
    if not isinstance(key, str) or not isinstance(url, str) or max(len(key), len(url)) > _MOST_CHARACTERS:
        return None
    return {"public_key": key, "key_validity_url": url}
