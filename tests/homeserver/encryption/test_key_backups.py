"""Backups of keys: versions, what is better than what, and how others see that something changed."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.homeserver.encryption.devices import Device, another_device
from tricord.clients import Refused
from tricord.protocol.identifiers import RoomId

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
ROOM, OTHER = RoomId("!room:hs.test"), RoomId("!other:hs.test")


def key(index: int = 0, *, forwarded: int = 0, verified: bool = False, mark: str = "") -> dict[str, Any]:
    return {
        "first_message_index": index,
        "forwarded_count": forwarded,
        "is_verified": verified,
        "session_data": {"ciphertext": mark or f"{index} {forwarded} {verified}"},
    }


async def refused(call: Any) -> tuple[int, str]:
    with pytest.raises(Refused) as refusal:
        await call
    return refusal.value.status, refusal.value.errcode


async def test_a_backup_is_known_by_its_version_and_the_newest_is_written_to(alice: Device) -> None:
    client = alice.client
    assert await refused(client.key_backup()) == (404, "M_NOT_FOUND")
    first = await client.create_key_backup(ALGORITHM, {"public_key": "a"})
    second = await client.create_key_backup(ALGORITHM, {"public_key": "b"})
    assert first != second
    assert (await client.key_backup()).version == second
    assert (await client.key_backup(first)).auth_data == {"public_key": "a"}
    with pytest.raises(Refused) as refusal:
        await client.back_up_keys(first, {ROOM: {"s": key()}})
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_WRONG_ROOM_KEYS_VERSION")
    assert refusal.value.body["current_version"] == second
    await client.back_up_keys(second, {ROOM: {"s": key()}})


async def test_a_deleted_backup_is_gone_and_its_version_never_comes_back(alice: Device) -> None:
    client = alice.client
    first = await client.create_key_backup(ALGORITHM, {})
    second = await client.create_key_backup(ALGORITHM, {})
    await client.back_up_keys(second, {ROOM: {"s": key()}})
    await client.delete_key_backup(second)
    await client.delete_key_backup(second)
    assert (await client.key_backup()).version == first
    assert await refused(client.key_backup(second)) == (404, "M_NOT_FOUND")
    assert await refused(client.backed_up_keys(second)) == (404, "M_NOT_FOUND")
    assert await client.create_key_backup(ALGORITHM, {}) not in (first, second)
    for version in ("0", "99", "x", "-1", "1" * 400):
        assert await refused(client.delete_key_backup(version)) == (404, "M_NOT_FOUND")


async def test_only_the_auth_data_of_a_backup_can_change(alice: Device) -> None:
    client = alice.client
    version = await client.create_key_backup(ALGORITHM, {"public_key": "a"})
    await client.update_key_backup(version, ALGORITHM, {"public_key": "b"})
    assert (await client.key_backup()).auth_data == {"public_key": "b"}
    assert await refused(client.update_key_backup(version, "other", {})) == (400, "M_INVALID_PARAM")
    assert await refused(client.update_key_backup("99", ALGORITHM, {})) == (404, "M_NOT_FOUND")
    assert (await client.key_backup()).auth_data == {"public_key": "b"}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (key(5, forwarded=5, verified=True), key(0, verified=False)),
        (key(1, forwarded=5), key(2, forwarded=0)),
        (key(1, forwarded=1), key(1, forwarded=2)),
        (key(1, mark="the first"), key(1, mark="the second")),
    ],
)
async def test_the_better_key_is_kept_in_whichever_order_they_come(
    alice: Device, better: dict[str, Any], worse: dict[str, Any]
) -> None:
    client = alice.client
    version = await client.create_key_backup(ALGORITHM, {})
    first = await client.back_up_keys(version, {ROOM: {"s": better}})
    again = await client.back_up_keys(version, {ROOM: {"s": worse}})
    assert again == first
    assert await client.backed_up_key(version, ROOM, "s") == better
    if better["session_data"] != {"ciphertext": "the first"}:
        await client.back_up_keys(version, {OTHER: {"s": worse}})
        before = await client.key_backup()
        after = await client.back_up_keys(version, {OTHER: {"s": better}})
        assert after.etag != before.etag
        assert after.count == before.count
        assert await client.backed_up_key(version, OTHER, "s") == better


async def test_keys_are_read_and_deleted_all_by_room_or_by_session(alice: Device) -> None:
    client = alice.client
    version = await client.create_key_backup(ALGORITHM, {})
    state = await client.back_up_keys(version, {ROOM: {"a": key(1), "b": key(2)}, OTHER: {"c": key(3)}})
    assert state.count == 3
    assert await client.backed_up_keys(version) == {ROOM: {"a": key(1), "b": key(2)}, OTHER: {"c": key(3)}}
    assert await client.backed_up_keys_of(version, ROOM) == {"a": key(1), "b": key(2)}
    assert await client.backed_up_keys_of(version, RoomId("!none:hs.test")) == {}
    assert await refused(client.backed_up_key(version, ROOM, "none")) == (404, "M_NOT_FOUND")
    less = await client.delete_backed_up_keys(version, ROOM, "a")
    assert less.count == 2
    assert less.etag != state.etag
    assert await client.delete_backed_up_keys(version, ROOM, "a") == less
    assert (await client.delete_backed_up_keys(version, ROOM)).count == 1
    assert (await client.delete_backed_up_keys(version)).count == 0
    assert await client.backed_up_keys(version) == {}


async def test_backups_are_ones_own_and_of_all_ones_devices(alice: Device, bob: Device) -> None:
    version = await alice.client.create_key_backup(ALGORITHM, {})
    await alice.client.back_up_keys(version, {ROOM: {"s": key()}})
    assert await refused(bob.client.key_backup()) == (404, "M_NOT_FOUND")
    assert await refused(bob.client.backed_up_keys(version)) == (404, "M_NOT_FOUND")
    async with another_device(alice.client) as phone:
        assert await phone.backed_up_key(version, ROOM, "s") == key()


async def test_many_who_store_at_once_lose_nothing(alice: Device) -> None:
    version = await alice.client.create_key_backup(ALGORITHM, {})

    async def store(number: int) -> None:
        keys = {f"own{number}": key(number), "shared": key(100 - number)}
        await alice.client.back_up_keys(version, {ROOM: keys})

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(store, number)
    assert (await alice.client.key_backup()).count == 21
    assert await alice.client.backed_up_key(version, ROOM, "shared") == key(81)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {**key(), "session_data": "text"},
        {**key(), "is_verified": "yes"},
        {**key(), "first_message_index": -1},
        {**key(), "first_message_index": 2**63},
        {**key(), "forwarded_count": 1.5},
        {**key(), "forwarded_count": True},
    ],
)
async def test_keys_of_a_wrong_form_are_refused_with_all_the_others(alice: Device, wrong: dict[str, Any]) -> None:
    version = await alice.client.create_key_backup(ALGORITHM, {})
    call = alice.client.back_up_keys(version, {ROOM: {"good": key(), "wrong": wrong}})
    assert (await refused(call))[0] == 400
    assert await alice.client.backed_up_keys(version) == {}


async def test_secret_storage_is_kept_in_account_data(alice: Device) -> None:
    secret = {"encrypted": {"key": {"iv": "a", "ciphertext": "b", "mac": "c"}}}
    await alice.client.set_account_data("m.cross_signing.master", secret)
    await alice.client.set_account_data("m.secret_storage.default_key", {"key": "key"})
    async with another_device(alice.client) as phone:
        assert await phone.account_data("m.cross_signing.master") == secret
        told = {event["type"]: event["content"] for event in (await phone.sync())["account_data"]["events"]}
        assert told["m.secret_storage.default_key"] == {"key": "key"}
