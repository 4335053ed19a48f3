"""Many strangers who all have something to say to one device, as it finds it when it comes back."""

from __future__ import annotations

import orjson
from vodozemac import Account, Curve25519PublicKey, GroupSession

from tests.clients.encryption.town import ROOM, Somebody, Town
from tricord.clients.encryption.devices import MEGOLM, OLM
from tricord.protocol.identifiers import EventId
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import encode_base64


def strangers_write_to(town: Town, somebody: Somebody, count: int, *, in_vain: bool = False) -> list[JsonObject]:
    """Let strangers come into the room, say something, and send the key to somebody's device, each from their own.

    In vain they do with sessions that the device knows nothing of.
    """
    box = town.box(somebody.user_id, somebody.device_id)
    assert box.fallback_key is not None
    fallback = str(box.fallback_key[1]["key"])
    said = []
    for number in range(count):
        user_id = f"@stranger{number}:localhost"
        account = town.stranger(user_id, "PHONE")
        town.changed.append(user_id)
        key = box.one_time_keys.popitem()[1]["key"] if box.one_time_keys else fallback
        if in_vain:
            key = Account().curve25519_key.to_base64()
        group = GroupSession()
        content = {
            "algorithm": MEGOLM,
            "room_id": ROOM,
            "session_id": group.session_id,
            "session_key": group.session_key.to_base64(),
        }
        box.messages.append(_letter(account, somebody, user_id, key, content, town))
        plaintext = {"type": "m.room.message", "room_id": ROOM, "content": {"body": f"I am {user_id}"}}
        said.append(_event(user_id, number, group, plaintext))
    return said


def _event(user_id: str, number: int, group: GroupSession, plaintext: JsonObject) -> JsonObject:
    content = {
        "algorithm": MEGOLM,
        "session_id": group.session_id,
        "ciphertext": group.encrypt(orjson.dumps(plaintext)).to_base64(),
    }
    return {
        "type": "m.room.encrypted",
        "event_id": EventId(f"$stranger{number}"),
        "sender": user_id,
        "content": content,
    }


def _letter(
    account: Account, somebody: Somebody, user_id: str, one_time_key: str, content: JsonObject, town: Town
) -> JsonObject:
    """Return a message to somebody's device, in a new session."""
    device = somebody.device
    session = account.create_outbound_session(
        Curve25519PublicKey.from_base64(device.curve25519), Curve25519PublicKey.from_base64(one_time_key)
    )
    plaintext = {
        "type": "m.room_key",
        "content": content,
        "sender": user_id,
        "recipient": somebody.user_id,
        "recipient_keys": {"ed25519": device.ed25519},
        "keys": {"ed25519": account.ed25519_key.to_base64()},
        "sender_device_keys": town.box(user_id, "PHONE").keys,
    }
    message_type, body = session.encrypt(orjson.dumps(plaintext)).to_parts()
    return {
        "type": "m.room.encrypted",
        "sender": user_id,
        "content": {
            "algorithm": OLM,
            "sender_key": account.curve25519_key.to_base64(),
            "ciphertext": {device.curve25519: {"type": message_type, "body": encode_base64(body)}},
        },
    }
