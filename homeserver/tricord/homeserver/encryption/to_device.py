"""Messages from device to device: written in the transaction that acknowledges them, and here until they have arrived.

https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import orjson
import structlog
import trio

from tricord.homeserver.clock import Clock
from tricord.homeserver.encryption.device_changes import WakeServers
from tricord.homeserver.encryption.to_device_edus import direct_to_device_edus
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.errors import DatabaseError
from tricord.homeserver.storage.grouped_writes import GroupedWrites
from tricord.homeserver.storage.outgoing import put_outgoing_edus
from tricord.homeserver.storage.to_device import (
    Delivered,
    DeviceName,
    OutgoingMessage,
    deliver,
    prune_to_device,
)
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.errors import BadJson, InvalidParam, TooLarge
from tricord.protocol.identifiers import DeviceId, ServerName, UserId, fits, is_valid_user_id, server_name_of
from tricord.protocol.strict_json import JsonObject, check_event_integers

MOST_BYTES = 60 << 10
"""Of one message: with what is around it, it fits into an EDU."""
MOST_RECIPIENTS = 20_000
MOST_WAITING = 20_000
"""For one device; of more, the oldest are deleted: nobody has come for them for long."""

_REQUESTS_LAST_MS = 24 * 3600 * 1000
_PRUNE_EVERY_SECONDS = 900

_logger = structlog.get_logger(__name__)

Messages = Mapping[UserId, Mapping[DeviceId, JsonObject]]


@dataclass(frozen=True, slots=True)
class Sending:
    """What one request sends."""

    digest: bytes
    sender: UserId
    event_type: str
    local: Mapping[DeviceName, bytes]
    """By device; `*` stands for all that a user has."""
    edus: Sequence[tuple[ServerName, bytes]] = field(default=())


class ToDevice:
    """Sends messages to devices."""

    def __init__(self, server_name: ServerName, database: Database, publisher: Publisher, clock: Clock) -> None:
        self._server_name = server_name
        self._database = database
        self._publisher = publisher
        self._clock = clock
        self._writes: GroupedWrites[Sending, None] = GroupedWrites(self._write)
        self._wake_servers: WakeServers | None = None

    def on_edus(self, wake_servers: WakeServers) -> None:
        """Call when something has been written for other servers."""
        self._wake_servers = wake_servers

    async def run(self) -> None:
        """Delete what nobody comes for, for ever."""
        while True:
            try:
                await self._database.run(prune_to_device, MOST_WAITING, self._clock.now_ms() - _REQUESTS_LAST_MS)
            except DatabaseError as error:
                _logger.warning("messages that nobody comes for stay for now", reason=str(error))
            await trio.sleep(_PRUNE_EVERY_SECONDS)

    async def send(
        self, sender: UserId, device_id: DeviceId, transaction_id: str, event_type: str, messages: Messages
    ) -> None:
        """Send messages; those of a transaction that has been sent before are not sent again."""
        checked_messages(event_type, messages)
        local = {user: devices for user, devices in messages.items() if server_name_of(user) == self._server_name}
        remote = {user: devices for user, devices in messages.items() if user not in local}
        await self._writes.submit(
            Sending(
                request_digest("client", sender, device_id, event_type, transaction_id),
                sender,
                event_type,
                encoded_messages(sender, event_type, local),
                direct_to_device_edus(sender, event_type, remote, new_id=lambda: secrets.token_urlsafe(12)),
            )
        )

    async def take_in(self, origin: ServerName, message_id: str, sender: UserId, kind: str, messages: Messages) -> None:
        """Keep messages from another server for devices of this one; the same ones are not kept twice."""
        checked_messages(kind, messages)
        local = {user: devices for user, devices in messages.items() if server_name_of(user) == self._server_name}
        digest = request_digest("server", origin, sender, message_id)
        await self._writes.submit(Sending(digest, sender, kind, encoded_messages(sender, kind, local)))

    async def _write(self, sendings: Sequence[Sending]) -> Sequence[None]:
        # The same request twice at once: once.
        different = list({sending.digest: sending for sending in reversed(sendings)}.values())[::-1]
        goes_out = any(sending.edus for sending in different)
        run = self._database.run if goes_out else self._database.run_one
        delivered = await run(_deliver, different, self._clock.now_ms())
        if delivered.last is not None:
            commit = Commit(delivered.last, rooms=frozenset(), users=delivered.users, count=len(different))
            self._publisher.publish(commit)
        if goes_out and self._wake_servers is not None:
            new = (sending for sending in different if sending.digest in delivered.digests)
            if servers := {server for sending in new for server, _ in sending.edus}:
                await self._wake_servers(servers)
        return [None] * len(sendings)


def request_digest(*parts: str) -> bytes:
    """Return what a request is known by when it is repeated."""
    return blake2b(orjson.dumps(parts), digest_size=24).digest()


def checked_messages(event_type: str, messages: Messages) -> None:
    """Refuse what some device, or another server, could not take."""
    if not fits(event_type) or "\0" in event_type:
        raise InvalidParam("the type of the messages is too long")
    if sum(map(len, messages.values())) > MOST_RECIPIENTS:
        raise InvalidParam(f"one request sends to at most {MOST_RECIPIENTS} devices")
    for user_id, devices in messages.items():
        if not is_valid_user_id(user_id):
            raise InvalidParam(f"{user_id[:80]} is no user id")
        for device_id, content in devices.items():
            if not fits(device_id) or "\0" in device_id:
                raise InvalidParam("the id of a device is too long")
            try:
                # What has no canonical form cannot be signed, and would keep all else from going out with it.
                check_event_integers(content)
            except BadJson as error:
                raise BadJson(f"the message to {user_id}: {error.message}") from error


def encoded_messages(sender: UserId, event_type: str, messages: Messages) -> dict[DeviceName, bytes]:
    """Return messages as clients are told them."""
    encoded: dict[DeviceName, bytes] = {}
    for user_id, devices in messages.items():
        for device_id, content in devices.items():
            message = orjson.dumps({"type": event_type, "sender": sender, "content": content})
            if len(message) > MOST_BYTES:
                raise TooLarge(f"a message to a device has at most {MOST_BYTES} bytes")
            encoded[(user_id, device_id)] = message
    return encoded


async def _deliver(tx: Transaction, sendings: Sequence[Sending], now_ms: int) -> Delivered:
    """Write what is new of some requests, each another."""
    messages = [
        OutgoingMessage(number, user_id, device_id, message)
        for number, sending in enumerate(sendings)
        for (user_id, device_id), message in sending.local.items()
    ]
    delivered = await deliver(tx, [sending.digest for sending in sendings], messages, now_ms)
    edus = [edu for sending in sendings if sending.digest in delivered.digests for edu in sending.edus]
    if edus:
        await put_outgoing_edus(tx, edus)
    return delivered
