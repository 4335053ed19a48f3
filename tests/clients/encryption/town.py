"""A homeserver of dictionaries, and people with machines: what encryption needs, step by step and without a network."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vodozemac import Account

from tests.clients.encryption.published import device_keys
from tricord.clients.encryption.devices import Device
from tricord.clients.encryption.errors import CannotDecrypt
from tricord.clients.encryption.inbox import Received
from tricord.clients.encryption.machine import Machine
from tricord.clients.encryption.megolm import Decrypted
from tricord.clients.encryption.opened import LateEvent
from tricord.clients.encryption.policy import Policy
from tricord.clients.encryption.requests import (
    KeysClaim,
    KeysQuery,
    KeysUpload,
    Request,
    RoomState,
    SendToDevice,
    SignaturesUpload,
)
from tricord.clients.encryption.store import Store
from tricord.protocol.identifiers import DeviceId, EventId, RoomId, UserId
from tricord.protocol.signing import signed_bytes

ROOM = RoomId("!room:localhost")


@dataclass(slots=True)
class Mailbox:
    """What the homeserver keeps of a device."""

    keys: dict[str, Any] | None = None
    one_time_keys: dict[str, Any] = field(default_factory=dict)
    fallback_key: tuple[str, Any] | None = None
    fallback_used: bool = False
    messages: list[dict[str, Any]] = field(default_factory=list)
    seen_transactions: set[str] = field(default_factory=set)


class Town:
    """The homeserver, with one encrypted room; and the clock."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.boxes: dict[tuple[str, str], Mailbox] = {}
        self.cross_signing: dict[str, Any] = {"master_keys": {}, "self_signing_keys": {}, "user_signing_keys": {}}
        self.members: dict[str, str] = {}
        self.state: dict[str, dict[str, Any]] = {"m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"}}
        self.changed: list[str] = []
        self.unanswered_claims: set[str] = set()
        self.failures: dict[str, Any] = {}
        self.timeline: list[dict[str, Any]] = []
        # What was asked: to see that it is bounded, or not asked twice.
        self.made: list[Request] = []
        self._events = 0

    def box(self, user_id: str, device_id: str) -> Mailbox:
        """Return what is kept of a device."""
        return self.boxes.setdefault((user_id, device_id), Mailbox())

    def stranger(self, user_id: str, device_id: str) -> Account:
        """Let somebody have a device whose messages nobody reads; return its account."""
        account = Account()
        account.generate_one_time_keys(1)
        box = self.box(user_id, device_id)
        box.keys = device_keys(user_id, device_id, account)
        for name, key in account.one_time_keys.items():
            signed = {"key": key.to_base64()}
            signature = account.sign(signed_bytes(signed)).to_base64()
            signatures = {user_id: {f"ed25519:{device_id}": signature}}
            box.one_time_keys[f"signed_curve25519:{name}"] = {**signed, "signatures": signatures}
        self.members[user_id] = "join"
        return account

    def answer(self, asker: Machine, request: Request) -> Any:
        """Answer a request, as a homeserver does."""
        self.made.append(request)
        match request:
            case KeysUpload():
                return self._upload(asker, request)
            case KeysQuery():
                return {"device_keys": {user_id: self._devices(user_id) for user_id in request.users}} | {
                    **deepcopy(self.cross_signing),
                    "failures": self.failures,
                }
            case KeysClaim():
                given: dict[str, dict[str, Any]] = {}
                for user_id, devices in request.devices.items():
                    for device_id in devices:
                        key = self._claim(user_id, device_id)
                        if key is not None:
                            given.setdefault(user_id, {})[device_id] = key
                return {"one_time_keys": given}
            case SendToDevice():
                self._deliver(asker, request)
                return {}
            case RoomState():
                return self.room_state()
            case SignaturesUpload():
                return {"failures": {}}
        raise AssertionError(request)

    def room_state(self) -> list[dict[str, Any]]:
        """Return the state of the room."""
        state = [{"type": name, "state_key": "", "content": content} for name, content in self.state.items()]
        return state + [member(user_id, membership) for user_id, membership in self.members.items()]

    def event(self, sender: Machine, content: dict[str, Any], event_type: str = "m.room.encrypted") -> dict[str, Any]:
        """Take an event into the room."""
        self._events += 1
        event = {
            "type": event_type,
            "event_id": EventId(f"${self._events}"),
            "sender": sender.user_id,
            "origin_server_ts": self.now_ms,
            "content": content,
        }
        self.timeline.append(event)
        return event

    def _upload(self, asker: Machine, request: KeysUpload) -> Any:
        box = self.box(asker.user_id, asker.device_id)
        body = deepcopy(request.body)
        if "device_keys" in body:
            box.keys = body["device_keys"]
            self.changed.append(asker.user_id)
        box.one_time_keys |= body.get("one_time_keys", {})
        for name, key in body.get("fallback_keys", {}).items():
            box.fallback_key, box.fallback_used = (name, key), False
        return {"one_time_key_counts": {"signed_curve25519": len(box.one_time_keys)}}

    def _devices(self, user_id: str) -> dict[str, Any]:
        return {
            device_id: deepcopy(box.keys)
            for (owner, device_id), box in self.boxes.items()
            if owner == user_id and box.keys is not None
        }

    def _claim(self, user_id: str, device_id: str) -> Any:
        box = self.box(user_id, device_id)
        if user_id in self.unanswered_claims:
            return None
        if box.one_time_keys:
            name = next(iter(box.one_time_keys))
            return {name: box.one_time_keys.pop(name)}
        if box.fallback_key is not None:
            box.fallback_used = True
            return dict([box.fallback_key])
        return None

    def _deliver(self, asker: Machine, request: SendToDevice) -> None:
        sender = self.box(asker.user_id, asker.device_id)
        if request.request_id in sender.seen_transactions:
            return
        sender.seen_transactions.add(request.request_id)
        for user_id, messages in request.messages.items():
            for device_id, content in messages.items():
                message = {"type": request.event_type, "sender": asker.user_id, "content": deepcopy(content)}
                self.box(user_id, device_id).messages.append(message)


def member(user_id: str, membership: str = "join") -> dict[str, Any]:
    """Return a membership event."""
    content = {"membership": membership}
    return {"type": "m.room.member", "state_key": user_id, "sender": user_id, "content": content}


class Somebody:
    """A device of somebody: a machine, and its way to the homeserver."""

    def __init__(
        self,
        town: Town,
        name: str,
        device_id: str = "PHONE",
        *,
        path: Path | None = None,
        policy: Policy = Policy.KNOWN,
        joined: bool = True,
        server: str = "localhost",
    ) -> None:
        self.town = town
        self.user_id = UserId(f"@{name}:{server}")
        self.device_id = DeviceId(device_id)
        self._path = path
        self._policy = policy
        self.since: str | None = None
        self._seen_changes = len(town.changed)
        self._acknowledged = 0
        self.store = Store(path)
        self.machine = self._machine()
        if joined:
            town.members[self.user_id] = "join"
        self.settle()

    def _machine(self) -> Machine:
        return Machine(self.store, self.user_id, self.device_id, policy=self._policy, clock=lambda: self.town.now_ms)

    def restart(self) -> None:
        """Go on as after a crash: only what was committed is known."""
        self.store.close()
        self.store = Store(self._path)
        self.machine = self._machine()

    @property
    def device(self) -> Device:
        """Our device."""
        return self.machine.own.device()

    def settle(self) -> None:
        """Make requests until there are none."""
        for _ in range(50):
            requests = self.machine.requests()
            if not requests:
                return
            for request in requests:
                self.machine.answered(request.request_id, self.town.answer(self.machine, request))
        raise AssertionError(f"there is no end of requests: {requests}")

    def content(self, *events: dict[str, Any], state: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Return what a sync would bring now; nothing is taken from the mailbox before the next one."""
        box = self.town.box(self.user_id, self.device_id)
        del box.messages[: self._acknowledged]
        self._acknowledged = len(box.messages)
        changed, self._seen_changes = self.town.changed[self._seen_changes :], len(self.town.changed)
        position = f"s{int((self.since or 's0')[1:]) + 1}"
        unused = [] if box.fallback_used or box.fallback_key is None else ["signed_curve25519"]
        content: dict[str, Any] = {
            "next_batch": position,
            "to_device": {"events": deepcopy(box.messages)},
            "device_lists": {"changed": changed},
            "device_one_time_keys_count": {"signed_curve25519": len(box.one_time_keys)},
            "device_unused_fallback_key_types": unused,
        }
        if events or state:
            room = {"timeline": {"events": list(events)}, "state": {"events": state or []}}
            content["rooms"] = {"join": {ROOM: room}}
        return content

    def sync(self, *events: dict[str, Any], state: list[dict[str, Any]] | None = None) -> Received:
        """Take in what is new, and make the requests that follow."""
        content = self.content(*events, state=state)
        received = self.machine.receive(content, since=self.since)
        self.since = content["next_batch"]
        self.settle()
        return received

    def learn_room(self) -> None:
        """Read the state of the room."""
        self.machine.read_room(ROOM)
        self.settle()

    def encrypt(self, body: str = "Hello", *, relates_to: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the content of an encrypted message."""
        content: dict[str, Any] = {"msgtype": "m.text", "body": body}
        if relates_to is not None:
            content["m.relates_to"] = relates_to
        if self.machine.is_encrypted(ROOM) is None:
            self.learn_room()
        for _ in range(20):
            if self.machine.prepare(ROOM):
                return self.machine.encrypt(ROOM, "m.room.message", content)
            self.settle()
        raise AssertionError("the room does not get ready")

    def say(self, body: str = "Hello", *, relates_to: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send an encrypted message; return its event."""
        return self.town.event(self.machine, self.encrypt(body, relates_to=relates_to))

    def read(self, event: dict[str, Any], *, wait: bool = False) -> Decrypted:
        """Decrypt an event."""
        return self.machine.decrypt(ROOM, event, wait=wait)

    def hears(self, event: dict[str, Any]) -> str:
        """Sync, and return the text of an event."""
        self.sync()
        return str(self.read(event).content["body"])

    def reason(self, event: dict[str, Any], *, wait: bool = False) -> CannotDecrypt:
        """Return why an event cannot be decrypted."""
        try:
            decrypted = self.read(event, wait=wait)
        except CannotDecrypt as reason:
            return reason
        raise AssertionError(f"it was decrypted: {decrypted}")

    def late(self) -> list[LateEvent]:
        """Return the events whose key has come, handled."""
        late = self.machine.late_events()
        self.machine.handled(late)
        return late
