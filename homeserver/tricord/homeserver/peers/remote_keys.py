"""Keys of users of other servers: from lists that are kept, and else from their servers, asked side by side.

https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

import trio

from tricord.federation.errors import PeerError
from tricord.federation.peers import Peers
from tricord.homeserver.encryption.cross_signing_forms import MASTER, SELF_SIGNING
from tricord.homeserver.encryption.remote_forms import claimed_keys, device_json, remote_device, remote_identity
from tricord.homeserver.encryption.remote_lists import RemoteLists
from tricord.protocol.identifiers import DeviceId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject, parse_object

_SERVERS_AT_ONCE = 20
_LONGEST_SECONDS = 60.0
_SHORTEST_SECONDS = 1.0
_NOT_ANSWERED = {"errcode": "M_UNKNOWN", "error": "the server did not answer in time"}

Wanted = Mapping[ServerName, Mapping[UserId, Collection[DeviceId]]]
Claims = Mapping[ServerName, Mapping[UserId, Mapping[DeviceId, str]]]


@dataclass(slots=True)
class RemoteAnswer:
    """What was found out, and which servers did not tell."""

    devices: dict[UserId, dict[DeviceId, JsonObject]] = field(default_factory=dict)
    identities: dict[str, dict[UserId, JsonObject]] = field(default_factory=lambda: {MASTER: {}, SELF_SIGNING: {}})
    failures: dict[ServerName, JsonObject] = field(default_factory=dict)


class RemoteKeys:
    """Finds keys of users of other servers."""

    def __init__(self, peers: Peers, lists: RemoteLists) -> None:
        self._peers = peers
        self._lists = lists

    async def query(self, requester: UserId, wanted: Wanted, timeout_ms: int) -> RemoteAnswer:
        """Return the keys of devices; of all of a user where none is named."""
        answer = RemoteAnswer()
        users = {user_id: devices for of_server in wanted.values() for user_id, devices in of_server.items()}
        if not users:
            return answer
        known = await self._lists.known(requester, users)
        for user_id, found in known.devices.items():
            answer.devices[user_id] = {
                device_id: keys
                for device_id, keys in found.items()
                if not users[user_id] or device_id in users[user_id]
            }
        answer.identities = known.identities
        unknown = {
            server: {user_id: devices for user_id, devices in of_server.items() if user_id not in known.devices}
            for server, of_server in wanted.items()
        }
        lacking = [user_id for of_server in unknown.values() for user_id in of_server]
        if not lacking:
            return answer
        # Before they are asked: a change that comes meanwhile must find that the list is kept.
        await self._lists.begin(requester, lacking)

        async def ask(server: ServerName) -> None:
            told = await self._peers.keys_query(server, {user: list(unknown[server][user]) for user in unknown[server]})
            for user_id, devices in unknown[server].items():
                found = (remote_device(user_id, name, keys) for name, keys in told.device_keys.get(user_id, {}).items())
                answer.devices[user_id] = {
                    device.device_id: device_json(device)
                    for device in found
                    if device is not None and (not devices or device.device_id in devices)
                }
                keys = remote_identity(user_id, told.master_keys.get(user_id), told.self_signing_keys.get(user_id))
                for usage, key in keys.items():
                    answer.identities[usage][user_id] = parse_object(key)

        answer.failures = await _ask_all([server for server in unknown if unknown[server]], ask, timeout_ms)
        return answer

    async def claim(self, wanted: Claims, timeout_ms: int) -> RemoteAnswer:
        """Return one-time keys."""
        answer = RemoteAnswer()

        async def ask(server: ServerName) -> None:
            told = await self._peers.keys_claim(server, wanted[server])
            answer.devices.update(claimed_keys(wanted[server], told))

        answer.failures = await _ask_all(list(wanted), ask, timeout_ms)
        return answer


async def _ask_all(
    servers: Collection[ServerName], ask: Callable[[ServerName], Awaitable[None]], timeout_ms: int
) -> dict[ServerName, JsonObject]:
    """Ask servers side by side; return which did not answer in time, and why."""
    failures: dict[ServerName, JsonObject] = {}
    limiter = trio.CapacityLimiter(_SERVERS_AT_ONCE)

    async def ask_one(server: ServerName) -> None:
        failures[server] = _NOT_ANSWERED
        try:
            async with limiter:
                await ask(server)
        except PeerError as error:
            failures[server] = {"errcode": "M_UNKNOWN", "error": error.message}
        else:
            del failures[server]

    with trio.move_on_after(min(max(timeout_ms / 1000, _SHORTEST_SECONDS), _LONGEST_SECONDS)):
        async with trio.open_nursery() as nursery:
            for server in servers:
                nursery.start_soon(ask_one, server)
    return failures
