"""A homeserver as far as keys go, and devices that publish there and ask it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import vodozemac

from tests.clients.encryption.published import CrossSigning as Published
from tests.clients.encryption.published import device_keys
from tricord.clients.encryption.cross_signing import CrossSigning, Usage
from tricord.clients.encryption.device_lists import DeviceLists
from tricord.clients.encryption.devices import Standing, standing
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored
from tricord.clients.encryption.stored import outgoing
from tricord.protocol.identifiers import DeviceId, UserId


class Directory:
    """What is published."""

    def __init__(self) -> None:
        self.published: dict[str, Any] = {"device_keys": {}, **{f"{usage.value}_keys": {} for usage in Usage}}

    def publish(self, user_id: UserId, keys: dict[str, Any]) -> None:
        """Publish an identity."""
        for usage in Usage:
            self.published[f"{usage.value}_keys"][user_id] = keys[f"{usage.value}_key"]

    def publish_device(self, user_id: UserId, device_id: DeviceId, keys: dict[str, Any]) -> None:
        """Publish the keys of a device."""
        self.published["device_keys"].setdefault(user_id, {})[device_id] = keys

    def take_signature(self, user_id: str, name: str, value: dict[str, Any]) -> None:
        """Add signatures to what is published."""
        places = [self.published["device_keys"].get(user_id, {}).get(name)]
        places += [
            self.published[f"{usage.value}_keys"].get(user_id)
            for usage in Usage
            if name in str(self.published[f"{usage.value}_keys"].get(user_id, {}).get("keys"))
        ]
        (place,) = (found for found in places if found is not None)
        for signer, signatures in value["signatures"].items():
            place.setdefault("signatures", {}).setdefault(signer, {}).update(signatures)


class Party:
    """A device with its store."""

    def __init__(
        self, directory: Directory, user_id: UserId, device_id: DeviceId, *, others: Iterable[UserId] = ()
    ) -> None:
        self.directory = directory
        self.user_id, self.device_id = user_id, device_id
        self.follows = {user_id, *others}
        self.account = vodozemac.Account()
        self.store = Store(None)
        self.lists = DeviceLists(self.store, user_id)
        self.signing = CrossSigning(self.store, user_id, device_id, self.sign)
        if device_id not in directory.published["device_keys"].get(user_id, {}):
            directory.publish_device(user_id, device_id, device_keys(user_id, device_id, self.account))
        self.query()

    @property
    def ed25519(self) -> str:
        """The key of the device."""
        return self.account.ed25519_key.to_base64()

    def sign(self, message: bytes) -> str:
        """Sign with the key of the device."""
        return self.account.sign(message).to_base64()

    def query(self) -> None:
        """Ask for everybody's keys, and take in what is published."""
        with self.store.transaction():
            self.lists.follow(self.follows)
            self.lists.changed(self.follows)
            (query,) = self.lists.requests(0)
            changes = self.lists.answered(query, copy.deepcopy(self.directory.published), 0)
            self.signing.notice(changes.users())

    def publish_of(self, user_id: UserId, keys: Published) -> None:
        """Publish an identity that the test holds."""
        self.directory.publish(user_id, {f"{usage}_key": keys.published(usage) for usage in keys.keys})

    def set_up(self) -> None:
        """Make an identity and publish it, with what it vouches for."""
        with self.store.transaction():
            keys = self.signing.prepare()
            self.signing.adopt()
        self.directory.publish(self.user_id, keys)
        self.upload()

    def upload(self) -> None:
        """Publish the signatures that wait for it."""
        with self.store.transaction():
            for request in outgoing.oldest(self.store, 100):
                for user_id, signed in (request.body or {}).items():
                    for name, value in signed.items():
                        self.directory.take_signature(user_id, name, value)
                outgoing.done(self.store, request.request_id)
        self.query()

    def standing(self, user_id: UserId, device_id: DeviceId) -> Standing:
        """Return how sure it is that a device is its user's."""
        return standing(stored.device(self.store, user_id, device_id), stored.identity(self.store, user_id))
