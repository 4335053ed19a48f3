"""The machine: takes what syncs bring, hands out requests, takes their answers, encrypts and decrypts.

It has no network, and no clock but the one it is given. Every step is one transaction: what it changed is stored
before anything that follows from it leaves the machine, so that being killed at any point loses nothing, and no key is
used twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

from tricord.clients.encryption import sliding
from tricord.clients.encryption.claims import Claims
from tricord.clients.encryption.device_lists import Changes, DeviceLists
from tricord.clients.encryption.devices import Device, Identity, Trust
from tricord.clients.encryption.errors import CannotDecrypt, CannotEncrypt
from tricord.clients.encryption.event_reader import EventReader
from tricord.clients.encryption.inbox import Inbox, Received, ToDevice
from tricord.clients.encryption.key_requests import KeyRequests
from tricord.clients.encryption.megolm import Decrypted, Megolm
from tricord.clients.encryption.olm import Olm
from tricord.clients.encryption.opened import LateEvent
from tricord.clients.encryption.own_keys import OwnKeys
from tricord.clients.encryption.policy import Policy
from tricord.clients.encryption.requests import KeysClaim, KeysQuery, KeysUpload, Request, RoomState
from tricord.clients.encryption.rooms import Rooms
from tricord.clients.encryption.sharing import Sharing
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored_devices
from tricord.clients.encryption.stored import outgoing
from tricord.clients.encryption.stored import rooms as stored_rooms
from tricord.protocol.identifiers import DeviceId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)

_REQUESTS_AT_ONCE = 50
_MOST_REFUSALS = 3


class Source(Protocol):
    """A part that has requests of its own: the same until they are answered or refused."""

    def requests(self) -> Sequence[Request]:
        """Return the requests to make now."""
        ...

    def answered(self, request: Any, answer: Any) -> None:
        """Take in an answer."""
        ...

    def refused(self, request: Any, status: int, errcode: str) -> None:
        """Take in that a request was refused."""
        ...


class Machine:
    """The encryption of one device."""

    def __init__(
        self,
        store: Store,
        user_id: UserId,
        device_id: DeviceId,
        *,
        policy: Policy = Policy.KNOWN,
        clock: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        """Go on with what is stored of a device, or begin. Raises NotThisDevice.

        The clock gives milliseconds since 1970.
        """
        self.store = store
        self.own = OwnKeys(store, user_id, device_id, clock)
        self.lists = DeviceLists(store, user_id, device_id)
        self.olm = Olm(store, self.own, clock)
        self.claims = Claims(store, self.own, self.olm, clock)
        self.megolm = Megolm(store, clock)
        self.key_requests = KeyRequests(store, self.own, self.megolm, self.claims, clock)
        self.sharing = Sharing(store, self.own, self.olm, self.megolm, self.lists, self.claims, clock, policy)
        self.rooms = Rooms(store, user_id)
        self._inbox = Inbox(store, self.lists, self.olm, self.megolm, self.key_requests, clock)
        self._reader = EventReader(store, self.megolm, self.key_requests, policy)
        self._clock = clock
        self._handed_out: dict[str, Request] = {}
        self._reading: dict[RoomId, RoomState] = {}
        self._unreadable: dict[RoomId, str] = {}
        self._sources: dict[type[Request], Source] = {}
        self._change_handlers: list[Callable[[Changes], None]] = []

    @property
    def user_id(self) -> UserId:
        """Whose device we are."""
        return self.own.user_id

    @property
    def device_id(self) -> DeviceId:
        """Which device we are."""
        return self.own.device_id

    def now_ms(self) -> int:
        """Return what the clock says."""
        return self._clock()

    @property
    def position(self) -> str | None:
        """The position up to which syncs were taken in."""
        position: str | None = self.store.value("position")
        return position

    # What comes.

    def receive(
        self,
        content: JsonObject,
        *,
        since: str | None = None,
        position: str | None = None,
        members_are_complete: bool = True,
    ) -> Received:
        """Take in what `/sync` answered to a request since a position; its `next_batch` is the new position.

        What may come twice may be taken in twice. `members_are_complete` is False where members are loaded lazily, or
        filtered out.
        """
        lists = content.get("device_lists")
        with self.store.transaction():
            if self.position is not None and since != self.position:
                self.lists.all_may_have_changed()
                self.rooms.missed_something()
            received = self._inbox.take(_list(content.get("to_device"), "events"))
            self._take_changed(_list(lists, "changed"), _list(lists, "left"))
            counts, unused = content.get("device_one_time_keys_count"), content.get("device_unused_fallback_key_types")
            self.own.counted(counts, unused)
            self.rooms.take(content.get("rooms"), members_are_complete=members_are_complete)
            self.store.keep_value("position", position or content.get("next_batch"))
        return received

    def receive_sliding(
        self, answer: JsonObject, *, since: str | None = None, follows: Collection[RoomId] = ()
    ) -> Received:
        """Take in what a sliding sync answered to a request with `since` as its `pos`.

        `follows` names the rooms of which it leaves out nothing, see `sliding.followed_rooms`. Of all others somebody
        may have come or gone unseen: who they are is asked before the next message.
        """
        if sliding.tells_devices(answer):
            position = answer.get("pos")
        else:
            since = position = self.position
        with self.store.transaction():
            received = self.receive(sliding.as_sync(answer), since=since, position=position)
            self.rooms.only_followed(follows)
            message = sliding.next_message(answer)
            if message is not None:
                self.store.keep_value("position_of_messages", message)
        return received

    @property
    def position_of_messages(self) -> str | None:
        """The position up to which a sliding sync has brought messages to our device: the `since` of its extension."""
        position: str | None = self.store.value("position_of_messages")
        return position

    def on_to_device(self, event_type: str, handler: Callable[[ToDevice], None]) -> None:
        """Let a handler have messages of a type to our device, in the transaction that takes them in."""
        self._inbox.on(event_type, handler)

    def on_changes(self, handler: Callable[[Changes], None]) -> None:
        """Let a handler know of new devices and identities, in the transaction that takes them in."""
        self._change_handlers.append(handler)

    def add_source(self, kind: type[Request], source: Source) -> None:
        """Hand out the requests of a part too, which are all of one kind."""
        self._sources[kind] = source

    # What is asked of the homeserver.

    def requests(self) -> list[Request]:
        """Return the requests to make now, in this order; the same again until they are answered or refused.

        Raises NotThisDevice if our device has keys of before, which we do not have.
        """
        found: list[Request] = [*self.own.requests(), *self.lists.requests(self._clock())]
        if not found:
            # One-time keys are claimed of devices, which are to be known first; so is what we owe to them.
            self.sharing.owed.settle()
            found += self.claims.requests()
        for room_id in self.sharing.unread_rooms:
            if room_id not in self._reading:
                self._reading[room_id] = RoomState(room_id=room_id)
                self.rooms.reading_state(room_id)
        found += self._reading.values()
        found += outgoing.oldest(self.store, _REQUESTS_AT_ONCE)
        for source in self._sources.values():
            found += source.requests()
        self._handed_out = {request.request_id: request for request in found}
        return found

    def answered(self, request_id: str, answer: Any) -> None:
        """Take in the answer to a request."""
        request = self._handed_out.pop(request_id, None)
        with self.store.transaction():
            match request:
                case KeysUpload():
                    self.own.answered(answer)
                case KeysQuery():
                    changes = self.lists.answered(request, answer, self._clock())
                    if self.user_id in request.users and self.lists.is_known(self.user_id):
                        self.own.looked_up(has_other_keys=(self.user_id, self.device_id) in changes.refused_devices)
                    self._take_changes(changes)
                case KeysClaim():
                    self.claims.answered(request, answer)
                case RoomState():
                    self._forget_reading(request.room_id)
                    self.rooms.take_state(request.room_id, answer)
                case Request() if type(request) in self._sources:
                    self._sources[type(request)].answered(request, answer)
                case _:
                    outgoing.done(self.store, request_id)

    def refused(self, request_id: str, status: int, body: JsonObject) -> None:
        """Take in that the homeserver refused a request; what may succeed later is handed out again."""
        request = self._handed_out.pop(request_id, None)
        _log.warning("%s was refused: %d %s", type(request).__name__, status, body.get("errcode"))
        with self.store.transaction():
            match request:
                case KeysUpload():
                    self.own.refused(status)
                case KeysQuery():
                    self.lists.refused(request, self._clock())
                case KeysClaim():
                    self.claims.refused(request)
                case RoomState():
                    self._forget_reading(request.room_id)
                    self._unreadable[request.room_id] = f"{body.get('errcode')} ({status}): {body.get('error')}"
                case Request() if type(request) in self._sources:
                    self._sources[type(request)].refused(request, status, str(body.get("errcode")))
                case _:
                    temporary = status == 429 or status >= 500
                    if not temporary and outgoing.failed(self.store, request_id) >= _MOST_REFUSALS:
                        outgoing.done(self.store, request_id)

    # Messages in rooms.

    def is_encrypted(self, room_id: RoomId) -> bool | None:
        """Return whether a room is encrypted; None if that is not known: `read_room` it then."""
        return self.rooms.is_encrypted(room_id)

    def read_room(self, room_id: RoomId) -> None:
        """Let the state of a room be read."""
        self._raise_if_unreadable(room_id)
        self.sharing.unread_rooms.add(room_id)

    def prepare(self, room_id: RoomId) -> bool:
        """Do what can be done before a message to a room; return whether it can be encrypted now.

        If not, requests are to be made first. Raises CannotEncrypt.
        """
        self._raise_if_unreadable(room_id)
        return self.sharing.prepare(room_id)

    def encrypt(self, room_id: RoomId, event_type: str, content: JsonObject) -> JsonObject:
        """Return the content of the m.room.encrypted to send, once the room is prepared.

        Raises KeysNotShared or CannotEncrypt.
        """
        return self.sharing.encrypt(room_id, event_type, content)

    def decrypt(self, room_id: RoomId, event: JsonObject, *, wait: bool = False) -> Decrypted:
        """Decrypt an event of a room. Raises CannotDecrypt.

        If its key is missing, our other devices are asked for it; and with `wait` the event is among `late_events`
        once the key has come.
        """
        (found,) = self.decrypt_all(room_id, [event], wait=wait)
        if isinstance(found, CannotDecrypt):
            raise found
        return found

    def decrypt_all(
        self, room_id: RoomId, events: Iterable[JsonObject], *, wait: bool = False
    ) -> list[Decrypted | CannotDecrypt]:
        """Decrypt events of a room, each for itself."""
        return self._reader.decrypt_all(room_id, events, wait=wait)

    def late_events(self) -> list[LateEvent]:
        """Return events that waited for their key and can be decrypted now, until they are `handled`."""
        return self._reader.late_events()

    def handled(self, late: Sequence[LateEvent]) -> None:
        """Take in that late events have reached whoever wants them."""
        self._reader.handled(late)

    # Devices.

    def devices_of(self, user_id: UserId) -> dict[DeviceId, Device]:
        """Return the devices of a user, as far as they are known."""
        return stored_devices.devices_of(self.store, user_id)

    def identity(self, user_id: UserId) -> Identity | None:
        """Return the cross-signing keys of a user, as far as they are known."""
        return stored_devices.identity(self.store, user_id)

    def set_trust(self, device: Device, trust: Trust) -> None:
        """Decide about a device: a blocked one gets no keys, a verified one is certain to be its user's."""
        with self.store.transaction():
            kept = Device(device.user_id, device.device_id, device.ed25519, device.curve25519, device.keys, trust)
            stored_devices.keep_device(self.store, kept)
            stored_rooms.recipients_changed(self.store, [device.user_id])

    def keep_identity(self, identity: Identity) -> None:
        """Keep what was decided about a user's identity: that it was verified, or that its change is accepted."""
        with self.store.transaction():
            stored_devices.keep_identity(self.store, identity)
            stored_rooms.recipients_changed(self.store, [identity.user_id])

    def follow(self, user_ids: Iterable[UserId]) -> None:
        """Learn the devices of users, and follow them."""
        with self.store.transaction():
            self.lists.follow(user_ids)

    def send_to_device(self, device: Device, event_type: str, content: JsonObject) -> None:
        """Send a message to a device, encrypted; it leaves with the next requests, once there is a session."""
        with self.store.transaction():
            self.claims.send(device, event_type, content)

    def put(self, request: Request) -> None:
        """Let a request be made, even if we are restarted in between."""
        with self.store.transaction():
            outgoing.put(self.store, request)

    def _take_changed(self, changed: list[Any], left: list[Any]) -> None:
        self.lists.changed(changed)
        # What is said next is for their new devices too, or the key is owed to them.
        stored_rooms.recipients_changed(self.store, (UserId(user) for user in changed if isinstance(user, str)))
        self.lists.left(left)

    def _take_changes(self, changes: Changes) -> None:
        users = changes.users()
        stored_rooms.recipients_changed(self.store, users)
        if self.user_id in users:
            self.own.device_has_changed()
        if changes.own_device_is_missing:
            self.own.publish_again()
        if (self.user_id, self.device_id) in changes.refused_devices:
            _log.error("the homeserver has other keys of our device than ours: nobody can write to us")
        for handler in self._change_handlers:
            handler(changes)

    def _forget_reading(self, room_id: RoomId) -> None:
        self._reading.pop(room_id, None)
        self.sharing.unread_rooms.discard(room_id)

    def _raise_if_unreadable(self, room_id: RoomId) -> None:
        why = self._unreadable.pop(room_id, None)
        if why is not None:
            raise CannotEncrypt(f"the state of {room_id} cannot be read: {why}")


def _list(container: Any, key: str) -> list[Any]:
    found = container.get(key) if isinstance(container, dict) else None
    return found if isinstance(found, list) else []
