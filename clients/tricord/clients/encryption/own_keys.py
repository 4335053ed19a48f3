"""Our own keys: of the device, one-time keys and the fallback key, and publishing them.

https://spec.matrix.org/v1.19/client-server-api/#uploading-keys
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from vodozemac import Account, Curve25519PublicKey

from tricord.clients.encryption.devices import MEGOLM, OLM, Device, Trust
from tricord.clients.encryption.errors import NotThisDevice
from tricord.clients.encryption.requests import KeysUpload
from tricord.clients.encryption.store import PICKLE_KEY, Store
from tricord.clients.encryption.stored import devices as stored
from tricord.protocol.identifiers import DeviceId, UserId
from tricord.protocol.signing import signed_bytes
from tricord.protocol.strict_json import JsonObject

_log = logging.getLogger(__name__)

_ONE_TIME = "signed_curve25519"
_HOUR_MS = 3_600_000
_RETRY_MS = 60_000


class OwnKeys:
    """The account of this device.

    The homeserver has half as many one-time keys as it may, so that some are left for those that were given out and
    not used yet. A fallback key that was used is replaced, and forgotten an hour later.
    """

    def __init__(self, store: Store, user_id: UserId, device_id: DeviceId, clock: Callable[[], int]) -> None:
        """Read the account, or make one. Raises NotThisDevice if the store is another device's."""
        self._store = store
        self._clock = clock
        self.user_id = user_id
        self.device_id = device_id
        self._under_way: KeysUpload | None = None
        self._device_keys: JsonObject | None = None
        # The account that is stored as these bytes, which no two are: making it out of them takes long.
        self._at_hand: tuple[bytes, Account] | None = None
        with store.transaction():
            owner = store.value("owner")
            if owner is None:
                store.keep_value("owner", [user_id, device_id])
                self._make_account()
            elif owner != [user_id, device_id]:
                raise NotThisDevice(f"the store of keys belongs to the device {owner[1]} of {owner[0]}")
        account = self.account()
        self.ed25519 = account.ed25519_key.to_base64()
        self.curve25519 = account.curve25519_key.to_base64()

    def account(self) -> Account:
        """Return the account as it is stored; what changes it keeps it."""
        row = self._store.row("SELECT value FROM stored_values WHERE name = 'account'")
        assert row is not None  # noqa: S101  # it was made with the store
        sealed, account = self._at_hand or (b"", None)
        # Whoever has it may change it, and then fail: it is at hand again when it is kept.
        self._at_hand = None
        if account is not None and sealed == row["value"]:
            return account
        return Account.from_pickle(self._store.unseal("account", row["value"]).decode(), PICKLE_KEY)

    def keep_account(self, account: Account) -> None:
        """Keep what has changed in the account; whoever calls it changes nothing afterwards."""
        sealed = self._store.seal("account", account.pickle(PICKLE_KEY).encode())
        self._at_hand = (sealed, account)
        self._store.change("INSERT OR REPLACE INTO stored_values (name, value) VALUES ('account', ?)", sealed)

    def device(self) -> Device:
        """Return our device as others see it, with all signatures on it that we know."""
        device = stored.device(self._store, self.user_id, self.device_id)
        assert device is not None  # noqa: S101  # it was made with the store
        return device

    def device_keys(self) -> JsonObject:
        """Return what is signed of our device."""
        if self._device_keys is None:
            self._device_keys = {key: value for key, value in self.device().keys.items() if key != "unsigned"}
        return self._device_keys

    def device_has_changed(self) -> None:
        """Take in that there may be other signatures on our device."""
        self._device_keys = None

    def sign(self, signed: JsonObject) -> JsonObject:
        """Return an object with the signature of our device."""
        return self._signed(self.account(), signed)

    # Publishing.

    def counted(self, counts: Any, unused_fallback: Any) -> None:
        """Take in how many one-time keys the homeserver has, and of what it has a fallback key that is unused."""
        now_ms = self._clock()
        account = self.account()
        before = account.pickle(PICKLE_KEY)
        if isinstance(counts, dict) and self._under_way is None and not account.one_time_keys:
            # Of an algorithm that is not named there are none.
            count = counts.get(_ONE_TIME, 0)
            missing = account.max_number_of_one_time_keys // 2 - (count if isinstance(count, int) else 0)
            if missing > 0 and self._store.value("device_is_published"):
                account.generate_one_time_keys(missing)
        if isinstance(unused_fallback, list) and self._under_way is None and not _unpublished_fallback(account):
            used_at_ms = self._store.value("fallback_used_at_ms")
            if _ONE_TIME not in unused_fallback:
                _new_fallback_key(account)
                self._store.keep_value("fallback_used_at_ms", now_ms)
            elif used_at_ms is not None and now_ms - used_at_ms > _HOUR_MS:
                # An account knows two fallback keys: a further one drives out the one that was used.
                _new_fallback_key(account)
                self._store.keep_value("fallback_used_at_ms", None)
        if account.pickle(PICKLE_KEY) != before:
            self.keep_account(account)

    @property
    def is_published(self) -> bool:
        """Whether our keys ever were published."""
        return self._store.value("device_is_published") is not None

    def publish_again(self) -> None:
        """Publish the keys of the device once more: the homeserver has forgotten them."""
        if self._store.value("device_is_published"):
            self._store.keep_value("device_is_published", value=False)

    def looked_up(self, *, has_other_keys: bool) -> None:
        """Take in what the homeserver knew of our device before we have published anything."""
        if not self.is_published:
            self._store.keep_value("device_is_free", not has_other_keys)

    def requests(self) -> list[KeysUpload]:
        """Return the upload to make, if there is something to publish. Raises NotThisDevice.

        The keys of a device never change: those who know it would refuse others. First it is seen whether it has any.
        """
        is_free = self._store.value("device_is_free")
        if is_free is False:
            raise NotThisDevice(
                f"the device {self.device_id} of {self.user_id} has keys already, and they are not in this store:"
                " sign in as a new device"
            )
        if is_free and self._under_way is None and self._clock() >= (self._store.value("upload_after_ms") or 0):
            account = self.account()
            device_keys = None if self._store.value("device_is_published") else self.device_keys()
            one_time_keys = self._named(account, account.one_time_keys)
            fallback_keys = self._named(account, _unpublished_fallback(account), fallback=True)
            if device_keys or one_time_keys or fallback_keys:
                self._under_way = KeysUpload(
                    device_keys=device_keys, one_time_keys=one_time_keys, fallback_keys=fallback_keys
                )
        return [] if self._under_way is None else [self._under_way]

    def answered(self, answer: Any) -> None:
        """Take in that the keys are published."""
        upload, self._under_way = self._under_way, None
        account = self.account()
        account.mark_keys_as_published()
        self.keep_account(account)
        if upload is not None and upload.device_keys is not None:
            self._store.keep_value("device_is_published", value=True)
        self.counted(answer.get("one_time_key_counts") if isinstance(answer, dict) else None, None)

    def refused(self, status: int) -> None:
        """Take in that the homeserver did not take the keys; after a while there is another try.

        Where the store was restored from a copy, the ids of its keys were given to others: these are never accepted,
        and new ones are made.
        """
        upload, self._under_way = self._under_way, None
        self._store.keep_value("upload_after_ms", self._clock() + _RETRY_MS)
        if status == 400 and upload is not None and upload.one_time_keys:
            _log.warning("the homeserver refuses our one-time keys: making others")
            account = self.account()
            account.mark_keys_as_published()
            account.generate_one_time_keys(len(upload.one_time_keys))
            if upload.fallback_keys:
                _new_fallback_key(account)
            self.keep_account(account)

    def _make_account(self) -> None:
        account = Account()
        account.generate_one_time_keys(account.max_number_of_one_time_keys // 2)
        _new_fallback_key(account)
        self.keep_account(account)
        keys = {
            "user_id": self.user_id,
            "device_id": self.device_id,
            "algorithms": [OLM, MEGOLM],
            "keys": {
                f"ed25519:{self.device_id}": account.ed25519_key.to_base64(),
                f"curve25519:{self.device_id}": account.curve25519_key.to_base64(),
            },
        }
        parsed = Device.parse(self.user_id, self.device_id, self._signed(account, keys))
        device = Device(self.user_id, self.device_id, parsed.ed25519, parsed.curve25519, parsed.keys, Trust.VERIFIED)
        stored.keep_device(self._store, device)
        # Our other devices are those of somebody we share rooms with, always.
        stored.track(self._store, [self.user_id])

    def _named(
        self, account: Account, keys: dict[str, Curve25519PublicKey], *, fallback: bool = False
    ) -> dict[str, JsonObject]:
        mark: JsonObject = {"fallback": True} if fallback else {}
        return {
            f"{_ONE_TIME}:{key_id}": self._signed(account, {"key": key.to_base64(), **mark})
            for key_id, key in keys.items()
        }

    def _signed(self, account: Account, signed: JsonObject) -> JsonObject:
        signature = account.sign(signed_bytes(signed)).to_base64()
        signatures = {user_id: dict(names) for user_id, names in signed.get("signatures", {}).items()}
        signatures.setdefault(self.user_id, {})[f"ed25519:{self.device_id}"] = signature
        return {**signed, "signatures": signatures}


def _new_fallback_key(account: Account) -> None:
    account.generate_fallback_key()  # type: ignore[attr-defined]  # it is missing in the stubs of vodozemac


def _unpublished_fallback(account: Account) -> dict[str, Curve25519PublicKey]:
    found: dict[str, Curve25519PublicKey] = account.fallback_key  # type: ignore[attr-defined]  # as above
    return found
