"""Keys of local users as other local users are shown them: asked for often, changed seldom, so kept in memory, encoded.

Whatever changes them names the user in its commit (`Commit.keys`), of which a process hears before anybody is answered
who could know of the change. Nothing is taken out of memory then: what was read before the change is not used any more,
also where the reading was still under way.

Other servers are answered from the database. They hear of a change from whichever process tells them, and may ask
another one before it has.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import orjson

from tricord.homeserver.encryption.cross_signing import Identities
from tricord.homeserver.encryption.cross_signing_forms import MASTER
from tricord.homeserver.storage.cross_signing import KeySignature, signatures_on_others
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.published_keys import PublishedKeys, published_keys
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import DeviceId, UserId

_MOST_BYTES = 16 << 20
_OVERHEAD = 1_000
_MOST_WITHOUT_KEYS = 20_000
_MOST_SIGNATURES = 100_000
# Of one signer; who has signed more is looked up each time.
_MOST_OF_A_SIGNER = 500
_MOST_CHANGES = 50_000

V = TypeVar("V")
Vouched = Mapping[UserId, Sequence[KeySignature]]


@dataclass(frozen=True, slots=True)
class Shown:
    """What everybody sees of a user; the user-signing key is in it, and for nobody but its owner."""

    devices: bytes = b"{}"
    """JSON: the keys of all devices, by device."""
    identities: Mapping[str, bytes] = field(default_factory=dict)
    """Cross-signing keys by usage, as JSON."""

    def devices_named(self, names: Collection[DeviceId]) -> object:
        """Return the keys of the devices named, or of all where none is, ready to be encoded."""
        if not names:
            return orjson.Fragment(self.devices)
        return {name: keys for name, keys in orjson.loads(self.devices).items() if name in names}

    def master(self, signatures: Iterable[KeySignature]) -> orjson.Fragment:
        """Return the master key, with signatures that not everybody is shown."""
        key = orjson.loads(self.identities[MASTER])
        names = set(key["keys"].values())
        for one in signatures:
            if one.name in names:
                key.setdefault("signatures", {}).setdefault(one.signer, {})[one.key_id] = one.signature
        return orjson.Fragment(orjson.dumps(key))


NOTHING = Shown()


class ShownKeys:
    """Reads keys of local users for local users."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._changes = _Changes()
        self._users: _Kept[Shown] = _Kept(_MOST_BYTES)
        # Apart, since anybody can name as many of them as they like.
        self._without_keys: _Kept[Shown] = _Kept(_MOST_WITHOUT_KEYS)
        self._vouched: _Kept[Vouched] = _Kept(_MOST_SIGNATURES)
        publisher.observe_at_once(self._note, self._forget_all)

    async def of(self, user_ids: Collection[UserId]) -> Mapping[UserId, Shown]:
        """Return what everybody is shown of users; NOTHING for who has no keys, or is not there."""
        found = {user_id: self._known(user_id) for user_id in user_ids}
        missing = [user_id for user_id, known in found.items() if known is None]
        if missing:
            as_of = self._changes.count
            read = _shown(await self._database.read(published_keys, missing, None))
            for user_id in missing:
                shown = found[user_id] = read.get(user_id, NOTHING)
                if shown is NOTHING:
                    self._without_keys.put(user_id, shown, as_of, 1)
                else:
                    size = len(shown.devices) + sum(map(len, shown.identities.values()))
                    self._users.put(user_id, shown, as_of, _OVERHEAD + size)
        return {user_id: shown for user_id, shown in found.items() if shown is not None}

    async def vouched_for(self, signer: UserId, user_ids: Collection[UserId]) -> Vouched:
        """Return what somebody has signed of other local users, of some at least."""
        kept = self._vouched.get(signer)
        if kept is not None:
            vouched, as_of = kept
            concerned = (user_id for user_id in vouched if user_id in user_ids)
            if not any(self._changes.after(user_id, as_of) for user_id in (signer, *concerned)):
                return vouched
        as_of = self._changes.count
        signatures = await self._database.read(signatures_on_others, signer, None, _MOST_OF_A_SIGNER + 1)
        if len(signatures) > _MOST_OF_A_SIGNER:
            return _by_user(await self._database.read(signatures_on_others, signer, user_ids))
        vouched = _by_user(signatures)
        self._vouched.put(signer, vouched, as_of, 1 + len(signatures))
        return vouched

    def _known(self, user_id: UserId) -> Shown | None:
        for kept in (self._users.get(user_id), self._without_keys.get(user_id)):
            if kept is not None and not self._changes.after(user_id, kept[1]):
                return kept[0]
        return None

    def _note(self, commit: Commit) -> None:
        if commit.keys:
            self._changes.note(commit.keys)

    def _forget_all(self, _position: int) -> None:
        self._changes.note_all()


def _shown(published: PublishedKeys) -> dict[UserId, Shown]:
    """Return what was read, encoded."""
    signed = Identities(signatures=_by_user_and_name(published.signatures))
    devices: dict[UserId, list[bytes]] = {}
    for device in published.devices:
        keys = device.keys
        # What is to be shown as it is stored need not be decoded.
        if device.display_name is not None or device.device_id in signed.signatures.get(device.user_id, ()):
            members = signed.signed(device.user_id, device.device_id, orjson.loads(keys))
            if device.display_name is not None:
                members["unsigned"] = {"device_display_name": device.display_name}
            keys = orjson.dumps(members)
        devices.setdefault(device.user_id, []).append(orjson.dumps(device.device_id) + b":" + keys)
    identities: dict[UserId, dict[str, bytes]] = {}
    for user_id, usage, public_key, key in published.identities:
        if public_key in signed.signatures.get(user_id, ()):
            key = orjson.dumps(signed.signed(user_id, public_key, orjson.loads(key)))
        identities.setdefault(user_id, {})[usage] = key
    return {
        user_id: Shown(b"{%b}" % b",".join(devices.get(user_id, ())), identities.get(user_id, {}))
        for user_id in devices.keys() | identities.keys()
    }


def _by_user(signatures: Iterable[KeySignature]) -> dict[UserId, list[KeySignature]]:
    found: dict[UserId, list[KeySignature]] = {}
    for one in signatures:
        found.setdefault(one.user_id, []).append(one)
    return found


def _by_user_and_name(signatures: Iterable[KeySignature]) -> dict[UserId, dict[str, list[KeySignature]]]:
    found: dict[UserId, dict[str, list[KeySignature]]] = {}
    for one in signatures:
        found.setdefault(one.user_id, {}).setdefault(one.name, []).append(one)
    return found


class _Changes:
    """After which of them something was read: `count` is noted before the reading begins."""

    def __init__(self) -> None:
        self.count = 0
        self._of_all = 0
        self._of: dict[UserId, int] = {}

    def note(self, user_ids: Iterable[UserId]) -> None:
        self.count += 1
        for user_id in user_ids:
            self._of[user_id] = self.count
        if len(self._of) > _MOST_CHANGES:
            self.note_all()

    def note_all(self) -> None:
        self.count += 1
        self._of_all = self.count
        self._of.clear()

    def after(self, user_id: UserId, as_of: int) -> bool:
        return self._of_all > as_of or self._of.get(user_id, 0) > as_of


class _Kept(Generic[V]):
    """Values by user with the count of changes they were read at, up to a weight; the least asked for goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._weight = 0
        self._values: OrderedDict[UserId, tuple[V, int, int]] = OrderedDict()

    def get(self, user_id: UserId) -> tuple[V, int] | None:
        kept = self._values.get(user_id)
        if kept is None:
            return None
        self._values.move_to_end(user_id)
        return kept[0], kept[1]

    def put(self, user_id: UserId, value: V, as_of: int, weight: int) -> None:
        if (before := self._values.pop(user_id, None)) is not None:
            self._weight -= before[2]
        self._values[user_id] = (value, as_of, weight)
        self._weight += weight
        while self._weight > self._most:
            self._weight -= self._values.popitem(last=False)[1][2]
