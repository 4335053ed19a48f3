"""Keys and messages to devices: the homeserver in memory and the real one answer alike."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from vodozemac import Account

from tests.clients.either_server import EitherServer
from tests.clients.encryption.published import CrossSigning, device_keys
from tricord.clients import Client, Refused
from tricord.clients.testing import PASSWORD, Person
from tricord.protocol.identifiers import DeviceId, RoomId, UserId
from tricord.protocol.signing import signed_bytes

ALGORITHM = "signed_curve25519"


def signed_keys(person: Person, account: Account, count: int, *, fallback: bool = False) -> dict[str, Any]:
    """Return one-time keys, or fallback keys, as a device publishes them."""
    found: dict[str, Any] = {}
    for _ in range(count):
        other = Account()
        key: dict[str, Any] = {"key": other.curve25519_key.to_base64(), **({"fallback": True} if fallback else {})}
        signature = account.sign(signed_bytes(key)).to_base64()
        signatures = {person.user_id: {f"ed25519:{person.device_id}": signature}}
        found[f"{ALGORITHM}:{len(found)}{'f' if fallback else ''}"] = {**key, "signatures": signatures}
    return found


async def published(person: Person, **more: Any) -> Account:
    account = Account()
    await person.upload_keys(device_keys(person.user_id, person.device_id, account), **more)
    return account


async def room_of(alice: Person, *others: Person) -> RoomId:
    room_id = await alice.create_room(invite=[other.user_id for other in others])
    for other in others:
        await other.join(room_id)
    return room_id


async def told(person: Person, since: str, section: str) -> tuple[Any, str]:
    """Sync until a section is there; return it, and the position."""
    with trio.fail_after(60):
        while True:
            answer = await person.sync(since=since, timeout_seconds=5)
            since = answer["next_batch"]
            if section in answer:
                return answer[section], since


async def test_device_keys_are_published_and_asked_for(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    account = await published(alice)
    found = (await bob.query_keys({alice.user_id: []})).device_keys
    assert found[alice.user_id][alice.device_id]["keys"] == {
        f"ed25519:{alice.device_id}": account.ed25519_key.to_base64(),
        f"curve25519:{alice.device_id}": account.curve25519_key.to_base64(),
    }
    nobody = UserId("@nobody:localhost")
    assert (await bob.query_keys({nobody: []})).device_keys == {nobody: {}}
    for wrong in (device_keys(bob.user_id, alice.device_id), device_keys(alice.user_id, "OTHER")):
        with pytest.raises(Refused) as refused:
            await alice.upload_keys(wrong)
        assert refused.value.errcode == "M_INVALID_PARAM"
    await alice.logout()
    assert (await bob.query_keys({alice.user_id: []})).device_keys.get(alice.user_id, {}) == {}


async def test_one_time_keys_are_given_once_and_then_the_fallback_key(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    account = await published(alice)
    keys = signed_keys(alice, account, 2)
    fallback = signed_keys(alice, account, 1, fallback=True)
    assert await alice.upload_keys(one_time_keys=keys, fallback_keys=fallback) == {ALGORITHM: 2}
    sync = await alice.sync()
    assert sync["device_one_time_keys_count"] == {ALGORITHM: 2}
    assert sync["device_unused_fallback_key_types"] == [ALGORITHM]
    wanted = {alice.user_id: {alice.device_id: ALGORITHM}}
    given: list[str] = []
    for _ in range(4):
        answer = await bob.claim_keys(wanted)
        given += answer.one_time_keys[alice.user_id][alice.device_id]
    assert sorted(given[:2]) == sorted(keys)
    assert given[2:] == [*fallback, *fallback]
    sync = await alice.sync()
    assert not sync["device_one_time_keys_count"].get(ALGORITHM)
    assert sync["device_unused_fallback_key_types"] == []
    assert (await bob.claim_keys({alice.user_id: {DeviceId("NONE"): ALGORITHM}})).one_time_keys == {}


async def test_a_name_of_a_key_is_not_used_for_another(server: EitherServer) -> None:
    alice = await server.user("alice")
    account = await published(alice)
    keys = signed_keys(alice, account, 1)
    await alice.upload_keys(one_time_keys=keys)
    assert await alice.upload_keys(one_time_keys=keys) == {ALGORITHM: 1}
    with pytest.raises(Refused) as refused:
        await alice.upload_keys(one_time_keys=signed_keys(alice, account, 1))
    assert refused.value.status == 400


async def test_messages_reach_devices_once_and_until_they_are_acknowledged(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    async with Client(server.url, transport=server.transport) as tablet:
        await tablet.login("bob", PASSWORD)
        since = (await bob.sync())["next_batch"]
        for _ in range(2):
            await alice.send_to_device("org.example.one", {bob.user_id: {bob.device_id: {"n": 1}}}, transaction_id="t1")
        message = {"type": "org.example.one", "sender": alice.user_id, "content": {"n": 1}}
        first, after = await told(bob, since, "to_device")
        assert first == {"events": [message]}
        again, after = await told(bob, since, "to_device")
        assert again == {"events": [message]}
        await alice.send_to_device("org.example.all", {bob.user_id: {DeviceId("*"): {"n": 2}}})
        later, _ = await told(bob, after, "to_device")
        assert [event["content"] for event in later["events"]] == [{"n": 2}]
        assert [event["content"] for event in (await tablet.sync())["to_device"]["events"]] == [{"n": 2}]


async def test_who_shares_a_room_hears_of_new_keys_and_of_parting(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    since = (await bob.sync())["next_batch"]
    room_id = await room_of(alice, bob)
    lists, since = await told(bob, since, "device_lists")
    assert alice.user_id in lists["changed"]
    await published(alice)
    lists, since = await told(bob, since, "device_lists")
    assert lists["changed"] == [alice.user_id]
    await alice.leave(room_id)
    lists, _ = await told(bob, since, "device_lists")
    assert alice.user_id in lists["left"]


async def test_signatures_are_shown_with_what_they_are_on(server: EitherServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    await published(alice)
    keys = CrossSigning(alice.user_id)
    await alice.upload_cross_signing_keys(
        master_key=keys.published("master"),
        self_signing_key=keys.published("self_signing"),
        user_signing_key=keys.published("user_signing"),
        password=PASSWORD,
    )
    own = (await alice.query_keys({alice.user_id: []})).device_keys[alice.user_id][alice.device_id]
    signed = keys.sign({name: value for name, value in own.items() if name != "unsigned"}, "self_signing")
    assert await alice.upload_signatures({alice.user_id: {alice.device_id: signed}}) == {}
    seen = await bob.query_keys({alice.user_id: []})
    assert seen.master_keys[alice.user_id]["keys"] == keys.published("master")["keys"]
    assert seen.self_signing_keys[alice.user_id]["keys"] == keys.published("self_signing")["keys"]
    assert alice.user_id not in seen.user_signing_keys
    assert alice.user_id in (await alice.query_keys({alice.user_id: []})).user_signing_keys
    device = seen.device_keys[alice.user_id][alice.device_id]
    assert f"ed25519:{keys.public('self_signing')}" in device["signatures"][alice.user_id]


def backed_up(first: int, *, verified: bool = False, forwarded: int = 0) -> dict[str, Any]:
    return {
        "first_message_index": first,
        "forwarded_count": forwarded,
        "is_verified": verified,
        "session_data": {
            "ciphertext": "AAAA",
            "ephemeral": "AAAA",
            "mac": "AAAA",
            "n": f"{first} {verified} {forwarded}",
        },
    }


async def test_backups_keep_the_better_key(server: EitherServer) -> None:
    alice = await server.user("alice")
    with pytest.raises(Refused) as refused:
        await alice.key_backup()
    assert (refused.value.status, refused.value.errcode) == (404, "M_NOT_FOUND")
    version = await alice.create_key_backup("m.megolm_backup.v1.curve25519-aes-sha2", {"public_key": "x"})
    one, two = RoomId("!one:localhost"), RoomId("!two:localhost")
    for key, kept in (
        (backed_up(5), backed_up(5)),
        (backed_up(7), backed_up(5)),
        (backed_up(3), backed_up(3)),
        (backed_up(9, verified=True), backed_up(9, verified=True)),
        (backed_up(0), backed_up(9, verified=True)),
    ):
        await alice.back_up_keys(version, {one: {"a": key}})
        assert await alice.backed_up_key(version, one, "a") == kept
    etag = (await alice.key_backup()).etag
    state = await alice.back_up_keys(version, {two: {"b": backed_up(0)}})
    assert (state.count, state.etag != etag) == (2, True)
    assert set(await alice.backed_up_keys(version)) == {one, two}
    assert (await alice.delete_backed_up_keys(version, two)).count == 1
    newer = await alice.create_key_backup("m.megolm_backup.v1.curve25519-aes-sha2", {"public_key": "y"})
    assert (await alice.key_backup()).version == newer
    with pytest.raises(Refused) as refused:
        await alice.back_up_keys(version, {two: {"b": backed_up(0)}})
    assert (refused.value.status, refused.value.errcode) == (403, "M_WRONG_ROOM_KEYS_VERSION")
    await alice.delete_key_backup(newer)
    assert (await alice.key_backup()).version == version
