"""The key of a session as backups, exports and bundles hold it.

https://spec.matrix.org/v1.19/client-server-api/#definition-exportedsessiondata
"""

from __future__ import annotations

from tricord.clients.encryption.devices import MEGOLM
from tricord.clients.encryption.stored.room_keys import RoomKey
from tricord.protocol.strict_json import JsonObject


def exported_session_data(key: RoomKey) -> JsonObject:
    """Return a key as a file of keys holds it."""
    return {**backed_up_session_data(key), "room_id": key.room_id, "session_id": key.session_id}


def backed_up_session_data(key: RoomKey) -> JsonObject:
    """Return a key as a backup holds it, before it is encrypted; room and session are told beside it.

    https://spec.matrix.org/v1.19/client-server-api/#definition-backedupsessiondata
    """
    return {
        "algorithm": MEGOLM,
        "forwarding_curve25519_key_chain": list(key.forwarders),
        "sender_key": key.sender_key,
        "sender_claimed_keys": {"ed25519": key.ed25519},
        "session_key": key.exported(),
        "shared_history": key.shared_history,
    }


def historic_session_data(key: RoomKey) -> JsonObject:
    """Return a key as a bundle for somebody who is invited holds it.

    https://spec.matrix.org/v1.19/client-server-api/#definition-roomkeybundle
    """
    left_out = {"forwarding_curve25519_key_chain", "shared_history"}
    return {name: value for name, value in exported_session_data(key).items() if name not in left_out}
