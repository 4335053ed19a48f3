"""One verification, from the asking to its end: what is said next, and what that proves.

Keys are fixed when both sides are known, and are what the end is about: whatever the homeserver publishes meanwhile.
https://spec.matrix.org/v1.19/client-server-api/#key-verification-framework
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from tricord.clients.encryption.verification.codes import (
    check_secret,
    code_to_show,
    proves_device_of_scanned,
    proves_device_of_scanner,
    read_code,
)
from tricord.clients.encryption.verification.keys import Keys, Proven
from tricord.clients.encryption.verification.messages import (
    ACCEPT,
    CANCEL,
    DONE,
    KEY,
    MAC,
    READY,
    RECIPROCATE,
    SAS,
    SCAN_QR,
    SHOW_QR,
    START,
    Code,
    VerificationFailed,
    list_of,
    text_of,
)
from tricord.clients.encryption.verification.qr_code import QrCode
from tricord.clients.encryption.verification.sas import Party, ShortAuthentication, ShortString, start_content
from tricord.protocol.identifiers import DeviceId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject
from tricord.protocol.unpadded_base64 import encode_base64


class State(enum.Enum):
    """How far a verification has come."""

    REQUESTED = "asked for, and not answered yet"
    READY = "both sides want it, and choose a method"
    STARTED = "a method has begun"
    COMPARING = "both sides show a short string, and people compare"
    CONFIRMED = "our side says that the strings are the same"
    SCANNED = "the other side says that it has scanned our code"
    RECIPROCATED = "we have scanned the other side's code"
    DONE = "it has succeeded"
    CANCELLED = "it has ended without success"


class Surroundings(Protocol):
    """What a verification needs of the rest."""

    us: Party

    def our_keys(self) -> Keys:
        """Return our keys; the master key only if it is known to be ours."""
        ...

    def keys_of(self, user_id: UserId, device_id: DeviceId) -> Keys | None:
        """Return the keys of a device and its user; None if the device is not known."""
        ...

    def say(self, verification: Verification, event_type: str, content: JsonObject) -> None:
        """Send a message of a verification to the other side."""
        ...

    def proven(self, proven: Proven) -> bool:
        """Take in what was proven; return False if the keys are others by now."""
        ...

    def has_changed(self, verification: Verification) -> None:
        """Tell whoever follows the verification."""
        ...


class Verification:
    """One verification with one other user, or with another device of ours.

    The methods without `receive` in their name are what people do.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        other_user: UserId,
        transaction_id: str,
        *,
        methods: Sequence[str],
        we_asked: bool,
        now_ms: int,
        room_id: RoomId | None = None,
    ) -> None:
        self._surroundings = surroundings
        self.other_user = other_user
        self.transaction_id = transaction_id
        """The id of the request's event, in a room; "" until it has one."""
        self.room_id = room_id
        self.methods = tuple(methods)
        self.we_asked = we_asked
        self.begun_ms = now_ms
        self.asked_devices: tuple[DeviceId, ...] = ()
        self.state = State.REQUESTED
        self.code: Code | str | None = None
        self.reason = ""
        self.other_device: DeviceId | None = None
        self.their_methods: tuple[str, ...] = ()
        self.short_string: ShortString | None = None
        self.proven: Proven | None = None
        self._keys: Keys | None = None
        self._sas: ShortAuthentication | None = None
        self._we_started = False
        self._accepted = False
        self._their_mac: JsonObject | None = None
        self._trust = True
        self._qr: QrCode | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen any more."""
        return self.state in {State.DONE, State.CANCELLED}

    @property
    def is_self(self) -> bool:
        """Whether it is between devices of ours."""
        return self.other_user == self._surroundings.us.user_id

    @property
    def can_show_code(self) -> bool:
        """Whether the other side can scan a code that we show."""
        common = RECIPROCATE in self.methods and RECIPROCATE in self.their_methods
        return self.state is State.READY and common and SHOW_QR in self.methods and SCAN_QR in self.their_methods

    @property
    def can_compare(self) -> bool:
        """Whether both sides can compare short strings."""
        return self.state is State.READY and SAS in self.methods and SAS in self.their_methods

    # What people do.

    def accept(self) -> None:
        """Answer the other side's request: we want it too; or take part in what it has begun without one."""
        if self.state is State.STARTED and not self._we_started and not self._accepted:
            self._accept_start()
            return
        self._expect(State.REQUESTED)
        if self.we_asked:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "the other side is to accept our request")
        self._say(READY, {"from_device": self._surroundings.us.device_id, "methods": list(self.methods)})
        self._enter(State.READY)

    def compare(self) -> None:
        """Begin to compare short strings; nothing happens if the other side has begun already."""
        if self.state is not State.READY:
            return
        if not self.can_compare:
            raise VerificationFailed(Code.UNKNOWN_METHOD, "the other side cannot compare short strings")
        content = self._content({**start_content(), "from_device": self._surroundings.us.device_id})
        self._sas = self._new_sas(content, we_started=True)
        self._we_started = True
        self._surroundings.say(self, START, content)
        self._enter(State.STARTED)

    def confirm(self, *, trust: bool = True) -> None:
        """Say that both sides show the same, or, after showing a code, that the other side says it fits.

        Without `trust` only the other side gets to trust us: for programs, which cannot see what the other side shows.
        """
        self._trust = trust
        if self.state is not State.SCANNED:
            self._expect(State.COMPARING)
        with self._or_cancel():
            if self.state is State.SCANNED and self._qr is not None:
                device = proves_device_of_scanner(self._qr)
                self._prove(device=device, master=not device)
                return
            self._say(MAC, self._begun().mac(self._surroundings.our_keys().by_id()))
            self._enter(State.CONFIRMED)
            if self._their_mac is not None:
                self._check_macs(self._their_mac)

    def mismatch(self) -> None:
        """Say that the sides show different things: somebody is in between."""
        self.cancel(Code.MISMATCHED_SAS, "the short strings are different")

    def cancel(self, code: Code = Code.USER, reason: str = "the user has cancelled it") -> None:
        """End it, and tell the other side."""
        if not self.is_over:
            self.code, self.reason = code, reason
            self.say_cancelled()
            self.end(code, reason)

    def say_cancelled(self) -> None:
        """Tell the other side why it has ended."""
        code = self.code.value if isinstance(self.code, Code) else str(self.code)
        self._say(CANCEL, {"code": code, "reason": self.reason})

    def end(self, code: Code | str, reason: str) -> None:
        """End it, and tell nobody."""
        self.code, self.reason = code, reason
        self._enter(State.CANCELLED)

    def show_code(self) -> bytes:
        """Return the bytes of a QR code for the other side to scan.

        https://spec.matrix.org/v1.19/client-server-api/#qr-codes
        """
        if not self.can_show_code:
            raise VerificationFailed(Code.UNKNOWN_METHOD, "the other side cannot scan a code")
        if self._qr is None:
            ours = self._surroundings.our_keys()
            self._qr = code_to_show(self.transaction_id, ours, self._theirs(), is_self=self.is_self)
        return self._qr.encode()

    def scan(self, scanned: bytes) -> None:
        """Take in what was scanned from the other side; raise VerificationFailed if it does not fit.

        From then on the other side is verified. For it to verify us, its user must say that we have scanned the code.
        """
        self._expect(State.READY)
        with self._or_cancel():
            theirs, ours = self._theirs(), self._surroundings.our_keys()
            code = read_code(scanned, self.transaction_id, ours, theirs, is_self=self.is_self)
            device = proves_device_of_scanned(code)
            self._take_in(Proven(self.other_user, theirs, device=device, master=not device))
            us, secret = self._surroundings.us, encode_base64(code.secret)
            self._we_started = True
            self._say(START, {"from_device": us.device_id, "method": RECIPROCATE, "secret": secret})
            self._enter(State.RECIPROCATED)

    # What the other side says.

    def receive_ready(self, content: JsonObject) -> None:
        """Take in that the other side wants it too."""
        if not self.we_asked or self.state is not State.REQUESTED:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "a second or unasked answer came")
        self.their_methods = tuple(list_of(content, "methods"))
        self.fix_keys(DeviceId(text_of(content, "from_device")))
        self._enter(State.READY)

    def receive_start(self, content: JsonObject) -> None:
        """Take in that the other side has begun a method."""
        device_id, method = DeviceId(text_of(content, "from_device")), text_of(content, "method")
        if self.other_device is None:
            self.fix_keys(device_id)
        elif device_id != self.other_device:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "another device has begun it")
        if self.state is State.STARTED and self._we_started and not self._accepted and method == SAS:
            # Both have begun at once: the start of the smaller counts.
            us, them = self._surroundings.us, Party(self.other_user, device_id)
            if (us.user_id, us.device_id) < (them.user_id, them.device_id):
                return
            self._we_started = False
        elif self.state is not State.READY:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "it has begun already")
        if method == RECIPROCATE:
            check_secret(self._qr, content)
            self._enter(State.SCANNED)
        elif method == SAS and SAS in self.methods:
            self.begun_by_other(content)
            self._accept_start()
        else:
            raise VerificationFailed(Code.UNKNOWN_METHOD, f"the method {method[:100]} is not known here")

    def begun_by_other(self, content: JsonObject) -> None:
        """Take in a start without accepting it: such as comes without a request, as older clients do."""
        self._sas = self._new_sas(content, we_started=False)
        self._enter(State.STARTED)

    def receive_accept(self, content: JsonObject) -> None:
        """Take in that the other side takes part in what we have begun."""
        if not self._we_started or self._accepted or self.state is not State.STARTED:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "something was accepted that we have not begun")
        key = self._begun().accepted(content)
        self._accepted = True
        self._say(KEY, key)

    def receive_key(self, content: JsonObject) -> None:
        """Take in the other side's ephemeral key: people can compare now."""
        if not self._accepted or self.state is not State.STARTED:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "a key came that is not expected")
        self.short_string = self._begun().receive_key(content)
        if not self._we_started:
            self._say(KEY, self._begun().key())
        self._enter(State.COMPARING)

    def receive_mac(self, content: JsonObject) -> None:
        """Take in that the other side's people say that both show the same, and what it vouches for."""
        if self.state not in {State.COMPARING, State.CONFIRMED} or self._their_mac is not None:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "MACs came that are not expected")
        self._their_mac = content
        if self.state is State.CONFIRMED:
            self._check_macs(content)

    def receive_done(self) -> None:
        """Take in that the other side is done."""
        if self.state is State.RECIPROCATED:
            self._say(DONE, {})
            self._enter(State.DONE)
        elif self.state not in {State.DONE, State.CONFIRMED}:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "the other side is done before it can be")

    def receive_cancel(self, content: JsonObject) -> None:
        """Take in that the other side has ended it."""
        code, reason = content.get("code"), content.get("reason")
        known = next((known for known in Code if known.value == code), None)
        if not self.is_over:
            self.end(known or str(code)[:255], str(reason)[:255])

    def fix_keys(self, device_id: DeviceId) -> None:
        """Fix which device it is about, and its keys; raise VerificationFailed."""
        keys = self._surroundings.keys_of(self.other_user, device_id)
        if keys is None:
            raise VerificationFailed(Code.KEY_MISMATCH, "the keys of the device are not known")
        if keys.device_id == keys.master:
            # https://spec.matrix.org/v1.19/client-server-api/#key-and-signature-security
            raise VerificationFailed(Code.KEY_MISMATCH, "the device is named like a cross-signing key")
        if self.is_self and device_id == self._surroundings.us.device_id:
            raise VerificationFailed(Code.KEY_MISMATCH, "a device does not verify itself")
        self.other_device, self._keys = device_id, keys

    # What follows.

    def _accept_start(self) -> None:
        self._say(ACCEPT, self._begun().accept())
        self._accepted = True
        self._enter(State.STARTED)

    def _check_macs(self, content: JsonObject) -> None:
        theirs = self._theirs()
        vouched = self._begun().verified(content, theirs.by_id())
        self._prove(device=theirs.device_key_id in vouched, master=theirs.master_key_id in vouched)

    def _prove(self, *, device: bool, master: bool) -> None:
        if self._trust:
            self._take_in(Proven(self.other_user, self._theirs(), device=device, master=master))
        self._say(DONE, {})
        self._enter(State.DONE)

    def _take_in(self, proven: Proven) -> None:
        if not self._surroundings.proven(proven):
            raise VerificationFailed(Code.KEY_MISMATCH, "the keys have changed meanwhile")
        self.proven = proven

    def _new_sas(self, start: JsonObject, *, we_started: bool) -> ShortAuthentication:
        them = Party(self.other_user, self._theirs().device_id)
        return ShortAuthentication(self._surroundings.us, them, self.transaction_id, start, we_started=we_started)

    def _begun(self) -> ShortAuthentication:
        if self._sas is None:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "nothing has begun yet")
        return self._sas

    def _theirs(self) -> Keys:
        if self._keys is None:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, "the other side is not known yet")
        return self._keys

    @contextmanager
    def _or_cancel(self) -> Iterator[None]:
        """Tell the other side of what fails."""
        try:
            yield
        except VerificationFailed as failure:
            self.cancel(failure.code, failure.reason)
            raise

    def _say(self, event_type: str, content: JsonObject) -> None:
        self._surroundings.say(self, event_type, self._content(content))

    def _content(self, content: JsonObject) -> JsonObject:
        """Return a message with what says which verification it is of."""
        if self.room_id is None:
            return {**content, "transaction_id": self.transaction_id}
        return {**content, "m.relates_to": {"rel_type": "m.reference", "event_id": self.transaction_id}}

    def _expect(self, state: State) -> None:
        if self.state is not state:
            raise VerificationFailed(Code.UNEXPECTED_MESSAGE, f"this is not the time for it: {self.state.value}")

    def _enter(self, state: State) -> None:
        self.state = state
        self._surroundings.has_changed(self)


def receive(verification: Verification, event_type: str, content: JsonObject) -> None:
    """Give a message to the method for it; raise VerificationFailed."""
    if event_type == DONE:
        verification.receive_done()
        return
    methods = {
        READY: verification.receive_ready,
        START: verification.receive_start,
        ACCEPT: verification.receive_accept,
        KEY: verification.receive_key,
        MAC: verification.receive_mac,
        CANCEL: verification.receive_cancel,
    }
    if event_type in methods:
        methods[event_type](content)
