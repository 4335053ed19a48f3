"""Keys of devices: what is taken in, who is given them, and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from tests.homeserver.encryption.devices import ALGORITHM, Device, a_key, another_device
from tests.servers import PASSWORD, running_homeserver
from tricord.clients import Client, Refused

AGES_AGO = {"@mallory:hs.test": {"ed25519:X": a_key()}}


async def claimed(by: Client, device: Device) -> dict[str, Any]:
    answer = await by.claim_keys({device.client.user_id: {device.client.device_id: ALGORITHM}})
    keys: dict[str, Any] = answer.one_time_keys.get(device.client.user_id, {}).get(device.client.device_id, {})
    return keys


async def test_others_see_the_keys_of_a_device_and_its_name(alice: Device, bob: Device) -> None:
    await alice.client.upload_keys(alice.keys())
    await alice.client.rename_device(alice.client.device_id, "Phone")
    found = (await bob.client.query_keys({alice.client.user_id: []})).device_keys[alice.client.user_id]
    assert found == {alice.client.device_id: {**alice.keys(), "unsigned": {"device_display_name": "Phone"}}}


async def test_only_the_devices_asked_for_are_told(alice: Device, bob: Device) -> None:
    await alice.client.upload_keys(alice.keys())
    async with another_device(alice.client) as phone:
        await phone.upload_keys(Device(phone).keys())
        found = await bob.client.query_keys({alice.client.user_id: [phone.device_id]})
        assert list(found.device_keys[alice.client.user_id]) == [phone.device_id]


@pytest.mark.parametrize(
    "changed",
    [
        {"user_id": "@bob:hs.test"},
        {"device_id": "OTHER"},
        {"algorithms": "m.olm.v1.curve25519-aes-sha2"},
        {"algorithms": ["x" * 100_000]},
        {"algorithms": [1]},
        {"keys": {}},
        {"keys": {"curve25519:OTHER": a_key()}},
        {"keys": []},
        {"keys": {"ed25519:{device}": 1}},
        {"keys": {"ed25519:{device}": a_key()}},
        {"keys": {"ed25519:{device}": a_key()[:20]}},
        {"extra": "x" * 100_000},
        {"extra": 1.5},
    ],
)
async def test_device_keys_of_a_wrong_form_are_refused(alice: Device, changed: dict[str, Any]) -> None:
    if isinstance(changed.get("keys"), dict):
        keys = {name.replace("{device}", alice.client.device_id): key for name, key in changed["keys"].items()}
        changed = {"keys": keys}
    body = alice.keys() | changed if "extra" in changed and changed["extra"] == 1.5 else alice.keys(**changed)
    with pytest.raises(Refused) as refusal:
        await alice.client.upload_keys(body)
    assert (refusal.value.status, refusal.value.errcode) in [(400, "M_INVALID_PARAM"), (400, "M_BAD_JSON")]
    assert (await alice.client.query_keys({alice.client.user_id: []})).device_keys == {alice.client.user_id: {}}


@pytest.mark.parametrize("signatures", [None, {}, [], AGES_AGO, {"@alice:hs.test": {}}, {"@alice:hs.test": 1}])
async def test_device_keys_that_the_device_has_not_signed_are_refused(alice: Device, signatures: Any) -> None:
    with pytest.raises(Refused) as refusal:
        await alice.client.upload_keys({**alice.keys(), "signatures": signatures})
    assert refusal.value.errcode == "M_INVALID_PARAM"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("signed_curve25519", {"key": a_key()}),
        ("signed_curve25519:A", a_key()),
        ("signed_curve25519:A", {"key": a_key()[:9], "signatures": {}}),
        ("signed_curve25519:A", {"key": a_key(), "signatures": {}}),
        ("signed_curve25519:A", {"key": a_key(), "signatures": AGES_AGO}),
        ("curve25519:A", "short"),
        ("curve25519:A", 7),
        ("x:" + "A" * 300, a_key()),
        ("other:A", {"key": a_key(), "signatures": {}, "more": "x" * 10_000}),
    ],
)
async def test_one_time_keys_of_a_wrong_form_are_refused_with_all_the_others(
    alice: Device, name: str, key: Any
) -> None:
    with pytest.raises(Refused) as refusal:
        await alice.client.upload_keys(alice.keys(), one_time_keys={**alice.pre_keys(1), name: key})
    assert refusal.value.errcode == "M_INVALID_PARAM"
    assert await alice.client.upload_keys() == {}


async def test_ten_thousand_one_time_keys_are_too_many(alice: Device) -> None:
    keys = {f"curve25519:{number}": a_key(number) for number in range(10_000)}
    with pytest.raises(Refused) as refusal:
        await alice.client.upload_keys(one_time_keys=keys)
    assert refusal.value.status == 400


async def test_a_one_time_key_is_accepted_once_and_never_changes(alice: Device, bob: Device) -> None:
    await alice.upload(1)
    assert await alice.client.upload_keys(one_time_keys=alice.pre_keys(1)) == {ALGORITHM: 1}
    with pytest.raises(Refused) as refusal:
        await alice.client.upload_keys(one_time_keys={f"{ALGORITHM}:K1": alice.sign({"key": a_key(2)})})
    assert refusal.value.errcode == "M_INVALID_PARAM"
    assert await claimed(bob.client, alice) == alice.pre_keys(1)
    assert await alice.client.upload_keys(one_time_keys=alice.pre_keys(1)) == {ALGORITHM: 0}
    assert await claimed(bob.client, alice) == {}


async def test_keys_are_claimed_oldest_first_and_then_the_fallback_key(alice: Device, bob: Device) -> None:
    await alice.upload(2)
    await alice.client.upload_keys(one_time_keys=alice.pre_keys(1))
    fallback = alice.pre_keys(9, fallback=True)
    await alice.client.upload_keys(fallback_keys=fallback)
    given = [await claimed(bob.client, alice) for _ in range(4)]
    assert given == [alice.pre_keys(2), alice.pre_keys(1), fallback, fallback]


async def test_of_two_hundred_who_claim_at_once_of_two_processes_each_gets_a_key_of_its_own_or_the_fallback_key(
    alice: Device, bob: Device, database_url: str, tmp_path: Path
) -> None:
    await alice.upload(*range(50))
    fallback = alice.pre_keys(99, fallback=True)
    await alice.client.upload_keys(fallback_keys=fallback)
    given: list[str] = []

    async def claim(by: Client) -> None:
        given.extend(await claimed(by, alice))

    async with (
        running_homeserver(database_url, tmp_path) as second,
        Client(second.urls[0], session=bob.client.session) as there,
        trio.open_nursery() as nursery,
    ):
        for _ in range(100):
            nursery.start_soon(claim, bob.client)
            nursery.start_soon(claim, there)
    assert sorted(given) == sorted([*alice.pre_keys(*range(50)), *(list(fallback) * 150)])


async def test_there_is_one_fallback_key_for_an_algorithm(alice: Device) -> None:
    await alice.upload()
    with pytest.raises(Refused):
        await alice.client.upload_keys(fallback_keys=alice.pre_keys(1, 2))


async def test_with_another_identity_the_old_one_time_keys_are_gone(alice: Device, bob: Device) -> None:
    await alice.upload(1, 2)
    reborn = Device(alice.client)
    assert await reborn.client.upload_keys(reborn.keys()) == {ALGORITHM: 0}
    assert await claimed(bob.client, alice) == {}


async def test_sync_says_how_many_keys_are_left(alice: Device, bob: Device) -> None:
    nothing = await alice.client.sync()
    assert (nothing["device_one_time_keys_count"], nothing["device_unused_fallback_key_types"]) == ({}, [])
    await alice.upload(1, 2)
    await alice.client.upload_keys(fallback_keys=alice.pre_keys(9))
    now = await alice.client.sync()
    assert now["device_one_time_keys_count"] == {ALGORITHM: 2}
    assert now["device_unused_fallback_key_types"] == [ALGORITHM]
    for _ in range(3):
        await claimed(bob.client, alice)
    then = await alice.client.sync(since=now["next_batch"])
    assert then["device_one_time_keys_count"] == {ALGORITHM: 0}
    assert then["device_unused_fallback_key_types"] == []


async def test_a_device_that_waits_is_woken_when_its_keys_are_claimed(alice: Device, bob: Device) -> None:
    await alice.upload(1, 2)
    position = (await alice.client.sync())["next_batch"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claimed, bob.client, alice)
        with trio.fail_after(25):
            left = {ALGORITHM: 2}
            while left == {ALGORITHM: 2}:
                news = await alice.client.sync(since=position, timeout_seconds=30)
                position, left = news["next_batch"], news["device_one_time_keys_count"]
    assert left == {ALGORITHM: 1}


async def test_the_keys_of_a_device_go_with_it(alice: Device, bob: Device) -> None:
    async with another_device(alice.client) as phone:
        await Device(phone).upload(1)
        await alice.client.delete_device(phone.device_id, PASSWORD)
        found = await bob.client.query_keys({alice.client.user_id: []})
        assert found.device_keys == {alice.client.user_id: {}}
        assert await claimed(bob.client, Device(phone)) == {}


async def test_nobody_is_found_where_nobody_is(bob: Device) -> None:
    found = await bob.client.query_keys({"@nobody:hs.test": [], "nonsense": []})  # type: ignore[dict-item]  # foreign
    assert found.device_keys == {"@nobody:hs.test": {}}
