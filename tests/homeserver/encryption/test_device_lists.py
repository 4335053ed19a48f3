"""Whose devices a client is told to look at again: exactly when it has to, and nobody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from tests.homeserver.encryption.devices import Device, another_device
from tests.servers import PASSWORD, signed_in
from tricord.clients import Client
from tricord.homeserver.app import Homeserver

Lists = tuple[list[str], list[str]]


@pytest.fixture
async def carol(homeserver: Homeserver) -> AsyncIterator[Device]:
    async with signed_in(homeserver, "carol", patience_seconds=0) as client:
        yield Device(client)


class Follower:
    """Syncs one client, and checks that `/keys/changes` agrees."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._position: str | None = None

    async def news(self) -> Lists:
        """Return the users whose devices changed, and those who are gone, since the last look."""
        before, self._position = self._position, None
        answer = await self._client.sync(since=before)
        self._position = answer["next_batch"]
        told = (answer["device_lists"]["changed"], answer["device_lists"]["left"])
        if before is not None:
            asked = await self._client.key_changes(after=before, upto=answer["next_batch"])
            assert (asked.changed, asked.left) == told
        return told


async def following(device: Device) -> Follower:
    follower = Follower(device.client)
    assert await follower.news() == ([], [])
    return follower


async def test_new_keys_are_told_to_oneself_and_to_those_in_the_room_and_to_nobody_else(
    alice: Device, bob: Device, carol: Device
) -> None:
    room = await alice.client.create_room(invite=[bob.client.user_id])
    await bob.client.join(room)
    a, b, c = [await following(device) for device in (alice, bob, carol)]
    await alice.client.upload_keys(alice.keys())
    me = alice.client.user_id
    assert await a.news() == await b.news() == ([me], [])
    assert await c.news() == ([], [])
    await alice.client.upload_keys(alice.keys())
    assert await a.news() == await b.news() == ([], [])


async def test_a_device_that_goes_is_told_only_if_it_had_keys(alice: Device, bob: Device) -> None:
    room = await alice.client.create_room(invite=[bob.client.user_id])
    await bob.client.join(room)
    b = await following(bob)
    async with another_device(alice.client) as phone, another_device(alice.client) as tablet:
        assert await b.news() == ([], [])
        await Device(phone).upload()
        assert await b.news() == ([alice.client.user_id], [])
        await alice.client.delete_device(tablet.device_id, PASSWORD)
        assert await b.news() == ([], [])
        await alice.client.delete_device(phone.device_id, PASSWORD)
        assert await b.news() == ([alice.client.user_id], [])


async def test_the_first_shared_room_and_the_last_one_count_and_those_between_do_not(
    alice: Device, bob: Device
) -> None:
    first = await alice.client.create_room(invite=[bob.client.user_id])
    second = await alice.client.create_room(invite=[bob.client.user_id])
    a, b = await following(alice), await following(bob)
    await bob.client.join(first)
    assert await a.news() == ([bob.client.user_id], [])
    assert await b.news() == ([alice.client.user_id], [])
    await bob.client.join(second)
    assert await a.news() == await b.news() == ([], [])
    await bob.client.leave(first)
    assert await a.news() == await b.news() == ([], [])
    await alice.client.leave(second)
    assert await a.news() == ([], [bob.client.user_id])
    assert await b.news() == ([], [alice.client.user_id])


async def test_who_comes_and_goes_between_two_looks_is_not_followed(alice: Device, bob: Device) -> None:
    room = await alice.client.create_room(invite=[bob.client.user_id])
    a = await following(alice)
    await bob.client.join(room)
    await bob.client.leave(room)
    changed, _ = await a.news()
    assert changed == []


async def test_who_comes_back_is_told_as_changed(alice: Device, bob: Device) -> None:
    room = await alice.client.create_room(invite=[bob.client.user_id])
    await bob.client.join(room)
    a = await following(alice)
    await alice.client.kick(room, bob.client.user_id)
    assert await a.news() == ([], [bob.client.user_id])
    await bob.client.upload_keys(bob.keys())
    assert await a.news() == ([], [])
    await alice.client.invite(room, bob.client.user_id)
    await bob.client.join(room)
    assert await a.news() == ([bob.client.user_id], [])


async def test_who_declines_an_invitation_does_not_learn_who_is_in_the_room(
    alice: Device, bob: Device, carol: Device
) -> None:
    room = await alice.client.create_room(invite=[bob.client.user_id, carol.client.user_id])
    await carol.client.join(room)
    b = await following(bob)
    await bob.client.leave(room)
    assert await b.news() == ([], [])


async def test_a_new_name_changes_nobodys_devices(alice: Device, bob: Device) -> None:
    room = await alice.client.create_room(invite=[bob.client.user_id])
    await bob.client.join(room)
    a = await following(alice)
    await bob.client.set_profile("displayname", "Bobby")
    assert await a.news() == ([], [])


async def test_a_client_that_waits_is_woken_by_new_keys_of_others_also_with_a_filter_that_shows_no_members(
    alice: Device, bob: Device, carol: Device
) -> None:
    room = await alice.client.create_room(invite=[bob.client.user_id, carol.client.user_id])
    await bob.client.join(room)
    nothing: dict[str, Any] = {"room": {"timeline": {"types": []}, "state": {"types": []}}}
    position = (await alice.client.sync(sync_filter=nothing))["next_batch"]
    told: list[str] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bob.client.upload_keys, bob.keys())
            nursery.start_soon(carol.client.join, room)
            while len(told) < 2:
                answer = await alice.client.sync(since=position, timeout_seconds=30, sync_filter=nothing)
                position = answer["next_batch"]
                told += answer["device_lists"]["changed"]
    assert sorted(told) == [bob.client.user_id, carol.client.user_id]
