"""The machine with a network: what a client needs to write and read in encrypted rooms without noticing.

One round of requests is made at a time. What a sync brings is stored before anybody is given it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from tricord.clients.api.rooms import GetState
from tricord.clients.edits import is_valid_edit
from tricord.clients.encryption import sliding
from tricord.clients.encryption.errors import CannotDecrypt, EncryptionError, KeysNotShared
from tricord.clients.encryption.machine import Machine
from tricord.clients.encryption.opened import ClosedEvent, LateEvent, OpenedEvent
from tricord.clients.encryption.own_identity import OwnIdentity
from tricord.clients.encryption.policy import Policy
from tricord.clients.encryption.requests import Request
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.verification.messages import SAS
from tricord.clients.errors import Refused, SignedOut, UnexpectedAnswer, Unreachable
from tricord.clients.http import Http
from tricord.protocol.identifiers import DeviceId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)

# A message to a room takes four: its state, the devices, one-time keys, the key of the room.
_MOST_ROUNDS = 20
# Servers of others are waited for; ours waits for 10 s for them.
_ANSWER_WITHIN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a client encrypts.

    `store` is the file of the keys; without one they are in memory, and lost with the process. With a `passphrase` the
    file is of no use to who steals it. `trust` says which devices are given the keys of our messages: those that their
    users have vouched for (`cross-signed`), as well those of users who vouch for none (`known`), or `all`.

    `verification_methods` are the ways of verifying that the program can show: `m.sas.v1` for pictures and numbers,
    `m.qr_code.show.v1` and `m.qr_code.scan.v1`, each with `m.reciprocate.v1`, for QR codes. With `own_identity` a bot
    sets up cross-signing, secret storage and a backup by itself; other clients call `Client.set_up_identity`.
    """

    store: str | Path | None
    passphrase: str | None = field(default=None, repr=False)
    trust: Policy | str = Policy.KNOWN
    verification_methods: Sequence[str] = (SAS,)
    own_identity: bool = True


class Encryptor:
    """The encryption of a client: its machine, opened when it is first needed, and the requests that it asks for."""

    def __init__(self, settings: Encryption, http: Http, who: Callable[[], tuple[UserId, DeviceId]]) -> None:
        self._settings = settings
        self._http = http
        self._who = who
        self._store: Store | None = None
        self._machine: Machine | None = None
        self._identity: OwnIdentity | None = None
        self._lock = trio.Lock()
        # Whether we are told of everything that happens, so that what is not encrypted stays so until we hear of it.
        self._follows_all = False

    @property
    def machine(self) -> Machine:
        """The machine of the device that we are signed in as. Raises StoreError."""
        if self._machine is None:
            user_id, device_id = self._who()
            if not user_id or not device_id:
                raise EncryptionError("sign in first: keys belong to a device")
            self._machine = Machine(self._opened_store(), user_id, device_id, policy=Policy(self._settings.trust))
            # What comes for it is not to be missed.
            self._identity = OwnIdentity(self._machine, methods=self._settings.verification_methods)
        return self._machine

    @property
    def identity(self) -> OwnIdentity:
        """The identity of our user, as far as this device has a part in it. Raises as `machine` does."""
        machine = self.machine
        assert self._identity is not None, machine  # noqa: S101  # it is made with the machine
        return self._identity

    @property
    def makes_identity(self) -> bool:
        """Whether a bot is to set up an identity: its keys must outlive it."""
        return self._settings.own_identity and self._settings.store is not None

    def known_device(self, user_id: str) -> DeviceId | None:
        """Return the device whose keys are stored, if they are of this user: sign in as it, to go on with them."""
        owner = self._opened_store().value("owner")
        return DeviceId(owner[1]) if owner is not None and owner[0] == user_id else None

    def signed_in(self) -> None:
        """Take in that a session began: the homeserver may have forgotten the keys of the device."""
        with self.machine.store.transaction():
            self.machine.own.publish_again()
            self.machine.lists.all_may_have_changed()

    def close(self) -> None:
        """Close the file of the keys."""
        if self._store is not None:
            self._store.close()
        self._store = self._machine = self._identity = None

    def start_over(self) -> None:
        """Forget keys that nobody has seen, as the device has others; whoever signs in next is a new device."""
        if self.machine.own.is_published:
            raise EncryptionError("keys that others know are not thrown away")
        self.close()
        if self._settings.store is not None:
            Path(self._settings.store).unlink()

    # Writing.

    async def is_encrypted(self, room_id: RoomId) -> bool:
        """Return whether a room is encrypted; what is encrypted once is so for ever."""
        known = self.machine.is_encrypted(room_id)
        if known or (known is False and self._follows_all):
            return known
        path = {"room_id": room_id, "event_type": "m.room.encryption", "state_key": ""}
        try:
            await self._http.call(GetState, path)
        except Refused as refusal:
            if refusal.status != 404:
                raise
            self.machine.rooms.note_plain(room_id)
            # Unless a sync has brought it while we asked.
            return bool(self.machine.is_encrypted(room_id))
        self.machine.read_room(room_id)
        await self.settle()
        return True

    async def encrypt(self, room_id: RoomId, event_type: str, content: JsonObject) -> JsonObject:
        """Return the content of the m.room.encrypted to send, when all who are to read it have the key.

        Raises CannotEncrypt.
        """
        async with self._lock:
            for _ in range(_MOST_ROUNDS):
                if self.machine.prepare(room_id):
                    return self.machine.encrypt(room_id, event_type, content)
                await self._make_requests()
        raise KeysNotShared(f"the keys of {room_id} change faster than they can be shared")

    async def settle(self) -> None:
        """Make the requests that there are to make. Raises Unreachable, SignedOut, Refused (M_LIMIT_EXCEEDED)."""
        async with self._lock:
            for _ in range(_MOST_ROUNDS):
                if not await self._make_requests():
                    return

    # Reading.

    async def take(self, content: JsonObject, *, since: str | None, position: str, sync_filter: Any) -> list[LateEvent]:
        """Take in what a sync brought, and open its events in place; return older ones whose key has come.

        Those are given again until they are `handled`.
        """
        self.machine.receive(content, since=since, position=position, members_are_complete=_sees_all(sync_filter))
        await self.settle_if_reachable()
        self.identity.take_invitations(content)
        for kind in ("join", "leave"):
            rooms = (content.get("rooms") or {}).get(kind) or {}
            for room_id, room in rooms.items():
                timeline = room.get("timeline") if isinstance(room, dict) else None
                if isinstance(timeline, dict) and isinstance(timeline.get("events"), list):
                    timeline["events"] = self.open(RoomId(room_id), timeline["events"], wait=True)
                    if kind == "join":
                        self.identity.take_room_events(RoomId(room_id), timeline["events"])
        return self.machine.late_events()

    async def take_sliding(
        self, answer: JsonObject, *, since: str | None, subscriptions: Mapping[str, Any]
    ) -> list[LateEvent]:
        """Take in what a sliding sync brought, as `take` does what a sync brought."""
        follows = sliding.followed_rooms(subscriptions, answer)
        self.machine.receive_sliding(answer, since=since, follows=follows)
        await self.settle_if_reachable()
        self.identity.take_invitations(sliding.as_sync(answer))
        for room_id, room in answer["rooms"].items():
            room["timeline"] = self.open(RoomId(room_id), room["timeline"], wait=True)
            self.identity.take_room_events(RoomId(room_id), room["timeline"])
        return self.machine.late_events()

    async def settle_if_reachable(self) -> None:
        """Make the requests that there are to make; those that fail are made later."""
        try:
            await self.settle()
        except SignedOut:
            raise
        except (Unreachable, Refused) as error:
            _log.warning("requests of the encryption are to be made later: %s", error)

    def open(self, room_id: RoomId, events: Sequence[Any], *, wait: bool = False) -> list[Any]:
        """Return events of a room, those that are encrypted as `OpenedEvent`, or as `ClosedEvent` with the reason.

        With `wait` those whose key is missing are given again when it has come.
        """
        encrypted = [event for event in events if _is_encrypted(event)]
        if encrypted:
            found = dict(zip(map(id, encrypted), self.machine.decrypt_all(room_id, encrypted, wait=wait), strict=True))
            events = [_opened(event, found[id(event)]) if id(event) in found else event for event in events]
        return [self._with_edit(room_id, event) for event in events]

    @contextmanager
    def following(self, sync_filter: Any) -> Iterator[None]:
        """Hear, in the block, of everything that happens; except of what a filter keeps back."""
        self._follows_all = _sees_all(sync_filter)
        try:
            yield
        finally:
            self._follows_all = False

    def _with_edit(self, room_id: RoomId, event: Any) -> Any:
        """Open the edit that the homeserver has put with an event; leave it out if it is not a valid one."""
        relations = _object(_object(event, "unsigned"), "m.relations")
        edit = _object(relations, "m.replace")
        if "event_id" not in edit or "content" not in edit:
            # There is none, or it is only named.
            return event
        (opened,) = self.open(room_id, [edit])
        if is_valid_edit(event, opened):
            relations["m.replace"] = opened
        else:
            del relations["m.replace"]
        return event

    async def _make_requests(self) -> bool:
        """Make one round of requests; return whether there were any."""
        requests = self.machine.requests()
        for request in requests:
            await self._make(request)
        return bool(requests)

    async def _make(self, request: Request) -> None:
        try:
            answer = await self._http.call(
                request.endpoint,
                request.path,
                query=request.query,
                body=request.body,
                answer_within_seconds=_ANSWER_WITHIN_SECONDS,
            )
        except SignedOut:
            raise
        except Refused as refusal:
            self.machine.refused(request.request_id, refusal.status, refusal.body)
            if refusal.status == 429 or refusal.status >= 500:
                raise
        except UnexpectedAnswer as error:
            self.machine.refused(request.request_id, 502, {"errcode": "M_UNKNOWN", "error": str(error)})
            raise Unreachable(str(error)) from error
        else:
            self.machine.answered(request.request_id, answer)

    def _opened_store(self) -> Store:
        if self._store is None:
            self._store = Store(self._settings.store, passphrase=self._settings.passphrase)
        return self._store


def add_late(content: JsonObject, late: Sequence[LateEvent]) -> None:
    """Put events whose key has come at the beginning of the timelines of a sync."""
    for one in reversed(late):
        rooms = content.setdefault("rooms", {}).setdefault("join", {})
        timeline = rooms.setdefault(one.room_id, {}).setdefault("timeline", {})
        timeline["events"] = [one.opened, *timeline.get("events", ())]


def _is_encrypted(event: Any) -> bool:
    return isinstance(event, dict) and event.get("type") == "m.room.encrypted" and "state_key" not in event


def _object(container: Any, key: str) -> dict[str, Any]:
    """Return an object inside a foreign object; an empty one if there is none."""
    found = container.get(key) if isinstance(container, dict) else None
    return found if isinstance(found, dict) else {}


def _opened(event: JsonObject, found: Any) -> JsonObject:
    return ClosedEvent(event, found) if isinstance(found, CannotDecrypt) else OpenedEvent(event, found)


def _sees_all(sync_filter: Any) -> bool:
    """Return whether a filter lets through all that matters here; of one that is stored we do not know."""
    return sync_filter is None
