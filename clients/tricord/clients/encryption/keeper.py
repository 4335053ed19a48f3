"""Our identity with a network: set up and kept, verifications carried, backups found, history fetched.

What is decided is decided in `own_identity.py` and what it is made of; here it is asked for and answered.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import trio

from tricord.clients.calls.media import Download
from tricord.clients.encryption.attachments import Decryption, encrypt_attachment, url_of
from tricord.clients.encryption.devices import Identity
from tricord.clients.encryption.errors import EncryptionError, InvalidKeys, Malformed
from tricord.clients.encryption.history_sharing import LARGEST_BUNDLE, Bundle
from tricord.clients.encryption.key_backup import Restored, Verdict
from tricord.clients.encryption.key_export import export_keys, read_exported_keys
from tricord.clients.encryption.own_identity import OwnIdentity
from tricord.clients.encryption.session_data import exported_session_data
from tricord.clients.encryption.stored import room_keys as stored_keys
from tricord.clients.encryption.stored import rooms as stored_rooms
from tricord.clients.encryption.stored.room_keys import Origin
from tricord.clients.encryption.verification.conversation import Conversation
from tricord.clients.errors import ClientError, Refused, SignedOut
from tricord.protocol.identifiers import DeviceId, EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)

_WAITING_REQUESTS = 50


class Calls(Protocol):
    """What is asked of a client."""

    user_id: UserId

    async def send(
        self, room_id: RoomId, event_type: str, content: dict[str, Any], *, transaction_id: str | None = None
    ) -> EventId:
        """Send an event; encrypted, if the room is."""
        ...

    async def send_in_clear(
        self, room_id: RoomId, event_type: str, content: dict[str, Any], *, transaction_id: str | None = None
    ) -> EventId:
        """Send an event for everybody to read."""
        ...

    async def upload(self, content: bytes, *, content_type: str = ...) -> str:
        """Upload a file."""
        ...

    def download(self, mxc: str) -> AbstractAsyncContextManager[Download]:
        """Download a file."""
        ...

    async def key_backup(self, version: str | None = None) -> Any:
        """Return what is to be known of a backup."""
        ...

    async def backed_up_keys(self, version: str) -> Mapping[RoomId, Mapping[str, Any]]:
        """Return all keys in a backup."""
        ...

    async def backed_up_keys_of(self, version: str, room_id: RoomId) -> Mapping[str, Any]:
        """Return the keys of a room in a backup."""
        ...

    async def backed_up_key(self, version: str, room_id: RoomId, session_id: str) -> JsonObject:
        """Return the key of a session in a backup."""
        ...


class Network(Protocol):
    """What makes the requests of a machine."""

    @property
    def identity(self) -> OwnIdentity:
        """The identity, as far as this device has a part in it."""
        ...

    async def settle(self) -> None:
        """Make the requests that there are to make."""
        ...

    async def settle_if_reachable(self) -> None:
        """Make the requests that there are to make; those that fail are made later."""
        ...


class IdentityKeeper:
    """Verifying, backing up, restoring: what an app or a bot does with its identity."""

    def __init__(self, calls: Calls, network: Network) -> None:
        self._calls = calls
        self._network = network
        self._carrying = trio.Lock()
        self._something_happened = trio.Event()
        self._waiting: trio.MemorySendChannel[Conversation] | None = None

    @property
    def own(self) -> OwnIdentity:
        """What this device knows and decides, without a network."""
        return self._network.identity

    # Verifying.

    async def verify(
        self, user_id: UserId, *, room_id: RoomId | None = None, device_ids: Iterable[DeviceId] = ()
    ) -> Conversation:
        """Ask another user in a room that both are in, or our own other devices, to verify each other.

            conversation = await client.identity.verify(UserId("@bob:example.org"), room_id=direct_room)
            await conversation.compared(ask_whether_both_show_the_same)

        Between users it is their master keys that are verified, and with them all their devices.
        """
        own = self.own
        if room_id is None and user_id != own.machine.user_id and not tuple(device_ids):
            raise EncryptionError("another user is verified in a room: name one that both of you are in")
        own.machine.follow([user_id])
        await self._network.settle()
        verification = own.verifications.request(
            user_id, own.machine.now_ms(), room_id=room_id, device_ids=tuple(device_ids)
        )
        await self.carry()
        return Conversation(self, verification)

    async def requests(self) -> AsyncIterator[Conversation]:
        """Give the verifications that others ask us for, for ever; those that came while nobody waited are over."""
        sending, receiving = trio.open_memory_channel[Conversation](_WAITING_REQUESTS)
        self._waiting = sending
        try:
            async for conversation in receiving:
                yield conversation
        finally:
            self._waiting = None

    async def carry(self) -> None:
        """Send what verifications have to say, and end those that have taken too long."""
        async with self._carrying:
            own = self.own
            own.tick()
            own.settle()
            while messages := own.verifications.take_room_messages():
                for message in messages:
                    # Who gets no keys of ours, as they are not verified, must be able to change that.
                    send = self._calls.send if own.gives_keys_to(message.to) else self._calls.send_in_clear
                    event_id = await send(
                        message.room_id, message.event_type, message.content, transaction_id=message.request_id
                    )
                    own.verifications.sent(message.request_id, event_id)
            await self._network.settle_if_reachable()
        self._tell()

    async def until_something_happens(self) -> None:
        """Wait until a verification has come further, or a sync was taken in: secrets may have come, or keys."""
        await self._something_happened.wait()

    async def keep_up(self) -> None:
        """Do what follows from a sync. What fails is tried again after the next one; only SignedOut is raised."""
        try:
            if self.own.has_news or self.own.verifications.waiting_for():
                await self.carry()
            if self.own.wants_to_look_at_backup:
                await self.look_at_backup()
            for bundle in self.own.history.due():
                await self._fetch(bundle)
        except SignedOut:
            raise
        except ClientError as error:
            _log.warning("our identity could not be kept up: %s", error)
        self._wake()

    def _wake(self) -> None:
        self._something_happened.set()
        self._something_happened = trio.Event()

    def _tell(self) -> None:
        own = self.own
        if own.verifications.take_changed():
            self._wake()
        for verification in own.verifications.take_incoming():
            if self._waiting is None:
                _log.info("%s asks for a verification, and nobody here answers", verification.other_user)
                continue
            try:
                self._waiting.send_nowait(Conversation(self, verification))
            except trio.WouldBlock:
                verification.cancel()

    # Whose identity has changed.

    def changed_identities(self) -> list[Identity]:
        """Return the identities that are others than before, and were not accepted: to be shown to people."""
        return self.own.cross_signing.changed_identities()

    def accept_identity(self, identity: Identity) -> bool:
        """Take an identity that has changed for its user's from now on, without having verified it.

        Return False if by now it is yet another one.
        """
        store = self.own.machine.store
        with store.transaction():
            stored_rooms.recipients_changed(store, [identity.user_id])
            return self.own.cross_signing.accept_change(identity.user_id, identity.master)

    # The backup.

    async def look_at_backup(self) -> Verdict | None:
        """Ask which backup there is, and use it if it is trusted; None if there is none."""
        backup = self.own.backup
        try:
            info = await self._calls.key_backup()
        except Refused as refusal:
            if refusal.status != 404:
                raise
            with self.own.machine.store.transaction():
                backup.none_found()
            return None
        with self.own.machine.store.transaction():
            verdict = backup.found(info.version, info.algorithm, info.auth_data)
        await self._network.settle_if_reachable()
        return verdict

    async def restore_keys(self, room_id: RoomId | None = None, session_id: str | None = None) -> Restored:
        """Take the keys of the backup: all, those of a room, or the one of a session.

        Its own key must be here: from `restore`, or from a verified device of ours.
        """
        in_use = self.own.backup.in_use
        if in_use is None:
            raise EncryptionError("there is no backup whose key is known to be ours")
        rooms: Mapping[RoomId, Mapping[str, Any]]
        if room_id is None:
            rooms = await self._calls.backed_up_keys(in_use.version)
        elif session_id is None:
            rooms = {room_id: await self._calls.backed_up_keys_of(in_use.version, room_id)}
        else:
            key = await self._calls.backed_up_key(in_use.version, room_id, session_id)
            rooms = {room_id: {session_id: key}}
        with self.own.machine.store.transaction():
            return self.own.backup.restore(rooms)

    # Keys in a file.

    async def export_keys(self, passphrase: str, room_id: RoomId | None = None) -> str:
        """Return the text of a file with all keys, or those of a room, that opens with a passphrase."""
        keys = [exported_session_data(key) for key in stored_keys.room_keys(self.own.machine.store, room_id)]
        # A second of computing, on purpose.
        return await trio.to_thread.run_sync(lambda: export_keys(keys, passphrase))

    async def import_keys(self, text: str, passphrase: str) -> Restored:
        """Take the keys of a file; raise Malformed if it is none, WrongSecret if it does not open."""
        sessions = await trio.to_thread.run_sync(read_exported_keys, text, passphrase)
        store, taken, refused = self.own.machine.store, 0, 0
        with store.transaction():
            for session in sessions:
                try:
                    with store.attempt():
                        taken += self.own.machine.megolm.add_exported(session, Origin.EXPORT) is not None
                except InvalidKeys as error:
                    refused += 1
                    _log.info("a key in the file is of no use: %s", error)
        await self._network.settle_if_reachable()
        return Restored(taken, len(sessions), refused)

    # History.

    async def share_history(self, room_id: RoomId, user_id: UserId) -> int:
        """Give somebody the keys of what was said in a room before, as far as it may be shared; then invite them.

        Return how many of their devices get them: only those that they vouch for. Whoever is given the keys reads what
        was said before they came, so nothing is shared unless this is called.
        """
        own = self.own
        own.machine.follow([user_id])
        if own.backup.key is not None:
            await self.restore_keys(room_id)
        await self._network.settle()
        content = own.history.bundle(room_id)
        if content is None or not own.history.recipients(user_id):
            return 0
        ciphertext, file = encrypt_attachment(content)
        file["url"] = await self._calls.upload(ciphertext, content_type="application/octet-stream")
        with own.machine.store.transaction():
            told = own.history.share(room_id, user_id, file)
        await self._network.settle()
        return told

    async def _fetch(self, bundle: Bundle) -> None:
        decryption, parts, length = Decryption(bundle.file), [], 0
        try:
            async with self._calls.download(url_of(bundle.file)) as download:
                async for part in download.parts:
                    length += len(part)
                    if length > LARGEST_BUNDLE:
                        raise Malformed(f"the bundle of {bundle.sender} is larger than {LARGEST_BUNDLE} bytes")
                    parts.append(decryption.update(part))
            decryption.finish()
            with self.own.machine.store.transaction():
                restored = self.own.history.take(bundle, b"".join(parts))
        except EncryptionError as error:
            _log.warning("the bundle of %s for %s is of no use: %s", bundle.sender, bundle.room_id, error)
        except Refused as refusal:
            if refusal.status == 429 or refusal.status >= 500:
                raise
            # Servers delete what looks unused.
            _log.warning("the bundle of %s for %s is not there: %s", bundle.sender, bundle.room_id, refusal)
        else:
            _log.info("%s: %d keys of %s were taken", bundle.room_id, restored.taken, bundle.sender)
            return
        with self.own.machine.store.transaction():
            self.own.history.give_up(bundle)
