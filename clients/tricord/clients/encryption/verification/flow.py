"""All verifications of a device: whose message it is, what becomes of strangers, and when time is up.

Nothing here outlives us: a verification that was under way when we ended is unknown afterwards, and its other side is
told so.
https://spec.matrix.org/v1.19/client-server-api/#key-verification-framework
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tricord.clients.encryption.cross_signing import CrossSigning
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored
from tricord.clients.encryption.verification.arrivals import Arrival, Arrivals
from tricord.clients.encryption.verification.keys import Keys, Proven
from tricord.clients.encryption.verification.messages import (
    CANCEL,
    PREFIX,
    READY,
    REQUEST,
    SAS,
    START,
    Code,
    VerificationFailed,
    list_of,
    text_of,
)
from tricord.clients.encryption.verification.outbox import InRoom, Outbox
from tricord.clients.encryption.verification.sas import Party
from tricord.clients.encryption.verification.verification import State, Verification, receive
from tricord.protocol.identifiers import DeviceId, EventId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)

LONGEST_MS = 10 * 60_000
# How long people are asked, from when we hear of a request.
PROMPT_MS = 2 * 60_000
_FROM_THE_FUTURE_MS = 5 * 60_000
# Somebody who floods us with requests is not listened to any more.
_MOST_AT_ONCE = 50
_LONGEST_ID = 255


class Verifications:
    """The verifications of this device.

    Messages to devices are put among the requests that outlive us. Those to rooms are kept here until they are taken,
    since whoever sends them encrypts them as the room is.
    """

    def __init__(
        self,
        store: Store,
        us: Party,
        ed25519: str,
        cross_signing: CrossSigning,
        *,
        want_devices: Callable[[UserId], None],
        methods: Sequence[str] = (SAS,),
    ) -> None:
        """Take our keys, and what asks for the devices of users that are not known."""
        self.us = us
        self.methods = tuple(methods)
        self._store = store
        self._ed25519 = ed25519
        self._cross_signing = cross_signing
        self._want_devices = want_devices
        self._verifications: dict[tuple[UserId, str], Verification] = {}
        self._arrivals = Arrivals()
        self._outbox = Outbox(store)
        self._prompts: dict[Verification, int] = {}
        self._not_sent: dict[str, Verification] = {}
        self._incoming: list[Verification] = []
        self._changed: list[Verification] = []
        self._proven: list[Proven] = []

    # What people do.

    def request(
        self, user_id: UserId, now_ms: int, *, device_ids: Iterable[DeviceId] = (), room_id: RoomId | None = None
    ) -> Verification:
        """Ask another user in a room, or other devices of ours: all of them unless some are named."""
        content: JsonObject = {"from_device": self.us.device_id, "methods": list(self.methods)}
        if room_id is None:
            devices = tuple(device_ids) or tuple(
                device_id
                for device_id in stored.devices_of(self._store, user_id)
                if (user_id, device_id) != (self.us.user_id, self.us.device_id)
            )
            verification = self._new(user_id, secrets.token_urlsafe(24), now_ms, we_asked=True)
            verification.asked_devices = devices
            content |= {"timestamp": now_ms, "transaction_id": verification.transaction_id}
            self._outbox.to_devices(user_id, devices, REQUEST, content)
            return verification
        verification = self._new(user_id, "", now_ms, we_asked=True, room_id=room_id)
        message = InRoom.request(room_id, self.us.user_id, user_id, content)
        self._not_sent[message.request_id] = verification
        self._outbox.to_room(message)
        return verification

    # What whoever has a network does.

    def take_room_messages(self) -> list[InRoom]:
        """Return the messages to send to rooms, in order; each is given once."""
        return self._outbox.take_room_messages()

    def take_incoming(self) -> list[Verification]:
        """Return the verifications that others have asked for, each once."""
        incoming, self._incoming = self._incoming, []
        return [verification for verification in incoming if not verification.is_over]

    def take_changed(self) -> list[Verification]:
        """Return the verifications that have come further."""
        changed, self._changed = self._changed, []
        return changed

    def take_proven(self) -> list[Proven]:
        """Return what was proven since it was last asked."""
        proven, self._proven = self._proven, []
        return proven

    def sent(self, request_id: str, event_id: EventId) -> None:
        """Take in the event id of a request that was sent to a room: it names the verification from now on."""
        verification = self._not_sent.pop(request_id, None)
        if verification is None:
            return
        verification.transaction_id = event_id
        self._verifications[verification.other_user, event_id] = verification
        if verification.is_over:
            verification.say_cancelled()

    def receive(
        self,
        event_type: str,
        sender: UserId,
        content: Any,
        now_ms: int,
        *,
        room_id: RoomId | None = None,
        event_id: EventId | None = None,
        sent_ms: int | None = None,
    ) -> bool:
        """Take in a message to this device, or an event of a room; return whether it is about verification.

        `sent_ms` is a room event's `origin_server_ts`. Nothing in a message can make this raise.
        """
        if event_type == "m.room.message" and isinstance(content, dict) and content.get("msgtype") == REQUEST:
            event_type = REQUEST
        if not event_type.startswith(PREFIX):
            return False
        if isinstance(content, dict) and self._arrivals.is_new(event_id or (event_type, sender, content)):
            self._take(Arrival(event_type, sender, content, room_id, event_id, sent_ms, now_ms), now_ms)
        return True

    def waiting_for(self) -> set[UserId]:
        """Return the users whose devices are to be known before their messages are looked at."""
        return self._arrivals.senders()

    def devices_known(self, user_ids: Iterable[UserId], now_ms: int) -> None:
        """Take in that the devices of users were asked for: what waited for that goes on."""
        for arrival in self._arrivals.take_of(user_ids):
            self._take(arrival, now_ms)

    def tick(self, now_ms: int) -> None:
        """End what has taken too long."""
        for key, verification in list(self._verifications.items()):
            if verification.is_over:
                # Kept for a while: messages of it that are still under way are not those of a stranger.
                if now_ms - verification.begun_ms >= 2 * LONGEST_MS:
                    del self._verifications[key]
            elif now_ms - verification.begun_ms >= LONGEST_MS:
                verification.cancel(Code.TIMEOUT, "it has taken too long")
            elif verification.state is State.REQUESTED and now_ms >= self._prompts.get(verification, now_ms + 1):
                # Nobody is asked any more; the other side goes by its own clock.
                verification.end(Code.TIMEOUT, "nobody has answered")
        self._arrivals.forget_before(now_ms - LONGEST_MS)
        self._prompts = {asked: until for asked, until in self._prompts.items() if not asked.is_over}

    @property
    def has_news(self) -> bool:
        """Whether something was not taken yet."""
        return bool(self._outbox or self._incoming or self._changed or self._proven)

    @property
    def next_tick_ms(self) -> int | None:
        """When something will have taken too long; None while nothing is under way."""
        times = [
            min(verification.begun_ms + LONGEST_MS, self._prompts.get(verification, verification.begun_ms + LONGEST_MS))
            for verification in self._verifications.values()
            if not verification.is_over
        ]
        return min(times, default=None)

    # What a verification needs of the rest.

    def our_keys(self) -> Keys:
        """Return our keys; the master key only if it is known to be ours."""
        identity = self._cross_signing.identity
        master = identity.master if identity is not None and identity.is_verified else None
        return Keys(self.us.device_id, self._ed25519, master)

    def keys_of(self, user_id: UserId, device_id: DeviceId) -> Keys | None:
        """Return the keys of a device and its user; None if the device is not known."""
        device, identity = stored.device(self._store, user_id, device_id), stored.identity(self._store, user_id)
        if device is None or device.gone:
            return None
        return Keys(device_id, device.ed25519, None if identity is None else identity.master)

    def say(self, verification: Verification, event_type: str, content: JsonObject) -> None:
        """Send a message of a verification to the other side; a request that was refused, to all that were asked."""
        self._outbox.say(verification, event_type, content)

    def proven(self, proven: Proven) -> bool:
        """Take in what was proven; return False if the keys are others by now.

        Of another user the master key is what counts: their devices are their own business.
        """
        keys, user_id = proven.keys, proven.user_id
        with self._store.transaction():
            if proven.master and (keys.master is None or not self._cross_signing.verify_user(user_id, keys.master)):
                return False
            wanted = proven.device and (user_id == self.us.user_id or not proven.master)
            if wanted and not self._cross_signing.verify_device(user_id, keys.device_id, keys.device):
                return False
        self._proven.append(proven)
        return True

    def has_changed(self, verification: Verification) -> None:
        """Tell whoever follows the verification."""
        self._changed.append(verification)

    # Whose message it is.

    def _take(self, arrival: Arrival, now_ms: int) -> None:
        try:
            self._route(arrival, now_ms)
        except VerificationFailed as failure:
            _log.info("a verification message of %s is ignored: %s", arrival.sender, failure)

    def _route(self, arrival: Arrival, now_ms: int) -> None:
        if arrival.event_type == REQUEST:
            self._receive_request(arrival, now_ms)
            return
        transaction_id = arrival.transaction_id
        if arrival.room_id is not None and arrival.sender == self.us.user_id:
            self._receive_own(arrival, transaction_id)
            return
        verification = self._verifications.get((arrival.sender, transaction_id))
        if verification is None:
            self._receive_stray(arrival, transaction_id, now_ms)
            return
        if verification.room_id != arrival.room_id or verification.is_over:
            return
        if arrival.event_type == READY and arrival.content.get("from_device") not in self._may_answer(verification):
            return
        try:
            receive(verification, arrival.event_type, arrival.content)
        except VerificationFailed as failure:
            verification.cancel(failure.code, failure.reason)
            return
        if verification.we_asked and verification.room_id is None and arrival.event_type in {READY, CANCEL}:
            self._tell_the_others(verification, arrival.event_type)

    def _may_answer(self, verification: Verification) -> Iterable[Any]:
        """Return the devices that may answer a request of ours; in a room, any that is known."""
        if verification.room_id is None:
            return verification.asked_devices
        return stored.devices_of(self._store, verification.other_user)

    def _tell_the_others(self, verification: Verification, answered_with: str) -> None:
        """Tell the devices that were asked too that another one has answered."""
        accepted = answered_with == READY
        others = [device_id for device_id in verification.asked_devices if device_id != verification.other_device]
        code = Code.ACCEPTED if accepted else Code.USER
        reason = "another device has accepted it" if accepted else "another device has refused it"
        if others and (accepted or verification.other_device is None):
            content = {"code": code.value, "reason": reason, "transaction_id": verification.transaction_id}
            self._outbox.to_devices(verification.other_user, others, CANCEL, content)

    def _receive_request(self, arrival: Arrival, now_ms: int) -> None:
        content, sender = arrival.content, arrival.sender
        device_id, methods = DeviceId(text_of(content, "from_device")), list_of(content, "methods")
        if arrival.room_id is None:
            transaction_id, sent_ms = text_of(content, "transaction_id"), content.get("timestamp")
        else:
            transaction_id, sent_ms = str(arrival.event_id), arrival.sent_ms
            if content.get("to") != self.us.user_id or sender == self.us.user_id:
                return
        if len(transaction_id) > _LONGEST_ID or (sender, transaction_id) in self._verifications:
            return
        # https://spec.matrix.org/v1.19/client-server-api/#mkeyverificationrequest
        if type(sent_ms) is not int or not now_ms - LONGEST_MS <= sent_ms <= now_ms + _FROM_THE_FUTURE_MS:
            return
        if not self._is_known(arrival, device_id):
            return
        verification = self._new(sender, transaction_id, now_ms, we_asked=False, room_id=arrival.room_id)
        verification.their_methods = tuple(methods)
        verification.fix_keys(device_id)
        self._prompts[verification] = min(sent_ms + LONGEST_MS, now_ms + PROMPT_MS)
        if self._cancels_others(verification):
            return
        self._incoming.append(verification)

    def _receive_stray(self, arrival: Arrival, transaction_id: str, now_ms: int) -> None:
        """Take in a message of a verification that we do not know: a start without a request, or one of before."""
        if arrival.room_id is not None or arrival.event_type == CANCEL or len(transaction_id) > _LONGEST_ID:
            return
        if arrival.event_type != START:
            # To which device is not said: to all. In a room others may know it, and it may be old.
            devices = tuple(stored.devices_of(self._store, arrival.sender))
            content = {
                "code": Code.UNKNOWN_TRANSACTION.value,
                "reason": "this verification is not known here",
                "transaction_id": transaction_id,
            }
            self._outbox.to_devices(arrival.sender, devices, CANCEL, content)
            return
        device_id = DeviceId(text_of(arrival.content, "from_device"))
        if not self._is_known(arrival, device_id):
            return
        verification = self._new(arrival.sender, transaction_id, now_ms, we_asked=False)
        verification.their_methods = (text_of(arrival.content, "method"),)
        verification.fix_keys(device_id)
        if verification.their_methods != (SAS,) or SAS not in self.methods:
            verification.cancel(Code.UNKNOWN_METHOD, "the method is not known here")
        elif not self._cancels_others(verification):
            verification.begun_by_other(arrival.content)
            self._incoming.append(verification)

    def _receive_own(self, arrival: Arrival, transaction_id: str) -> None:
        """Take in what another device of ours said in a room: it may have answered a request to us."""
        for (_, other_id), verification in self._verifications.items():
            if other_id != transaction_id or verification.state is not State.REQUESTED or verification.we_asked:
                continue
            if arrival.event_type == CANCEL or arrival.content.get("from_device") not in {None, self.us.device_id}:
                verification.end(Code.ACCEPTED, "another device of ours has answered")

    def _cancels_others(self, verification: Verification) -> bool:
        """End all verifications with a device that begins a second one.

        https://spec.matrix.org/v1.19/client-server-api/#error-and-exception-handling
        """
        device = (verification.other_user, verification.other_device)
        same = [
            other
            for other in self._verifications.values()
            if (other.other_user, other.other_device) == device and not other.is_over and not other.we_asked
        ]
        if len(same) < 2:
            return False
        for other in same:
            other.cancel(Code.UNEXPECTED_MESSAGE, "there are two verifications with the same device at once")
        return True

    def _is_known(self, arrival: Arrival, device_id: DeviceId) -> bool:
        """Return whether a device is known; if not, ask for it, and let the message wait, at most once."""
        device = stored.device(self._store, arrival.sender, device_id)
        if device is not None:
            return not device.gone
        if self._arrivals.let_wait(arrival):
            self._want_devices(arrival.sender)
        return False

    def _new(
        self, user_id: UserId, transaction_id: str, now_ms: int, *, we_asked: bool, room_id: RoomId | None = None
    ) -> Verification:
        under_way = [verification for verification in self._verifications.values() if not verification.is_over]
        if not we_asked and len(under_way) >= _MOST_AT_ONCE:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "too many verifications are under way")
        verification = Verification(
            self, user_id, transaction_id, methods=self.methods, we_asked=we_asked, now_ms=now_ms, room_id=room_id
        )
        if transaction_id:
            self._verifications[user_id, transaction_id] = verification
        return verification
