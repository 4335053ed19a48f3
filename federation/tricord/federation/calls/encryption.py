"""The devices and keys of another server's users."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tricord.federation.api import encryption
from tricord.federation.calls.base import EVENTS_BYTES, PeerCalls
from tricord.federation.errors import PeerAnswerInvalid
from tricord.protocol.identifiers import DeviceId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject


class EncryptionCalls(PeerCalls):
    """What end-to-end encryption needs of other servers."""

    async def user_devices(self, destination: ServerName, user_id: UserId) -> encryption.GetUserDevices.Response:
        """Return the devices of a user of the server."""
        answer = await self._client.typed(
            destination, encryption.GetUserDevices, encryption.GetUserDevices.Response, {"user_id": user_id}
        )
        if answer.user_id != user_id:
            raise PeerAnswerInvalid(destination, f"was asked for the devices of {user_id} and gave somebody else's")
        return answer

    async def keys_query(
        self, destination: ServerName, device_keys: Mapping[UserId, Sequence[DeviceId]]
    ) -> encryption.QueryKeys.Response:
        """Return the keys of devices of users of the server, and nobody's but theirs."""
        body = {"device_keys": {user_id: list(devices) for user_id, devices in device_keys.items()}}
        answer = await self._client.typed(
            destination, encryption.QueryKeys, encryption.QueryKeys.Response, body=body, max_bytes=EVENTS_BYTES
        )
        return encryption.QueryKeys.Response(
            device_keys=_only(answer.device_keys, device_keys),
            master_keys=_only(answer.master_keys, device_keys),
            self_signing_keys=_only(answer.self_signing_keys, device_keys),
        )

    async def keys_claim(
        self, destination: ServerName, one_time_keys: Mapping[UserId, Mapping[DeviceId, str]]
    ) -> dict[str, dict[str, JsonObject]]:
        """Take one-time keys of devices of users of the server: by user, by device, the key under its id."""
        body = {"one_time_keys": {user_id: dict(devices) for user_id, devices in one_time_keys.items()}}
        answer = await self._client.typed(
            destination, encryption.ClaimKeys, encryption.ClaimKeys.Response, body=body, max_bytes=EVENTS_BYTES
        )
        return {
            user_id: _only(devices, one_time_keys[UserId(user_id)])
            for user_id, devices in answer.one_time_keys.items()
            if user_id in one_time_keys
        }


def _only(answered: Mapping[str, Any], asked: Collection[str]) -> dict[str, Any]:
    """Return what was asked for, and nothing about anybody else."""
    return {name: value for name, value in answered.items() if name in asked}
