"""Policy servers: which one a room uses, and whether it has recommended an event.

https://spec.matrix.org/v1.19/server-server-api/#policy-servers
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tricord.protocol.errors import BadJson, InvalidParam, SignatureInvalid
from tricord.protocol.events import Event
from tricord.protocol.identifiers import KeyId, ServerName, parse_server_name
from tricord.protocol.unpadded_base64 import decode_base64
from tricord.protocol.verify import check_signature

POLICY_TYPE: Final = "m.room.policy"
POLICY_KEY_VERSION: Final = "policy_server"
POLICY_KEY_ID: Final = KeyId(f"ed25519:{POLICY_KEY_VERSION}")


@dataclass(frozen=True, slots=True)
class RoomPolicy:
    """What a room says of its policy server."""

    server: ServerName
    public_key: str
    """As the room has it; it may be no key at all, and then nothing is ever recommended."""

    def check(self, event: Event) -> None:
        """Refuse an event that the policy server has not recommended: raise SignatureInvalid."""
        try:
            public_key = decode_base64(self.public_key)
        except BadJson as error:
            raise SignatureInvalid(f"the key of {self.server} in the room is not base64") from error
        check_signature(event, self.server, POLICY_KEY_ID, public_key)


def room_policy(content: Mapping[str, Any] | None) -> RoomPolicy | None:
    """Return what the `m.room.policy` event of a room says; None if it has none, or none that is valid.

    It counts only while the server has a user in the room.
    """
    match content:
        case {"via": str(via), "public_keys": {"ed25519": str(public_key)}}:
            try:
                return RoomPolicy(parse_server_name(via), public_key)
            except InvalidParam:
                return None
    return None


def needs_recommendation(event: Event) -> bool:
    """Return whether a policy server is asked about an event: about all but the one that names it."""
    return event.type != POLICY_TYPE or event.state_key != ""
