"""Messages from device to device: kept until they have arrived, told in order, sent once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.homeserver.encryption.devices import Device, another_device
from tests.servers import running_homeserver, signed_in
from tricord.clients import Client, Refused
from tricord.clients.follow import Delta
from tricord.homeserver.encryption.to_device import MOST_WAITING
from tricord.homeserver.encryption.to_device_edus import direct_to_device_edus
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.devices import drop_device
from tricord.homeserver.storage.to_device import OutgoingMessage, deliver, prune_to_device
from tricord.protocol.errors import TooLarge
from tricord.protocol.identifiers import DeviceId, UserId

KIND = "org.example.note"


async def send(by: Device, to: Client, number: int, **options: Any) -> None:
    await by.client.send_to_device(KIND, {to.user_id: {to.device_id: {"number": number}}}, **options)


def numbers(answer: dict[str, Any]) -> list[int]:
    events = answer.get("to_device", {}).get("events", [])
    assert all(event["type"] == KIND and set(event) == {"type", "sender", "content"} for event in events)
    return [event["content"]["number"] for event in events]


async def test_messages_are_told_in_order_until_the_next_position_proves_that_they_arrived(
    alice: Device, bob: Device
) -> None:
    start = (await bob.client.sync())["next_batch"]
    for number in range(3):
        await send(alice, bob.client, number)
    first = await bob.client.sync(since=start)
    again = await bob.client.sync(since=start)
    assert numbers(first) == numbers(again) == [0, 1, 2]
    assert first["to_device"]["events"][0]["sender"] == alice.client.user_id
    assert numbers(await bob.client.sync(since=again["next_batch"])) == []
    assert numbers(await bob.client.sync()) == []


async def test_a_device_that_goes_takes_its_messages_along(database: Database) -> None:
    async def write(tx: Transaction) -> None:
        await tx.execute("INSERT INTO accounts (user_id, created_ts) VALUES ('@alice:hs.test', 1)")
        await tx.execute(
            "INSERT INTO devices (user_id, device_id, created_ts) "
            "SELECT '@alice:hs.test', name, 1 FROM unnest(ARRAY['GOES', 'STAYS']) AS name"
        )

    async def waiting(tx: Transaction) -> list[tuple[str, bytes]]:
        rows = await tx.fetch("SELECT device_id, message FROM to_device_messages ORDER BY device_id")
        return [(row[0], row[1]) for row in rows]

    alice = UserId("@alice:hs.test")
    await database.run(write)
    for number, device in enumerate(("*", "GOES", "NEVER_WAS")):
        message = OutgoingMessage(0, alice, DeviceId(device), b"{}")
        await database.run(deliver, [bytes([number])], [message], 1)
    assert await database.read(waiting) == [("GOES", b"{}"), ("GOES", b"{}"), ("STAYS", b"{}")]
    await database.run(drop_device, alice, DeviceId("GOES"))
    assert await database.read(waiting) == [("STAYS", b"{}")]


async def test_a_device_that_waits_is_woken_by_a_message(alice: Device, bob: Device) -> None:
    position = (await bob.client.sync())["next_batch"]
    found: list[int] = []

    async def wait() -> None:
        nonlocal position
        while not found:
            answer = await bob.client.sync(since=position, timeout_seconds=30)
            position = answer["next_batch"]
            found.extend(numbers(answer))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await send(alice, bob.client, 7)
    assert found == [7]


async def test_a_transaction_that_is_repeated_is_sent_once_also_by_many_at_once(alice: Device, bob: Device) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(lambda: send(alice, bob.client, 1, transaction_id="t"))
    await send(alice, bob.client, 2, transaction_id="t")
    await send(alice, bob.client, 3, transaction_id="u")
    assert numbers(await bob.client.sync()) == [1, 3]


async def test_a_star_is_all_devices_of_a_user_but_those_that_are_named(alice: Device, bob: Device) -> None:
    async with another_device(bob.client) as phone:
        messages = {bob.client.user_id: {DeviceId("*"): {"number": 1}, phone.device_id: {"number": 2}}}
        await alice.client.send_to_device(KIND, messages)
        assert numbers(await bob.client.sync()) == [1]
        assert numbers(await phone.sync()) == [2]


async def test_devices_that_are_not_there_get_nothing_and_harm_nobody(alice: Device, bob: Device) -> None:
    messages = {bob.client.user_id: {DeviceId("GONE"): {"number": 1}, bob.client.device_id: {"number": 2}}}
    await alice.client.send_to_device(KIND, {**messages, UserId("@nobody:hs.test"): {DeviceId("*"): {"number": 3}}})
    assert numbers(await bob.client.sync()) == [2]


async def test_a_long_queue_is_told_in_parts_without_waiting(alice: Device, bob: Device) -> None:
    start = (await bob.client.sync())["next_batch"]
    async with trio.open_nursery() as nursery:
        for number in range(250):
            nursery.start_soon(send, alice, bob.client, number)
    told: list[int] = []
    sizes: list[int] = []
    with trio.fail_after(60):
        while len(told) < 250:
            answer = await bob.client.sync(since=start, timeout_seconds=30)
            start = answer["next_batch"]
            sizes.append(len(numbers(answer)))
            told += numbers(answer)
    assert sizes == [100, 100, 50]
    assert sorted(told) == list(range(250))
    assert numbers(await bob.client.sync(since=start)) == []
    assert numbers(await bob.client.sync()) == []


async def test_the_web_socket_tells_messages_once_and_in_parts_and_they_are_gone_then(
    alice: Device, bob: Device
) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(150):
            nursery.start_soon(send, alice, bob.client, number)
    told: list[int] = []
    positions: list[str] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:

            async def take(delta: Delta) -> None:
                new = numbers(delta.content)
                told.extend(new)
                positions.append(delta.position)
                if new and len(told) == 150:
                    await send(alice, bob.client, 150)
                if len(told) == 151:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(bob.client.follow, take)
    assert sorted(told) == list(range(151))
    assert numbers(await bob.client.sync(since=positions[-2])) == [150]
    assert numbers(await bob.client.sync(since=positions[-1])) == []
    assert numbers(await bob.client.sync()) == []


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ({"@bob:hs.test": {"*": {"number": 1.5}}}, 400),
        ({"@bob:hs.test": {"*": {"number": 2**53}}}, 400),
        ({"@bob:hs.test": {"*": "text"}}, 400),
        ({"@bob:hs.test": {"D" * 300: {}}}, 400),
        ({"nobody": {"*": {}}}, 400),
        ({"@bob:hs.test": {"*": {"text": "x" * (64 << 10)}}}, 413),
        ({"@bob:elsewhere.test": {"*": {"text": "x" * (64 << 10)}}}, 413),
        ({"@bob:hs.test": {"*": {"text": "x" * (10 << 20)}}}, 413),
        ({"@bob:hs.test": {str(number): {} for number in range(20_001)}}, 400),
    ],
)
async def test_what_cannot_be_passed_on_is_refused_whole(
    alice: Device, bob: Device, messages: Any, status: int
) -> None:
    both = {**messages, bob.client.user_id: {**messages.get(bob.client.user_id, {}), bob.client.device_id: {}}}
    with pytest.raises((Refused, httpx.HTTPError)) as refusal:
        await alice.client.send_to_device(KIND, both)
    if isinstance(refusal.value, Refused):
        assert refusal.value.status == status
    assert (await bob.client.sync())["to_device"]["events"] == []


async def test_messages_survive_a_restart(database_url: str, tmp_path: Path) -> None:
    async with running_homeserver(database_url, tmp_path) as homeserver, signed_in(homeserver, "alice") as alice:
        position = (await alice.sync())["next_batch"]
        await send(Device(alice), alice, 1, transaction_id="t")
        session = alice.session
    async with (
        running_homeserver(database_url, tmp_path) as homeserver,
        Client(homeserver.urls[0], session=session) as alice,
    ):
        await send(Device(alice), alice, 2, transaction_id="t")
        answer = await alice.sync(since=position)
        assert numbers(answer) == [1]
        assert numbers(await alice.sync(since=answer["next_batch"])) == []


def test_messages_to_other_servers_go_in_parts_of_a_bounded_size() -> None:
    messages = {
        UserId(f"@user{number}:{server}"): {DeviceId("DEVICE"): {"ciphertext": "x" * 1000}}
        for number in range(1000)
        for server in ("one.test", "two.test")
    }
    ids = iter(range(1000))
    edus = direct_to_device_edus(UserId("@a:hs.test"), KIND, messages, new_id=lambda: str(next(ids)))
    assert {server for server, _ in edus} == {"one.test", "two.test"}
    assert all(len(edu) <= 64 << 10 for _, edu in edus)
    assert len(edus) < 50
    one = {UserId("@b:one.test"): {DeviceId("D"): {"text": "x" * (64 << 10)}}}
    with pytest.raises(TooLarge):
        direct_to_device_edus(UserId("@a:hs.test"), KIND, one, new_id=str)


async def told_to(client: Client) -> list[int]:
    """Read all that waits for a device, as a client that comes back after a long time."""
    found: list[int] = []
    answer = await client.sync()
    while told := numbers(answer):
        found += told
        answer = await client.sync(since=answer["next_batch"])
    return found


async def waiting(database: Database, user_id: UserId) -> int:
    count = "SELECT count(*) FROM to_device_messages WHERE user_id = $1"
    return int(await database.read(lambda tx: tx.fetchval(count, user_id)))


async def test_of_more_than_twenty_thousand_messages_the_oldest_are_forgotten(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    async with running_homeserver(database_url, tmp_path) as first, signed_in(first, "bob") as client:
        session = client.session
    event = """{"type":"org.example.note","sender":"@alice:hs.test","content":{"number":%s}}"""
    put = """
        INSERT INTO to_device_messages
        SELECT $1, $2, position - 20500 + n, format($3, n)::bytea FROM stream, generate_series(1, 20500) AS n
    """
    await database.run(lambda tx: tx.execute("UPDATE stream SET position = position + 20500"))
    await database.run(lambda tx: tx.execute(put, client.user_id, client.device_id, event))
    await database.run(prune_to_device, MOST_WAITING, 0)
    assert await waiting(database, client.user_id) == MOST_WAITING
    async with (
        running_homeserver(database_url, tmp_path) as second,
        Client(second.urls[0], session=session) as bob,
    ):
        assert await told_to(bob) == list(range(501, 20_501))
    assert await waiting(database, client.user_id) == 0


async def test_a_storm_to_five_thousand_devices_leaves_each_its_message(
    alice: Device, bob: Device, database: Database
) -> None:
    add = """
        INSERT INTO devices (user_id, device_id, created_ts)
        SELECT $1, 'STORM' || n, 0 FROM generate_series(1, 5000) AS n
    """
    user_id = bob.client.user_id
    await database.run(lambda tx: tx.execute(add, user_id))
    content = {"number": 1, "ciphertext": "x" * 600}
    named = {DeviceId(f"STORM{number}"): content for number in range(1, 5001)}
    messages = {user_id: {**named, bob.client.device_id: content}}
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(alice.client.send_to_device, KIND, messages)
        nursery.start_soon(alice.client.send_to_device, KIND, {user_id: {DeviceId("*"): content}})
    assert await waiting(database, user_id) == 5 * 5_001
    assert numbers(await bob.client.sync()) == [1] * 5
    each = "SELECT DISTINCT count(*) FROM to_device_messages WHERE user_id = $1 GROUP BY device_id"
    assert [row[0] for row in await database.read(lambda tx: tx.fetch(each, user_id))] == [5]
    await send(alice, bob.client, 2)
    assert await told_to(bob.client) == [1] * 5 + [2]
