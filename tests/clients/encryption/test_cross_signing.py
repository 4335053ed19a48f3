"""Our own identity vouches for devices and users, and a homeserver cannot slip in another one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import vodozemac

from tests.clients.encryption.directory import Directory, Party
from tests.clients.encryption.published import CrossSigning as Published
from tests.clients.encryption.published import device_keys
from tricord.clients.encryption.cross_signing import CrossSigning, PrivateKey, Usage, signed_with
from tricord.clients.encryption.devices import Identity, Standing, check_signature
from tricord.clients.encryption.errors import Forged, Malformed
from tricord.clients.encryption.stored import devices as stored
from tricord.clients.encryption.stored import outgoing
from tricord.protocol.identifiers import DeviceId, UserId

ALICE, BOB = UserId("@alice:example.org"), UserId("@bob:example.org")
PHONE, TABLET = DeviceId("PHONE"), DeviceId("TABLET")


class Own(Party):
    """A device of Alice's, on a homeserver of its own unless told otherwise."""

    def __init__(self, directory: Directory | None = None, device_id: DeviceId = PHONE) -> None:
        super().__init__(directory or Directory(), ALICE, device_id, others=(BOB,))

    @property
    def published(self) -> dict[str, Any]:
        return self.directory.published


def _is_verified(own: Own, user_id: UserId) -> bool:
    identity = stored.identity(own.store, user_id)
    assert identity is not None
    return identity.is_verified


@pytest.fixture
def own() -> Own:
    return Own()


def test_a_new_identity_is_complete_verified_and_vouches_for_its_device(own: Own) -> None:
    assert own.standing(ALICE, PHONE) is Standing.UNSIGNED
    own.set_up()
    assert own.signing.is_complete
    assert own.signing.is_verified
    assert own.standing(ALICE, PHONE) is Standing.VERIFIED
    identity = own.signing.identity
    assert identity is not None
    check_signature(identity.master_key, ALICE, PHONE, own.account.ed25519_key.to_base64(), "the master key")


def test_signatures_that_are_published_are_not_published_again(own: Own) -> None:
    own.set_up()
    with own.store.transaction():
        own.signing.vouch_for_this_device()
    assert outgoing.oldest(own.store, 10) == []


def test_prepared_keys_are_the_same_until_they_are_published_however_often_we_are_killed(own: Own) -> None:
    with own.store.transaction():
        first = own.signing.prepare()
    with own.store.transaction():
        again = CrossSigning(own.store, ALICE, PHONE, own.sign).prepare()
    assert first == again
    assert own.signing.private(Usage.MASTER) is None
    own.directory.publish(ALICE, first)
    own.query()
    with own.store.transaction():
        assert own.signing.adopt_if_published()
        assert not own.signing.adopt_if_published()
    assert own.signing.is_complete


def test_a_private_key_that_is_not_the_published_one_is_not_used(own: Own) -> None:
    own.set_up()
    own.publish_of(ALICE, Published(ALICE))
    own.query()
    assert own.signing.secrets() == {}
    assert not own.signing.is_verified


def test_another_identity_for_ourselves_is_surfaced_and_vouches_for_nothing(own: Own) -> None:
    """CVE-2024-40648 and CVE-2024-52813: our own identity is checked too."""
    own.set_up()
    assert not own.signing.was_replaced
    forged = Published(ALICE)
    own.publish_of(ALICE, forged)
    tablet = forged.sign(device_keys(ALICE, TABLET), "self_signing")
    own.published["device_keys"][ALICE][TABLET] = tablet
    bobs = Published(BOB)
    own.publish_of(BOB, bobs)
    master = own.published["master_keys"][BOB]
    own.published["master_keys"][BOB] = forged.sign(master, "user_signing")
    own.query()
    assert own.signing.was_replaced
    assert own.standing(ALICE, TABLET) is Standing.CROSS_SIGNED
    assert not _is_verified(own, BOB)


def test_a_verified_user_is_signed_and_known_to_our_other_devices(own: Own) -> None:
    own.set_up()
    bobs = Published(BOB)
    own.publish_of(BOB, bobs)
    own.published["device_keys"][BOB] = {TABLET: bobs.sign(device_keys(BOB, TABLET), "self_signing")}
    own.query()
    assert own.standing(BOB, TABLET) is Standing.CROSS_SIGNED
    with own.store.transaction():
        assert own.signing.verify_user(BOB, bobs.public("master"))
    own.upload()
    assert own.standing(BOB, TABLET) is Standing.VERIFIED
    other, identity = Own(own.directory), own.signing.identity
    assert identity is not None
    assert other.standing(BOB, TABLET) is Standing.CROSS_SIGNED
    with other.store.transaction():
        other.signing.accept_own_identity(identity.master)
    assert other.standing(BOB, TABLET) is Standing.VERIFIED


def test_a_verified_user_who_has_another_identity_is_surfaced_and_no_longer_verified(own: Own) -> None:
    own.set_up()
    bobs = Published(BOB)
    own.publish_of(BOB, bobs)
    own.query()
    with own.store.transaction():
        own.signing.verify_user(BOB, bobs.public("master"))
    own.upload()
    forged = Published(BOB)
    own.publish_of(BOB, forged)
    own.published["device_keys"][BOB] = {TABLET: forged.sign(device_keys(BOB, TABLET), "self_signing")}
    own.query()
    identity = stored.identity(own.store, BOB)
    assert identity is not None
    assert identity.has_changed
    assert identity.was_verified
    assert own.standing(BOB, TABLET) is Standing.CROSS_SIGNED
    with own.store.transaction():
        assert not own.signing.verify_user(BOB, bobs.public("master"))
        assert not own.signing.accept_change(BOB, bobs.public("master"))
        assert own.signing.accept_change(BOB, forged.public("master"))
    accepted = stored.identity(own.store, BOB)
    assert accepted is not None
    assert not accepted.has_changed
    assert not accepted.is_verified


def test_a_signature_of_another_user_verifies_nobody(own: Own) -> None:
    own.set_up()
    bobs, mallorys = Published(BOB), Published(ALICE)
    own.publish_of(BOB, bobs)
    master = own.published["master_keys"][BOB]
    user_signing = own.signing.private(Usage.USER_SIGNING)
    assert user_signing is not None
    forged = mallorys.sign(master, "user_signing")["signatures"]
    own.published["master_keys"][BOB] = {
        **master,
        "signatures": {**forged, ALICE: {f"ed25519:{user_signing.public}": forged[ALICE].popitem()[1]}},
    }
    own.query()
    assert not _is_verified(own, BOB)


def test_a_device_of_ours_is_verified_by_its_key_and_not_by_its_name(own: Own) -> None:
    own.set_up()
    tablet = vodozemac.Account()
    own.published["device_keys"][ALICE][TABLET] = device_keys(ALICE, TABLET, tablet)
    own.query()
    with own.store.transaction():
        assert not own.signing.verify_device(ALICE, TABLET, PrivateKey.generate().public)
        assert not own.signing.verify_device(ALICE, DeviceId("OTHER"), tablet.ed25519_key.to_base64())
        assert own.signing.verify_device(ALICE, TABLET, tablet.ed25519_key.to_base64())
    own.upload()
    device, identity = stored.device(own.store, ALICE, TABLET), own.signing.identity
    assert device is not None
    assert identity is not None
    assert identity.vouches_for(device)


def test_secrets_are_taken_only_if_they_belong_to_what_is_published(own: Own) -> None:
    own.set_up()
    secrets = own.signing.secrets()
    assert set(secrets) == {usage.secret_name for usage in Usage}
    other = Own(own.directory)
    with other.store.transaction():
        with pytest.raises(Forged):
            other.signing.take_secret("m.cross_signing.master", PrivateKey.generate().secret)
        with pytest.raises(Forged):
            other.signing.take_secret("m.cross_signing.master", secrets["m.cross_signing.self_signing"])
        for malformed in ("", "!", "AAAA"):
            with pytest.raises(Malformed):
                other.signing.take_secret("m.cross_signing.master", malformed)
        assert not other.signing.is_verified
        for name, secret in secrets.items():
            other.signing.take_secret(name, secret)
    assert other.signing.is_complete
    assert other.signing.is_verified


@pytest.mark.parametrize("order", [1, -1])
def test_a_device_is_vouched_for_in_whichever_order_the_secrets_come(own: Own, order: int) -> None:
    own.set_up()
    tablet = Own(own.directory, TABLET)
    with tablet.store.transaction():
        for name, secret in sorted(own.signing.secrets().items())[::order]:
            tablet.signing.take_secret(name, secret)
    tablet.upload()
    assert tablet.standing(ALICE, TABLET) is Standing.VERIFIED
    own.query()
    assert own.standing(ALICE, TABLET) is Standing.VERIFIED


def test_a_private_key_does_not_show_itself_in_logs() -> None:
    key = PrivateKey.generate()
    assert key.secret not in repr(key)


def test_what_is_signed_is_the_object_without_signatures_and_unsigned(own: Own) -> None:
    what = {"a": 1, "signatures": {BOB: {"ed25519:X": "y"}}, "unsigned": {"b": 2}}
    signed = signed_with(ALICE, PHONE, own.sign, what)
    assert signed["signatures"].keys() == {ALICE}
    check_signature(signed, ALICE, PHONE, own.account.ed25519_key.to_base64(), "it")
    assert "unsigned" not in signed


def test_an_identity_without_keys_here_vouches_for_nothing(own: Own) -> None:
    bobs = Published(BOB)
    own.publish_of(BOB, bobs)
    own.query()
    identity = stored.identity(own.store, BOB)
    assert isinstance(identity, Identity)
    with own.store.transaction():
        stored.keep_identity(own.store, replace(identity, verified=None))
        own.signing.vouch_for_this_device()
        assert own.signing.verify_user(BOB, bobs.public("master"))
    assert outgoing.oldest(own.store, 10) == []
