"""A homeserver of two processes: what is done in one is known in the other at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from tests.servers import CHEAP, PASSWORD, settings_for, several
from tricord.clients import Client, Refused, SignedOut
from tricord.clients.follow import Delta

_PATIENCE_SECONDS = 60
_LIMITS = {
    "login_by_address": {"per_second": 0.001, "burst": 100},
    "login_failures": {"per_second": 0.001, "burst": 4},
}


class Person(NamedTuple):
    """The same session of somebody, at each of the processes."""

    one: Client
    other: Client


class People:
    """Who is here."""

    def __init__(self, urls: list[str], stack: AsyncExitStack) -> None:
        self.urls = urls
        self._stack = stack

    async def person(self, name: str) -> Person:
        one = await self._stack.enter_async_context(Client(self.urls[0], patience_seconds=0))
        session = await one.register(name, PASSWORD)
        other = Client(self.urls[1], session=session, patience_seconds=0)
        return Person(one, await self._stack.enter_async_context(other))


@pytest.fixture
async def people(database_url: str, tmp_path: Path) -> AsyncIterator[People]:
    settings = settings_for(database_url, tmp_path, rate_limits=_LIMITS)
    async with (
        several(settings, 2, password_cost=CHEAP) as homeservers,
        AsyncExitStack() as stack,
    ):
        yield People([homeserver.urls[0] for homeserver in homeservers], stack)


async def test_whoever_was_answered_finds_it_done_everywhere(people: People) -> None:
    alice, bob = await people.person("alice"), await people.person("bob")
    for number in range(10):
        room_id = await alice.one.create_room(name=f"Tea {number}", preset="private_chat")
        await alice.other.invite(room_id, bob.one.user_id)
        await bob.one.join(room_id)
        said = await bob.other.send_text(room_id, "Hello")
        joined = (await alice.one.sync())["rooms"]["join"]
        assert joined[room_id]["timeline"]["events"][-1]["event_id"] == said
        await alice.one.kick(room_id, bob.one.user_id)
        with pytest.raises(Refused, match="M_FORBIDDEN"):
            await bob.other.send_text(room_id, "Am I still here?")


async def test_a_request_that_comes_to_both_is_done_once(people: People) -> None:
    alice = await people.person("alice")
    room_id = await alice.one.create_room()
    sent: list[str] = []

    async def send(client: Client) -> None:
        sent.append(await client.send(room_id, "m.room.message", {"body": "x"}, transaction_id="once"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, alice.one)
        nursery.start_soon(send, alice.other)
    assert len(set(sent)) == 1


async def test_who_waits_in_one_is_woken_by_the_other(people: People) -> None:
    alice, bob = await people.person("alice"), await people.person("bob")
    room_id = await alice.one.create_room(invite=[bob.one.user_id])
    await bob.one.join(room_id)
    told: list[dict[str, Any]] = [await alice.one.sync()]

    async def wait() -> None:
        # That somebody is there now may be told before.
        while "ephemeral" not in told[-1].get("rooms", {}).get("join", {}).get(room_id, {}):
            told.append(await alice.one.sync(since=told[-1]["next_batch"], timeout_seconds=30))

    with trio.fail_after(_PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await bob.other.set_typing(room_id)
    ephemeral = told[-1]["rooms"]["join"][room_id]["ephemeral"]["events"]
    assert ephemeral[0]["content"]["user_ids"] == [bob.one.user_id]


async def test_a_connection_of_sliding_sync_goes_on_in_the_other(people: People) -> None:
    alice = await people.person("alice")
    room_id = await alice.one.create_room(name="Tea")
    lists = {"all": {"ranges": [[0, 9]], "timeline_limit": 1, "required_state": [["m.room.name", ""]]}}
    first = await alice.one.sliding_sync(lists=lists)
    assert first.rooms[room_id].initial
    await alice.one.send_text(room_id, "Hello")
    second = await alice.other.sliding_sync(pos=first.pos, lists=lists)
    assert not second.rooms[room_id].initial
    assert second.rooms[room_id].timeline[-1]["content"]["body"] == "Hello"
    assert (await alice.one.sliding_sync(pos=second.pos, lists=lists)).rooms == {}


async def test_messages_to_a_device_are_told_by_either_until_they_are_there(people: People) -> None:
    alice = await people.person("alice")
    since = (await alice.other.sync())["next_batch"]
    since = (await alice.other.sync(since=since))["next_batch"]
    for number, (teller, taker) in enumerate([(alice.one, alice.other), (alice.other, alice.one)]):
        messages = {alice.one.user_id: {alice.one.device_id: {"number": number}}}
        await taker.send_to_device("org.example.note", messages)
        told = await teller.sync(since=since)
        assert [event["content"]["number"] for event in told["to_device"]["events"]] == [number]
        again = await taker.sync(since=told["next_batch"])
        assert not again.get("to_device", {}).get("events")
        since = again["next_batch"]
    assert not (await alice.one.sync()).get("to_device", {}).get("events")


async def test_whoever_signs_out_is_out_everywhere(people: People) -> None:
    alice = await people.person("alice")
    followed = trio.Event()
    ended = trio.Event()

    async def take(_delta: Delta) -> None:
        followed.set()

    async def follow() -> None:
        with pytest.raises(SignedOut):
            await alice.other.follow(take)
        ended.set()

    with trio.fail_after(_PATIENCE_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await followed.wait()
            await alice.one.logout()
            with pytest.raises(SignedOut):
                await alice.other.joined_rooms()
            await ended.wait()


async def test_wrong_passwords_are_counted_together(people: People) -> None:
    await people.person("alice")
    outcomes = []
    for number in range(6):
        async with Client(people.urls[number % 2], patience_seconds=0) as stranger:
            with pytest.raises(Refused) as refused:
                await stranger.login("alice", "wrong")
            outcomes.append(refused.value.errcode)
    assert outcomes == ["M_FORBIDDEN"] * 4 + ["M_LIMIT_EXCEEDED"] * 2
