"""Keys of users: who may replace them, who signs what, and who sees it."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.homeserver.encryption.devices import Device, a_key
from tests.homeserver.encryption.identities import CrossKey, Identity
from tests.servers import PASSWORD
from tricord.clients import Client, Refused
from tricord.protocol.identifiers import DeviceId, UserId


async def seen(by: Device, of: Device) -> dict[str, Any]:
    answer = await by.client.query_keys({of.client.user_id: []})
    user_id = of.client.user_id
    return {
        "device": answer.device_keys[user_id].get(of.client.device_id),
        "master": answer.master_keys.get(user_id),
        "self_signing": answer.self_signing_keys.get(user_id),
        "user_signing": answer.user_signing_keys.get(user_id),
    }


async def test_others_see_the_master_key_and_the_self_signing_key_and_only_oneself_the_other(
    alice: Device, bob: Device
) -> None:
    identity = Identity(alice)
    await identity.upload()
    keys = identity.json()
    for_others = {"master": keys["master_key"], "self_signing": keys["self_signing_key"], "user_signing": None}
    assert await seen(bob, alice) == {"device": alice.keys(), **for_others}
    assert (await seen(alice, alice))["user_signing"] == keys["user_signing_key"]


async def test_the_first_keys_and_the_same_keys_again_need_no_password_and_others_do(alice: Device) -> None:
    identity = Identity(alice)
    await identity.upload()
    await identity.upload()
    await alice.client.upload_cross_signing_keys(self_signing_key=identity.json()["self_signing_key"])
    another = Identity(alice)
    with pytest.raises(Refused) as refusal:
        await another.upload()
    assert refusal.value.status == 401
    assert refusal.value.body["flows"]
    assert (await seen(alice, alice))["master"] == identity.json()["master_key"]
    changed = identity.master.json(more="than was there")
    with pytest.raises(Refused) as refusal:
        await alice.client.upload_cross_signing_keys(master_key=changed)
    assert refusal.value.status == 401
    newer = CrossKey(alice.client.user_id, "self_signing")
    with pytest.raises(Refused) as refusal:
        await alice.client.upload_cross_signing_keys(self_signing_key=identity.master.sign(newer.json()))
    assert refusal.value.status == 401
    await another.upload(PASSWORD)
    assert (await seen(alice, alice))["master"] == another.json()["master_key"]


async def test_of_two_who_upload_first_keys_at_once_only_one_needs_no_password(alice: Device) -> None:
    refused: list[int] = []

    async def upload() -> None:
        try:
            await Identity(alice).upload()
        except Refused as refusal:
            refused.append(refusal.status)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(upload)
    assert refused == [401, 401, 401]


async def test_a_new_master_key_takes_away_what_the_old_one_vouched_for(alice: Device) -> None:
    await Identity(alice).upload()
    master = CrossKey(alice.client.user_id, "master").json()
    await alice.client.upload_cross_signing_keys(master_key=master, password=PASSWORD)
    now = await seen(alice, alice)
    assert (now["master"], now["self_signing"], now["user_signing"]) == (master, None, None)


@pytest.mark.parametrize(
    ("changed", "errcode"),
    [
        ({"user_id": "@bob:hs.test"}, "M_INVALID_PARAM"),
        ({"usage": ["self_signing"]}, "M_INVALID_PARAM"),
        ({"usage": []}, "M_INVALID_PARAM"),
        ({"usage": "master"}, "M_INVALID_PARAM"),
        ({"keys": {}}, "M_INVALID_PARAM"),
        ({"keys": {"ed25519:x": "x"}}, "M_INVALID_PARAM"),
        ({"keys": {f"ed25519:{a_key()}": a_key(1)}}, "M_INVALID_PARAM"),
        ({"keys": {f"ed25519:{a_key()}=": a_key() + "="}}, "M_INVALID_PARAM"),
        ({"keys": {f"ed25519:{a_key()}": a_key(), f"ed25519:{a_key(1)}": a_key(1)}}, "M_INVALID_PARAM"),
        ({"keys": []}, "M_INVALID_PARAM"),
        ({"signatures": []}, "M_INVALID_PARAM"),
        ({"more": 1.5}, "M_INVALID_PARAM"),
        ({"more": "x" * 20_000}, "M_INVALID_PARAM"),
    ],
)
async def test_a_master_key_of_a_wrong_form_is_refused(alice: Device, changed: dict[str, Any], errcode: str) -> None:
    key = CrossKey(alice.client.user_id, "master").json(**changed)
    with pytest.raises(Refused) as refusal:
        await alice.client.upload_cross_signing_keys(master_key=key)
    assert (refusal.value.status, refusal.value.errcode) == (400, errcode)
    assert (await seen(alice, alice))["master"] is None


async def test_keys_that_the_master_key_has_not_signed_are_refused(alice: Device) -> None:
    identity, another = Identity(alice), Identity(alice)
    keys = identity.json()
    with pytest.raises(Refused) as refusal:
        await alice.client.upload_cross_signing_keys(self_signing_key=keys["self_signing_key"])
    assert refusal.value.errcode == "M_MISSING_PARAM"
    with pytest.raises(Refused) as refusal:
        await alice.client.upload_cross_signing_keys(**{**keys, "user_signing_key": another.json()["user_signing_key"]})
    assert refusal.value.errcode == "M_INVALID_SIGNATURE"
    assert (await seen(alice, alice))["master"] is None


async def test_a_device_and_a_key_cannot_have_the_same_name(alice: Device) -> None:
    identity = Identity(alice)
    async with Client(alice.client.http.base_url) as phone:
        await phone.login("alice", PASSWORD, device_id=DeviceId(identity.master.name))
        with pytest.raises(Refused) as refusal:
            await identity.upload()
        assert refusal.value.status == 403
        await alice.client.delete_device(phone.device_id, PASSWORD)
        await identity.upload()
        with pytest.raises(Refused) as refusal:
            await phone.login("alice", PASSWORD, device_id=DeviceId(identity.master.name))
        assert refusal.value.status == 403
    sleeper = Device(alice.client, DeviceId(identity.master.name))
    with pytest.raises(Refused) as refusal:
        await alice.client.put_dehydrated_device(sleeper.device_id, {"algorithm": "x"}, sleeper.keys())
    assert refusal.value.status == 403


async def test_signatures_on_own_devices_and_the_own_master_key_are_for_everybody(alice: Device, bob: Device) -> None:
    identity = Identity(alice)
    await identity.upload()
    device = identity.self_signing.sign(alice.keys())
    master = alice.sign(identity.master.json())
    failures = await alice.client.upload_signatures(
        {alice.client.user_id: {alice.client.device_id: device, identity.master.name: master}}
    )
    assert failures == {}
    for by in (alice, bob):
        found = await seen(by, alice)
        assert found["device"]["signatures"] == device["signatures"]
        assert found["master"]["signatures"] == master["signatures"]
    await alice.client.upload_keys({**alice.keys(algorithms=["m.megolm.v1.aes-sha2"])})
    assert identity.self_signing.key_id not in str((await seen(bob, alice))["device"])


async def test_whom_one_vouches_for_only_oneself_sees_and_is_told_on_all_devices(alice: Device, bob: Device) -> None:
    identity, other = Identity(alice), Identity(bob)
    await identity.upload()
    await other.upload()
    a, b = (await alice.client.sync())["next_batch"], (await bob.client.sync())["next_batch"]
    signed = identity.user_signing.sign(other.master.json())
    assert await alice.client.upload_signatures({bob.client.user_id: {other.master.name: signed}}) == {}
    assert (await seen(alice, bob))["master"]["signatures"] == signed["signatures"]
    assert "signatures" not in (await seen(bob, bob))["master"]
    assert (await alice.client.sync(since=a))["device_lists"]["changed"] == [bob.client.user_id]
    assert (await bob.client.sync(since=b))["device_lists"]["changed"] == []


async def test_bad_signatures_are_named_and_the_good_ones_are_kept(alice: Device, bob: Device) -> None:
    identity, other = Identity(alice), Identity(bob)
    await identity.upload()
    await other.upload()
    good = identity.self_signing.sign(alice.keys())
    forged = identity.user_signing.sign(other.master.json())
    forged["signatures"][alice.client.user_id][identity.user_signing.key_id] = good["signatures"][alice.client.user_id][
        identity.self_signing.key_id
    ]
    failures = await alice.client.upload_signatures(
        {
            alice.client.user_id: {
                alice.client.device_id: good,
                "NOWHERE": alice.keys(),
                identity.master.name: identity.self_signing.sign(identity.master.json()),
            },
            bob.client.user_id: {
                other.master.name: forged,
                other.self_signing.name: identity.user_signing.sign(other.self_signing.json()),
                bob.client.device_id: identity.user_signing.sign(bob.keys()),
            },
            UserId("@nobody:hs.test"): {"x": {}},
        }
    )
    alices, bobs = failures[alice.client.user_id], failures[bob.client.user_id]
    assert {name: error["errcode"] for name, error in alices.items()} == {
        "NOWHERE": "M_NOT_FOUND",
        identity.master.name: "M_INVALID_SIGNATURE",
    }
    assert {name: error["errcode"] for name, error in bobs.items()} == {
        other.master.name: "M_INVALID_SIGNATURE",
        other.self_signing.name: "M_NOT_FOUND",
        bob.client.device_id: "M_NOT_FOUND",
    }
    assert failures["@nobody:hs.test"]["x"]["errcode"] == "M_NOT_FOUND"
    assert (await seen(bob, alice))["device"]["signatures"] == good["signatures"]
    assert "signatures" not in (await seen(alice, bob))["master"]


async def test_another_key_under_a_known_name_is_not_signed(alice: Device) -> None:
    identity = Identity(alice)
    await identity.upload()
    changed = identity.self_signing.sign({**alice.keys(), "algorithms": []})
    failures = await alice.client.upload_signatures({alice.client.user_id: {alice.client.device_id: changed}})
    assert failures[alice.client.user_id][alice.client.device_id]["errcode"] == "M_INVALID_PARAM"


async def test_one_cannot_sign_for_somebody_else(alice: Device, bob: Device) -> None:
    identity = Identity(alice)
    await identity.upload()
    device = identity.self_signing.sign(alice.keys())
    failures = await bob.client.upload_signatures({alice.client.user_id: {alice.client.device_id: device}})
    assert failures[alice.client.user_id][alice.client.device_id]["errcode"] == "M_NOT_FOUND"
    assert (await seen(bob, alice))["device"] == alice.keys()
