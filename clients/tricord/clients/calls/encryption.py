"""End-to-end encryption as the homeserver sees it: public keys, and messages that it cannot read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tricord.clients.api import keys as key_api
from tricord.clients.api.cross_signing import UploadCrossSigningKeys, UploadSignatures
from tricord.clients.api.to_device import SendToDevice
from tricord.clients.calls.base import Calls, given, new_transaction_id
from tricord.protocol.identifiers import DeviceId, UserId


class EncryptionCalls(Calls):
    """Keys of devices. Nothing here encrypts: these are the requests that whoever encrypts needs."""

    async def upload_keys(
        self,
        device_keys: dict[str, Any] | None = None,
        *,
        one_time_keys: dict[str, Any] | None = None,
        fallback_keys: dict[str, Any] | None = None,
    ) -> dict[str, int]:
        """Upload keys of our device; return how many one-time keys of each algorithm are left.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysupload
        """
        body = given({"device_keys": device_keys, "one_time_keys": one_time_keys, "fallback_keys": fallback_keys})
        endpoint = key_api.UploadKeys
        return (await self.http.typed(endpoint, endpoint.Response, body=body)).one_time_key_counts

    async def send_to_device(
        self,
        event_type: str,
        messages: Mapping[UserId, Mapping[DeviceId, dict[str, Any]]],
        *,
        transaction_id: str | None = None,
    ) -> None:
        """Send a message to each of some devices; the device `*` is all that a user has.

        https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid
        """
        path = {"event_type": event_type, "txn_id": transaction_id or new_transaction_id()}
        body = {"messages": {user: dict(devices) for user, devices in messages.items()}}
        await self.http.call(SendToDevice, path, body=body)

    async def query_keys(
        self, device_keys: Mapping[UserId, Sequence[DeviceId]], *, timeout_ms: int = 10_000
    ) -> key_api.QueryKeys.Response:
        """Return the keys of users' devices; no device named: of all.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysquery
        """
        body = {"device_keys": {user: list(devices) for user, devices in device_keys.items()}, "timeout": timeout_ms}
        return await self.http.typed(key_api.QueryKeys, key_api.QueryKeys.Response, body=body)

    async def upload_cross_signing_keys(
        self,
        *,
        master_key: dict[str, Any] | None = None,
        self_signing_key: dict[str, Any] | None = None,
        user_signing_key: dict[str, Any] | None = None,
        password: str | None = None,
    ) -> None:
        """Upload our cross-signing keys; to replace others takes the password.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysdevice_signingupload
        """
        body = given(
            {"master_key": master_key, "self_signing_key": self_signing_key, "user_signing_key": user_signing_key}
        )
        stages = {} if password is None else self.password_stage(password)
        await self.through_stages(UploadCrossSigningKeys, body, stages)

    async def upload_signatures(
        self, signed: Mapping[UserId, Mapping[Any, dict[str, Any]]]
    ) -> dict[str, dict[str, Any]]:
        """Upload keys with our signatures on them; return the faults of those that were not taken.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keyssignaturesupload
        """
        body = {user: dict(keys) for user, keys in signed.items()}
        return (await self.http.typed(UploadSignatures, UploadSignatures.Response, body=body)).failures

    async def key_changes(self, *, after: str, upto: str) -> key_api.KeyChanges.Response:
        """Return whose devices changed between two positions of a sync.

        https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3keyschanges
        """
        query = {"from": after, "to": upto}
        return await self.http.typed(key_api.KeyChanges, key_api.KeyChanges.Response, query=query)

    async def claim_keys(
        self, one_time_keys: Mapping[UserId, Mapping[DeviceId, str]], *, timeout_ms: int = 10_000
    ) -> key_api.ClaimKeys.Response:
        """Claim one-time keys of devices, of the algorithm said for each.

        https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3keysclaim
        """
        wanted = {user: dict(devices) for user, devices in one_time_keys.items()}
        body = {"one_time_keys": wanted, "timeout": timeout_ms}
        return await self.http.typed(key_api.ClaimKeys, key_api.ClaimKeys.Response, body=body)
