"""Keys of what was said before somebody was invited, for them: a bundle, which is a file encrypted for their devices.

Only sessions go into it whose makers said that they may be shared; and it is given to devices alone that their user
vouches for. What comes in a bundle is read only once we have accepted the sender's invitation.
https://spec.matrix.org/v1.19/client-server-api/#sharing-keys-between-users
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from tricord.clients.encryption.attachments import Decryption, url_of
from tricord.clients.encryption.claims import Claims
from tricord.clients.encryption.device_lists import DeviceLists
from tricord.clients.encryption.devices import MEGOLM, Device, Trust, standing
from tricord.clients.encryption.errors import EncryptionError, Malformed
from tricord.clients.encryption.key_backup import Restored
from tricord.clients.encryption.megolm import Megolm
from tricord.clients.encryption.olm import OlmMessage
from tricord.clients.encryption.session_data import historic_session_data
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored_devices
from tricord.clients.encryption.stored import room_keys as stored_keys
from tricord.clients.encryption.stored import rooms as stored_rooms
from tricord.clients.encryption.stored.room_keys import Origin, Withheld
from tricord.protocol.errors import MatrixError
from tricord.protocol.identifiers import RoomId, UserId
from tricord.protocol.strict_json import JsonObject, parse_object

_log = logging.getLogger(__name__)

EVENT_TYPE = "m.room_key_bundle"
WITHHELD = "m.history_not_shared"
# A bundle of a hundred thousand sessions; who sends more wants to fill our disk.
LARGEST_BUNDLE = 64 << 20

_DAY_MS = 24 * 3_600_000
_INVITED = "invitations"
_INVITES = "accepted_invitations"
_MOST_INVITATIONS = 1_000
_BUNDLES = "bundles"
_MOST_BUNDLES = 100


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that somebody has sent us."""

    room_id: RoomId
    sender: UserId
    sender_key: str
    file: JsonObject


class HistorySharing:
    """Bundles, out and in. What changes the store stands in a transaction of the caller's."""

    def __init__(
        self, store: Store, lists: DeviceLists, megolm: Megolm, claims: Claims, clock: Callable[[], int]
    ) -> None:
        self._store = store
        self._lists = lists
        self._megolm = megolm
        self._claims = claims
        self._clock = clock

    # Sharing.

    def bundle(self, room_id: RoomId) -> bytes | None:
        """Return what may be shared of a room; None if the room does not share its history, or there is nothing.

        https://spec.matrix.org/v1.19/client-server-api/#construction-and-sharing-of-the-key-bundle
        """
        room = stored_rooms.room(self._store, room_id)
        if room is None or not room.shares_history:
            return None
        shared, withheld = [], []
        for key in stored_keys.room_keys(self._store, room_id):
            if key.shared_history:
                shared.append(historic_session_data(key))
            else:
                withheld.append(
                    {
                        "algorithm": MEGOLM,
                        "code": WITHHELD,
                        "reason": "History not shared",
                        "room_id": room_id,
                        "sender_key": key.sender_key,
                        "session_id": key.session_id,
                    }
                )
        return orjson.dumps({"room_keys": shared, "withheld": withheld}) if shared else None

    def recipients(self, user_id: UserId) -> list[Device]:
        """Return the devices of a user that a bundle may be given to: those that the user vouches for."""
        identity = stored_devices.identity(self._store, user_id)
        if identity is None or identity.has_changed or identity.was_verified:
            return []
        return [
            device
            for device in stored_devices.devices_of(self._store, user_id).values()
            if device.can_read and device.trust is not Trust.BLOCKED and identity.vouches_for(device)
        ]

    def share(self, room_id: RoomId, user_id: UserId, file: JsonObject) -> int:
        """Tell the devices of a user where the bundle is and how to read it; return how many are told."""
        devices = self.recipients(user_id)
        for device in devices:
            self._claims.send(device, EVENT_TYPE, {"room_id": room_id, "file": file})
        return len(devices)

    # Taking in.

    def receive(self, message: OlmMessage) -> None:
        """Take in that somebody has sent us a bundle. Nothing is downloaded yet.

        https://spec.matrix.org/v1.19/client-server-api/#receiving-a-key-bundle-event
        """
        room_id, file = message.content.get("room_id"), message.content.get("file")
        if not isinstance(room_id, str) or not isinstance(file, dict):
            raise Malformed("a bundle of keys names no room, or no file")
        Decryption(file)
        url_of(file)
        if message.device is None:
            raise Malformed("a bundle of keys does not say which device it is from")
        # Whether its user vouches for the device is asked now, and counts when the bundle is wanted.
        self._lists.follow([message.sender])
        entry = {"room_id": room_id, "sender": message.sender, "sender_key": message.sender_key, "file": file}
        others = [one for one in self._bundles() if (one["room_id"], one["sender"]) != (room_id, message.sender)]
        self._keep_bundles([*others, entry][-_MOST_BUNDLES:])

    def invited(self, room_id: RoomId, inviter: UserId) -> None:
        """Take in that somebody invites us."""
        invites = self._store.value(_INVITED) or {}
        if invites.get(room_id) != inviter:
            rest = {other: by for other, by in invites.items() if other != room_id}
            self._store.keep_value(_INVITED, dict([*rest.items(), (room_id, inviter)][-_MOST_INVITATIONS:]))

    def joined(self, room_id: RoomId) -> None:
        """Take in that we are in a room: if somebody had invited us, we have accepted that."""
        invites = self._store.value(_INVITED) or {}
        inviter = invites.pop(room_id, None)
        if inviter is not None:
            self._store.keep_value(_INVITED, invites)
            self.accepted_invitation(room_id, UserId(inviter))

    def accepted_invitation(self, room_id: RoomId, inviter: UserId) -> None:
        """Take in that we have joined a room because somebody invited us: their bundle is wanted, for a day."""
        invites = self._invitations()
        invites[room_id] = {"inviter": inviter, "at_ms": self._clock()}
        self._store.keep_value(_INVITES, invites)

    def due(self) -> list[Bundle]:
        """Return the bundles to download: of rooms that we have joined lately, from those who invited us.

        What a device has sent that its user does not vouch for is not among them.
        """
        invites = self._invitations()
        if not invites:
            return []
        wanted = [
            Bundle(RoomId(one["room_id"]), UserId(one["sender"]), one["sender_key"], one["file"])
            for one in self._bundles()
            if one["room_id"] in invites and invites[one["room_id"]]["inviter"] == one["sender"]
        ]
        return [bundle for bundle in wanted if self._is_vouched_for(bundle)]

    def take(self, bundle: Bundle, content: bytes) -> Restored:
        """Take in the keys of a bundle, for its room alone; who passed them on is kept with each. Raises Malformed."""
        self.give_up(bundle)
        try:
            opened = parse_object(content)
        except MatrixError as error:
            raise Malformed(f"the bundle of {bundle.sender} cannot be read: {error}") from error
        taken = refused = 0
        keys = [key for key in _objects(opened, "room_keys") if key.get("room_id") == bundle.room_id]
        for key in keys:
            try:
                with self._store.attempt():
                    # Whoever has it from a bundle may pass it on: that it may be shared is why it was there.
                    content_of_key = {**key, "shared_history": True}
                    forwarders = (bundle.sender_key,)
                    added = self._megolm.add_exported(content_of_key, Origin.BUNDLE, forwarders=forwarders)
            except EncryptionError as error:
                refused += 1
                _log.info("a key in a bundle is of no use: %s", error)
            else:
                taken += added is not None
        for note in _objects(opened, "withheld"):
            session_id, code, reason = note.get("session_id"), note.get("code"), note.get("reason")
            if note.get("room_id") == bundle.room_id and isinstance(session_id, str) and isinstance(code, str):
                words = reason[:1000] if isinstance(reason, str) else ""
                withheld = Withheld(bundle.sender, code[:100], words)
                stored_keys.note_withheld(self._store, bundle.room_id, session_id, withheld, self._clock())
        return Restored(taken, len(keys), refused)

    def give_up(self, bundle: Bundle) -> None:
        """Forget a bundle: it was taken in, or is not there any more."""
        wanted = [one for one in self._bundles() if (one["room_id"], one["sender"]) != (bundle.room_id, bundle.sender)]
        self._keep_bundles(wanted)

    def _is_vouched_for(self, bundle: Bundle) -> bool:
        identity = stored_devices.identity(self._store, bundle.sender)
        return any(
            device.user_id == bundle.sender and not device.gone and standing(device, identity).is_vouched_for
            for device in stored_devices.devices_by_key(self._store, bundle.sender_key)
        )

    def _invitations(self) -> dict[str, Any]:
        kept: dict[str, Any] = self._store.value(_INVITES) or {}
        now_ms = self._clock()
        return {room_id: invite for room_id, invite in kept.items() if now_ms - invite["at_ms"] < _DAY_MS}

    def _bundles(self) -> list[JsonObject]:
        # Secret, since the keys of the files are in it.
        kept = self._store.secret(_BUNDLES)
        return [] if kept is None else orjson.loads(kept)

    def _keep_bundles(self, bundles: list[JsonObject]) -> None:
        self._store.keep_secret(_BUNDLES, orjson.dumps(bundles).decode())


def _objects(container: JsonObject, key: str) -> list[JsonObject]:
    found = container.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
