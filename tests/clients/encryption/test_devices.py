"""Devices and identities are read strictly, and followed through changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from vodozemac import Account

from tests.clients.encryption.published import CrossSigning, device_keys
from tricord.clients.encryption.device_lists import DeviceLists
from tricord.clients.encryption.devices import Device, Identity, Standing, Trust, standing
from tricord.clients.encryption.errors import InvalidKeys
from tricord.clients.encryption.store import Store
from tricord.clients.encryption.stored import devices as stored
from tricord.protocol.identifiers import DeviceId, UserId

ALICE, BOB, PHONE, TABLET = UserId("@alice:localhost"), UserId("@bob:elsewhere"), DeviceId("PHONE"), DeviceId("TABLET")


def test_a_device_is_read_as_it_was_published() -> None:
    device = Device.parse(ALICE, PHONE, device_keys(ALICE, PHONE, unsigned={"device_display_name": "Phone"}))
    assert device.can_read
    assert device.display_name == "Phone"
    assert ALICE in device.signatures


@pytest.mark.parametrize(
    "changed",
    [
        {"user_id": BOB},
        {"device_id": TABLET},
        {"algorithms": "m.olm"},
        {"algorithms": [1]},
        {"keys": {}},
        {"keys": {f"ed25519:{PHONE}": "AAAA", f"curve25519:{PHONE}": "AAAA"}},
        {"keys": {f"ed25519:{PHONE}": 1, f"curve25519:{PHONE}": ["x"]}},
        {"keys": []},
    ],
)
def test_a_device_that_is_not_as_it_must_be_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidKeys):
        Device.parse(ALICE, PHONE, device_keys(ALICE, PHONE, **changed))


def test_a_device_that_did_not_sign_itself_is_refused() -> None:
    keys = device_keys(ALICE, PHONE)
    wrong: tuple[Any, ...] = ({}, {ALICE: {}}, {ALICE: {f"ed25519:{PHONE}": "AAAA"}}, None, {ALICE: 1})
    for signatures in wrong:
        with pytest.raises(InvalidKeys):
            Device.parse(ALICE, PHONE, {**keys, "signatures": signatures})
    with pytest.raises(InvalidKeys):
        Device.parse(ALICE, PHONE, {**keys, "algorithms": ["m.olm.v1.curve25519-aes-sha2"]})
    with pytest.raises(InvalidKeys):
        Device.parse(ALICE, PHONE, None)


def test_an_identity_vouches_for_the_devices_it_signed() -> None:
    keys = CrossSigning(ALICE)
    identity = Identity.parse(ALICE, *(keys.published(usage) for usage in keys.keys))
    published = device_keys(ALICE, PHONE)
    unsigned, signed = (
        Device.parse(ALICE, PHONE, published),
        Device.parse(ALICE, PHONE, keys.sign(published, "self_signing")),
    )
    assert standing(None, identity) is Standing.UNKNOWN
    assert standing(unsigned, identity) is Standing.UNSIGNED
    assert standing(unsigned, None) is Standing.UNSIGNED
    assert standing(signed, identity) is Standing.CROSS_SIGNED
    verified = replace(identity, verified=identity.master)
    assert standing(signed, verified) is Standing.VERIFIED
    assert standing(unsigned, verified) is Standing.UNSIGNED
    assert identity.user_signing == keys.public("user_signing")


def test_cross_signing_keys_that_the_master_key_did_not_sign_are_refused() -> None:
    keys, others = CrossSigning(ALICE), CrossSigning(ALICE)
    with pytest.raises(InvalidKeys):
        Identity.parse(ALICE, keys.published("master"), others.published("self_signing"))
    with pytest.raises(InvalidKeys):
        Identity.parse(ALICE, keys.published("master"), keys.published("user_signing"))
    with pytest.raises(InvalidKeys):
        Identity.parse(BOB, keys.published("master"), keys.published("self_signing"))
    for malformed in (None, {}, {**keys.published("master"), "keys": {"ed25519:x": keys.public("master")}}):
        with pytest.raises(InvalidKeys):
            Identity.parse(ALICE, malformed, keys.published("self_signing"))


class Followed:
    """Device lists, and the homeserver's answers."""

    def __init__(self, *user_ids: UserId) -> None:
        self.store = Store(None)
        self.lists = DeviceLists(self.store, ALICE, DeviceId("OURS"))
        with self.store.transaction():
            self.lists.follow(user_ids)

    def answer(self, answer: Any) -> Any:
        (query,) = self.lists.requests(0)
        with self.store.transaction():
            return self.lists.answered(query, answer, 0)

    def devices(self, user_id: UserId) -> dict[DeviceId, Device]:
        return stored.devices_of(self.store, user_id)


def test_one_bad_device_harms_only_itself() -> None:
    followed = Followed(ALICE, BOB)
    bad = {"": {}, "X": None, "Y": device_keys(BOB, "Y"), "Z": {**device_keys(ALICE, "Z"), "signatures": 5}}
    answer = {"device_keys": {ALICE: {**bad, PHONE: device_keys(ALICE, PHONE)}, BOB: "nonsense"}, "master_keys": []}
    followed.answer(answer)
    assert set(followed.devices(ALICE)) == {PHONE}
    assert followed.lists.requests(0) == []


def test_the_keys_of_a_known_device_never_change() -> None:
    followed = Followed(ALICE)
    account = Account()
    followed.answer({"device_keys": {ALICE: {PHONE: device_keys(ALICE, PHONE, account)}}})
    with followed.store.transaction():
        followed.lists.changed([ALICE])
    changes = followed.answer({"device_keys": {ALICE: {PHONE: device_keys(ALICE, PHONE)}}})
    assert changes.refused_devices == [(ALICE, PHONE)]
    assert followed.devices(ALICE)[PHONE].ed25519 == account.ed25519_key.to_base64()


def test_a_device_is_not_named_like_a_cross_signing_key() -> None:
    """CVE-2022-39250: a device id confused with a cross-signing key."""
    followed = Followed(ALICE)
    keys = CrossSigning(ALICE)
    name = keys.public("master")
    followed.answer({"device_keys": {ALICE: {name: device_keys(ALICE, name)}}, **keys.answer()})
    assert followed.devices(ALICE) == {}


def test_a_change_during_a_query_is_asked_for_again() -> None:
    followed = Followed(ALICE)
    (first,) = followed.lists.requests(0)
    with followed.store.transaction():
        followed.lists.changed([ALICE, BOB])
    assert followed.lists.requests(0) == [first]
    assert followed.lists.lacks([ALICE], 0)
    followed.answer({"device_keys": {ALICE: {}}})
    (second,) = followed.lists.requests(0)
    assert second.request_id != first.request_id
    followed.answer({"device_keys": {ALICE: {PHONE: device_keys(ALICE, PHONE)}}})
    assert not followed.lists.lacks([ALICE, BOB], 0)
    assert set(followed.devices(ALICE)) == {PHONE}


def test_servers_that_do_not_answer_are_asked_again_later() -> None:
    followed = Followed(ALICE, BOB)
    followed.answer({"device_keys": {ALICE: {}}, "failures": {"elsewhere": {}}})
    assert followed.lists.requests(1) == []
    assert not followed.lists.lacks([BOB], 1)
    (query,) = followed.lists.requests(120_000)
    assert list(query.users) == [BOB]
    with followed.store.transaction():
        followed.lists.refused(query, 120_000)
    assert followed.lists.requests(120_001) == []
    with followed.store.transaction():
        followed.lists.changed([BOB])
    assert len(followed.lists.requests(120_002)) == 1


def test_who_left_is_not_followed_but_ourselves_are() -> None:
    followed = Followed(ALICE, BOB)
    followed.answer({})
    with followed.store.transaction():
        followed.lists.left([ALICE, BOB, 5])
        followed.lists.changed([ALICE, BOB, None])
    (query,) = followed.lists.requests(0)
    assert list(query.users) == [ALICE]


def test_a_device_that_is_gone_is_remembered_without_trust() -> None:
    followed = Followed(ALICE)
    keys = device_keys(ALICE, PHONE)
    followed.answer({"device_keys": {ALICE: {PHONE: keys}}})
    with followed.store.transaction():
        device = stored.device(followed.store, ALICE, PHONE)
        assert device is not None
        stored.keep_device(followed.store, Device.parse(ALICE, PHONE, keys))
        stored.mark_all_changed(followed.store)
    changes = followed.answer({"device_keys": {}})
    assert [device.device_id for device in changes.gone_devices] == [PHONE]
    assert followed.devices(ALICE) == {}
    (gone,) = stored.devices_by_key(followed.store, device.curve25519)
    assert gone.gone
    assert gone.trust is Trust.UNSET
    assert not gone.can_read


def test_an_identity_that_changes_is_a_violation_until_it_is_accepted() -> None:
    """CVE-2024-40648, CVE-2024-52813: a change of identity is surfaced."""
    followed = Followed(ALICE)
    first, second = CrossSigning(ALICE), CrossSigning(ALICE)
    changes = followed.answer(first.answer())
    assert [identity.master for identity in changes.new_identities] == [first.public("master")]
    with followed.store.transaction():
        stored.mark_all_changed(followed.store)
    changes = followed.answer(second.answer())
    (changed,) = changes.changed_identities
    assert changed.has_changed
    assert changed.pinned == first.public("master")
    assert not changed.accepted().has_changed
    # A homeserver cannot make the identity go away.
    with followed.store.transaction():
        stored.mark_all_changed(followed.store)
    followed.answer({})
    kept = stored.identity(followed.store, ALICE)
    assert kept is not None
    assert kept.has_changed


def test_many_users_are_asked_for_in_bounded_queries() -> None:
    followed = Followed(*(UserId(f"@u{number}:localhost") for number in range(1001)))
    queries = followed.lists.requests(0)
    assert max(len(query.users) for query in queries) <= 250
    assert sum(len(query.users) for query in queries) == 1001
    assert followed.lists.requests(0) == queries
