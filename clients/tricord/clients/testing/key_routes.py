"""Routes of encryption: keys published, asked for and claimed, and messages from device to device."""

from __future__ import annotations

from typing import Any

from tricord.clients.api import cross_signing, keys
from tricord.clients.api.to_device import SendToDevice
from tricord.clients.testing.accounts import Accounts, Device
from tricord.clients.testing.call import Call, Route
from tricord.clients.testing.world import World
from tricord.protocol.errors import BadJson, InvalidParam, SignatureInvalid
from tricord.protocol.identifiers import KeyId, ServerName, server_name_of
from tricord.protocol.signing import verify_json
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import decode_base64

_USAGES = ("master", "self_signing", "user_signing")


class KeyRoutes:
    """What the homeserver has to do with encryption: it keeps keys, and passes on what it cannot read."""

    def __init__(self, world: World, accounts: Accounts) -> None:
        self._world = world
        self._accounts = accounts

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            (keys.UploadKeys, self.upload),
            (keys.QueryKeys, self.query),
            (keys.ClaimKeys, self.claim),
            (SendToDevice, self.send_to_device),
            (cross_signing.UploadCrossSigningKeys, self.upload_signing_keys),
            (cross_signing.UploadSignatures, self.upload_signatures),
        ]

    def upload(self, call: Call) -> JsonObject:
        """Keep the keys of a device."""
        body: keys.UploadKeys.Body = call.body
        device, published = call.device, call.device.keys
        if body.device_keys is not None:
            _check_device_keys(device, body.device_keys)
        for name, key in body.one_time_keys.items():
            if published.one_time_keys.get(name, key) != key:
                raise InvalidParam(f"there is another one-time key {name}")
        if body.device_keys is not None and _unsigned(body.device_keys) != _unsigned(published.device_keys):
            published.device_keys = body.device_keys
            self._changed(device)
        published.one_time_keys |= body.one_time_keys
        for name, key in body.fallback_keys.items():
            algorithm = name.partition(":")[0]
            if published.fallback_keys.get(algorithm) != (name, key):
                published.fallback_keys[algorithm] = (name, key)
                published.used_fallback_keys.discard(algorithm)
        return {"one_time_key_counts": published.counts()}

    def query(self, call: Call) -> JsonObject:
        """Say what devices users have, and what keys they are signed with."""
        body: keys.QueryKeys.Body = call.body
        answer: JsonObject = {"device_keys": {}, "failures": {}}
        for user_id, wanted in body.device_keys.items():
            if server_name_of(user_id) != self._world.server_name:  # type: ignore[arg-type]  # any string has a domain
                answer["failures"][user_id.partition(":")[2]] = {
                    "errcode": "M_UNKNOWN",
                    "error": "there is no federation",
                }
                continue
            of_user = {
                device.device_id: device.keys.device_keys
                for device in self._accounts.devices_of(user_id)
                if device.keys.device_keys is not None and (not wanted or device.device_id in wanted)
            }
            answer["device_keys"][user_id] = of_user
            user = self._accounts.known(user_id)
            for usage, key in ({} if user is None else user.signing_keys).items():
                if usage != "user_signing" or user_id == call.user_id:
                    answer.setdefault(f"{usage}_keys", {})[user_id] = key
        return answer

    def claim(self, call: Call) -> JsonObject:
        """Give a one-time key of each device, or its fallback key."""
        body: keys.ClaimKeys.Body = call.body
        given: dict[str, JsonObject] = {}
        for user_id, wanted in body.one_time_keys.items():
            for device_id, algorithm in wanted.items():
                device = self._accounts.device(user_id, device_id)
                key = None if device is None else _take_key(device, algorithm)
                if key is not None:
                    given.setdefault(user_id, {})[device_id] = key
        # Whoever has fewer keys now finds out.
        self._world.take_position()
        return {"one_time_keys": given, "failures": {}}

    def send_to_device(self, call: Call) -> JsonObject:
        """Let messages wait for devices; once for each transaction id."""
        body: SendToDevice.Body = call.body
        if call.path["txn_id"] in call.device.keys.transactions:
            return {}
        call.device.keys.transactions.add(call.path["txn_id"])
        position = self._world.take_position()
        for user_id, messages in body.messages.items():
            for device in self._accounts.devices_of(user_id):
                content = messages.get(device.device_id, messages.get("*"))
                if content is not None:
                    message = {"type": call.path["event_type"], "sender": call.user_id, "content": content}
                    device.keys.messages.append((position, message))
        return {}

    def upload_signing_keys(self, call: Call) -> JsonObject:
        """Keep the keys with which a user signs devices and others."""
        body: cross_signing.UploadCrossSigningKeys.Body = call.body
        for usage in _USAGES:
            key = getattr(body, f"{usage}_key")
            if key is None:
                continue
            if key.get("user_id") != call.user_id or usage not in key.get("usage", ()):
                raise InvalidParam(f"the {usage} key is another user's, or for something else")
            call.user.signing_keys[usage] = key
        self._changed(call.device)
        return {}

    def upload_signatures(self, call: Call) -> JsonObject:
        """Add signatures to keys: a user's to their own, and to the master keys of others."""
        for user_id, signed in call.body.items():
            user = self._accounts.known(user_id)
            targets: list[JsonObject] = [] if user is None else list(user.signing_keys.values())
            targets += [one.keys.device_keys for one in self._accounts.devices_of(user_id) if one.keys.device_keys]
            for target in targets:
                given = signed.get(target.get("device_id")) or signed.get(next(iter(target["keys"].values())))
                if given is not None:
                    signatures = given.get("signatures", {}).get(call.user_id, {})
                    target.setdefault("signatures", {}).setdefault(call.user_id, {}).update(signatures)
            if user is not None:
                user.keys_changed_at = self._world.take_position()
        return {"failures": {}}

    def _changed(self, device: Device) -> None:
        device.user.keys_changed_at = self._world.take_position()


def _unsigned(device_keys: JsonObject | None) -> JsonObject:
    """Return the keys of a device without signatures, which others may have added."""
    return {name: value for name, value in (device_keys or {}).items() if name != "signatures"}


def _take_key(device: Device, algorithm: str) -> JsonObject | None:
    published = device.keys
    for name in published.one_time_keys:
        if name.partition(":")[0] == algorithm:
            return {name: published.one_time_keys.pop(name)}
    if algorithm in published.fallback_keys:
        published.used_fallback_keys.add(algorithm)
        name, key = published.fallback_keys[algorithm]
        return {name: key}
    return None


def _check_device_keys(device: Device, given: dict[str, Any]) -> None:
    """Refuse keys that are not the device's own, or that it has not signed."""
    user_id, device_id = device.user.user_id, device.device_id
    if given.get("user_id") != user_id or given.get("device_id") != device_id:
        raise InvalidParam("`device_keys` are those of another device")
    found = given.get("keys")
    try:
        key = decode_base64(found.get(f"ed25519:{device_id}") if isinstance(found, dict) else None)
        verify_json(given, ServerName(user_id), KeyId(f"ed25519:{device_id}"), key)
    except (BadJson, SignatureInvalid) as error:
        raise InvalidParam(f"`device_keys` are not signed by the device: {error}") from error
