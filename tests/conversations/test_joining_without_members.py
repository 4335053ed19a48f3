"""Large rooms elsewhere are joined without their members, used at once, and completed afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.conversations.network import Network
from tests.conversations.towns import Town, heard, members, open_town, towns
from tests.postgres import PostgresServer
from tricord.clients import Client, Refused
from tricord.homeserver.peers import hosting
from tricord.homeserver.rooms.server_reads import ServerReads
from tricord.homeserver.rooms.stored_event import StoredEvent
from tricord.protocol.identifiers import EventId, RoomId, ServerName

_STATE = "/_matrix/federation/v1/state/"
_BACKFILL = "/_matrix/federation/v1/backfill/"
_LAZY = {"room": {"state": {"lazy_load_members": True}}}
_SOUTH = ServerName("south.test")
_PATIENCE_SECONDS = 60


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setattr(hosting, "FEW_MEMBERS", 0)
    return Network()


@dataclass
class Region:
    """Alice in the north, wendy in the west, both in a room; bob and carol in the south, who are not."""

    network: Network
    north: Town
    west: Town
    south: Town
    room_id: RoomId

    @property
    def alice(self) -> Client:
        return self.north["alice"]

    @property
    def wendy(self) -> Client:
        return self.west["wendy"]

    @property
    def bob(self) -> Client:
        return self.south["bob"]

    @property
    def everybody(self) -> set[str]:
        return {self.alice.user_id, self.wendy.user_id, self.bob.user_id}

    def hold(self) -> trio.Event:
        """Let nobody learn the state of a room until the event is set."""
        gate = self.network.gates[_STATE] = trio.Event()
        return gate

    async def agree(self) -> None:
        """Return when all three servers have the same state of the room."""

        async def agreed() -> bool:
            towns = (self.north, self.west, self.south)
            return len({frozenset(await _state(town, self.room_id)) for town in towns}) == 1

        await _until(agreed)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(_PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110  # servers tell nobody when they agree
            await trio.sleep(0.02)


@pytest.fixture
async def region(postgres: PostgresServer, tmp_path: Path, network: Network) -> AsyncIterator[Region]:
    people = {"north": ["alice"], "west": ["wendy"], "south": ["bob", "carol"]}
    async with towns(postgres, tmp_path, network, **people) as (north, west, south):
        yield await _settled(network, north, west, south)


async def _settled(network: Network, north: Town, west: Town, south: Town, **how: Any) -> Region:
    room_id = await north["alice"].create_room(preset="public_chat", name="Square", **how)
    await west["wendy"].join(room_id, via=[north.name])
    hello = await west["wendy"].send_text(room_id, "Hello")
    await heard(north["alice"], room_id, hello)
    assert await members(west["wendy"], room_id) == {north["alice"].user_id, west["wendy"].user_id}
    return Region(network, north, west, south, room_id)


async def _state(town: Town, room_id: RoomId) -> set[str]:
    return {event.event_id for event in await town.homeserver.room_state(room_id)}


async def _rooms(client: Client, since: str | None = None, **how: Any) -> dict[str, Any]:
    answer = await client.sync(since=since, **how)
    rooms: dict[str, Any] = answer.get("rooms", {}).get("join", {})
    return rooms


async def test_a_room_is_used_before_its_members_are_known(region: Region) -> None:
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    told = (await _rooms(region.bob, sync_filter=_LAZY))[region.room_id]
    assert {"name": "Square"} in [event["content"] for event in told["state"]["events"]]
    said = await region.bob.send_text(region.room_id, "Here I am")
    await heard(region.alice, region.room_id, said)
    await heard(region.wendy, region.room_id, said)
    topic = await region.bob.set_state(region.room_id, "m.room.member", {"membership": "join"}, region.bob.user_id)
    await heard(region.alice, region.room_id, topic)
    gate.set()
    assert await members(region.bob, region.room_id) == region.everybody
    await region.agree()


async def test_a_restricted_room_is_used_whose_state_leaves_out_even_who_let_us_in(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = ServerReads.state_before_without_members

    async def no_member_at_all(reads: ServerReads, event: StoredEvent) -> list[StoredEvent]:
        return [one for one in await ours(reads, event) if one.event.type != "m.room.member"]

    monkeypatch.setattr(ServerReads, "state_before_without_members", no_member_at_all)
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": region.room_id}]}
    initial = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    back_yard = await region.alice.create_room(preset="private_chat", name="Back yard", initial_state=initial)
    await region.bob.join(region.room_id, via=[region.north.name])
    assert await members(region.bob, region.room_id) == region.everybody
    gate = region.hold()
    await region.bob.join(back_yard, via=[region.north.name])
    said = await region.bob.send_text(back_yard, "Nice here")
    await heard(region.alice, back_yard, said)
    gate.set()
    assert await members(region.bob, back_yard) == {region.alice.user_id, region.bob.user_id}


async def test_who_asks_for_the_members_waits_until_they_are_known(region: Region) -> None:
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    found: list[set[str]] = []

    async def ask() -> None:
        found.append(await members(region.bob, region.room_id))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        said = await region.bob.send_text(region.room_id, "Who is here?")
        await heard(region.alice, region.room_id, said)
        assert not found
        gate.set()
    assert found == [region.everybody]


async def test_history_is_read_before_the_members_are_known(region: Region) -> None:
    topic = await region.alice.set_state(region.room_id, "m.room.topic", {"topic": "Pigeons"})
    # Else the history would fork, and be shown only as far as that is seen to end.
    await heard(region.wendy, region.room_id, topic)
    said = [await region.wendy.send_text(region.room_id, f"Message {number}") for number in range(70)]
    await heard(region.alice, region.room_id, said[-1])
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    early = await _history(region.bob, region.room_id)
    assert [event_id for event_id in early if event_id in said] == said[::-1]
    gate.set()
    assert await members(region.bob, region.room_id) == region.everybody
    whole = await _history(region.bob, region.room_id)
    assert whole[: len(early)] == early
    assert [event for event in whole if event in set(await _history(region.alice, region.room_id))] == whole
    await region.agree()
    # The states of what was shown are the same as elsewhere, too.
    for event_id in (said[0], said[-1]):
        there, here = [await client.context(region.room_id, event_id, limit=0) for client in (region.alice, region.bob)]
        assert {one["event_id"] for one in there.state} == {one["event_id"] for one in here.state}


async def test_history_does_not_end_where_it_was_read_when_the_room_became_complete(region: Region) -> None:
    said = [await region.wendy.send_text(region.room_id, f"Message {number}") for number in range(40)]
    await heard(region.alice, region.room_id, said[-1])
    members_come = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    newest = await region.bob.messages(region.room_id, limit=20)
    read = [event["event_id"] for event in newest.chunk]
    older_comes = region.network.gates[_BACKFILL] = trio.Event()
    before = len(region.network.requests)

    async def read_on() -> None:
        end = newest.end
        while end is not None:
            page = await region.bob.messages(region.room_id, start=end, limit=20)
            read.extend(event["event_id"] for event in page.chunk)
            end = page.end

    async def older_is_asked_for() -> bool:
        return any(_BACKFILL in uri for _, _, _, uri in region.network.requests[before:])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_on)
        await _until(older_is_asked_for)
        members_come.set()
        assert await members(region.bob, region.room_id) == region.everybody
        older_comes.set()
    assert [event_id for event_id in read if event_id in said] == said[::-1]
    assert len(set(read)) == len(read)


async def test_history_shows_who_speaks_before_the_members_are_known(region: Region) -> None:
    named = {"membership": "join", "displayname": "Wendy of the West"}
    await region.wendy.set_state(region.room_id, "m.room.member", named, region.wendy.user_id)
    hello = await region.wendy.send_text(region.room_id, "Hello again")
    await heard(region.alice, region.room_id, hello)
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    page = await region.bob.messages(region.room_id, limit=5, event_filter={"lazy_load_members": True})
    assert "Wendy of the West" in [event["content"].get("displayname") for event in page.state or []]
    gate.set()


async def test_what_was_said_behind_closed_doors_is_not_read_meanwhile_nor_later(region: Region) -> None:
    await _open_history(region, "joined")
    hidden = await region.alice.send_text(region.room_id, "Among us")
    await _open_history(region, "shared")
    await region.alice.send_text(region.room_id, "Doors are open")
    shown = await region.alice.send_text(region.room_id, "Come in")
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    page = await region.bob.messages(region.room_id, limit=50)
    early = [event["event_id"] for event in page.chunk]
    assert shown in early
    assert hidden not in early
    assert page.end is not None
    gate.set()
    later = await region.bob.messages(region.room_id, start=page.end, limit=50)
    assert hidden not in [event["event_id"] for event in later.chunk]
    assert "m.room.create" in [event["type"] for event in later.chunk]


async def test_who_was_invited_reads_no_further_back_before_the_members_are_known(region: Region) -> None:
    await _open_history(region, "invited")
    hidden = await region.alice.send_text(region.room_id, "Before the invitation")
    await region.alice.invite(region.room_id, region.bob.user_id)
    shown = await region.alice.send_text(region.room_id, "After the invitation")
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    page = await region.bob.messages(region.room_id, limit=50)
    early = [event["event_id"] for event in page.chunk]
    assert hidden not in early
    gate.set()
    assert await members(region.bob, region.room_id) == region.everybody
    whole = await _history(region.bob, region.room_id)
    assert shown in whole
    assert hidden not in whole


async def test_who_is_removed_before_the_members_are_known_is_out(region: Region) -> None:
    gate = region.hold()
    since = (await region.bob.sync(sync_filter=_LAZY))["next_batch"]
    await region.bob.join(region.room_id, via=[region.north.name])
    await region.alice.ban(region.room_id, region.bob.user_id, reason="No bobs")
    said = await region.alice.send_text(region.room_id, "Bob is out")
    await heard(region.wendy, region.room_id, said)
    gate.set()
    rooms: dict[str, Any] = {}

    async def is_told() -> bool:
        answer = await region.bob.sync(since=since, sync_filter=_LAZY)
        rooms.update(answer.get("rooms", {}).get("leave", {}))
        return region.room_id in rooms

    await _until(is_told)
    last = rooms[region.room_id]["timeline"]["events"][-1]
    assert (last["state_key"], last["content"]["membership"]) == (region.bob.user_id, "ban")
    with pytest.raises(Refused):
        await region.bob.send_text(region.room_id, "But why?")


async def _open_history(region: Region, visibility: str) -> None:
    await region.alice.set_state(region.room_id, "m.room.history_visibility", {"history_visibility": visibility})


async def _history(client: Client, room_id: RoomId) -> list[EventId]:
    """Return all that a client can read of a room, newest first, as far as it does not have to wait."""
    found: list[EventId] = []
    end: str | None = None
    while True:
        page = await client.messages(room_id, start=end, limit=20)
        found += [event["event_id"] for event in page.chunk]
        end = page.end
        if end is None or len(page.chunk) < 20:
            return found


async def test_what_others_say_meanwhile_is_heard_in_its_order_once_they_are_known(region: Region) -> None:
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    said = [await region.alice.send_text(region.room_id, "One")]
    await heard(region.wendy, region.room_id, said[0])
    said.append(await region.wendy.send_text(region.room_id, "Two"))
    await heard(region.alice, region.room_id, said[1])
    said.append(await region.bob.send_text(region.room_id, "Three"))
    await heard(region.alice, region.room_id, said[2])
    gate.set()
    for event_id in said:
        await heard(region.bob, region.room_id, event_id)
    answer = await region.alice.send_text(region.room_id, "Four")
    await heard(region.bob, region.room_id, answer)
    await region.agree()
    page = await region.bob.messages(region.room_id, limit=50)
    shown = [event["event_id"] for event in page.chunk if event["event_id"] in {*said, answer}]
    assert len(shown) == 4
    assert shown.index(said[0]) > shown.index(said[1])


async def test_who_is_banned_meanwhile_is_not_heard_afterwards(region: Region) -> None:
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    await region.alice.ban(region.room_id, region.wendy.user_id)
    banned = await region.alice.send_text(region.room_id, "She is out")
    gate.set()
    await heard(region.bob, region.room_id, banned)
    assert region.wendy.user_id not in await members(region.bob, region.room_id)
    await region.agree()


async def test_who_wants_all_members_at_once_is_told_of_the_room_when_they_are_known(region: Region) -> None:
    gate = region.hold()
    since = (await region.bob.sync())["next_batch"]
    await region.bob.join(region.room_id, via=[region.north.name])
    await _rooms(region.bob, sync_filter=_LAZY)
    assert region.room_id not in await _rooms(region.bob)
    meanwhile = await region.bob.sync(since=since)
    assert region.room_id not in meanwhile.get("rooms", {}).get("join", {})
    gate.set()
    since = meanwhile["next_batch"]
    rooms: dict[str, Any] = {}

    async def is_told() -> bool:
        nonlocal since, rooms
        answer = await region.bob.sync(since=since, timeout_seconds=5)
        since, rooms = answer["next_batch"], answer.get("rooms", {}).get("join", {})
        return region.room_id in rooms

    await _until(is_told)
    told = rooms[region.room_id]
    shown = [*told["state"]["events"], *told["timeline"]["events"]]
    assert {event["state_key"] for event in shown if event["type"] == "m.room.member"} == region.everybody


async def test_who_syncs_by_windows_is_told_all_of_the_room_anew_when_its_members_are_known(region: Region) -> None:
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    wanted: dict[str, Any] = {region.room_id: {"required_state": [["m.room.member", "*"]], "timeline_limit": 5}}
    first = await region.bob.sliding_sync(room_subscriptions=wanted)
    assert region.room_id in first.rooms
    gate.set()
    assert await members(region.bob, region.room_id) == region.everybody
    room = (await region.bob.sliding_sync(pos=first.pos, room_subscriptions=wanted)).rooms[region.room_id]
    assert room.initial
    assert {event["state_key"] for event in room.required_state} == region.everybody


async def test_the_others_of_the_town_come_in_when_the_members_are_known(region: Region) -> None:
    carol = region.south["carol"]
    await region.alice.ban(region.room_id, carol.user_id)
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    with trio.move_on_after(0.2):
        await carol.join(region.room_id)
    gate.set()
    with pytest.raises(Refused):
        await carol.join(region.room_id)
    assert await members(region.bob, region.room_id) == region.everybody


async def test_another_server_completes_the_room_if_the_first_is_gone(region: Region) -> None:
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    # So that the west knows of the join.
    said = await region.alice.send_text(region.room_id, "Bob is coming")
    await heard(region.wendy, region.room_id, said)
    region.network.part(region.north.name, region.south.name)
    gate.set()
    assert await members(region.bob, region.room_id) == region.everybody
    hello = await region.wendy.send_text(region.room_id, "North is gone")
    await heard(region.bob, region.room_id, hello)
    region.network.heal()
    await region.agree()


async def test_a_room_is_left_before_its_members_are_known_and_joined_again(region: Region) -> None:
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    await region.bob.leave(region.room_id)

    async def has_left() -> bool:
        return region.bob.user_id not in await members(region.alice, region.room_id)

    await _until(has_left)
    gate.set()
    await region.bob.join(region.room_id, via=[region.north.name])
    assert await members(region.bob, region.room_id) == region.everybody
    await region.agree()


async def test_others_are_sent_elsewhere_while_the_members_are_not_known(region: Region) -> None:
    gate = region.hold()
    await region.bob.join(region.room_id, via=[region.north.name])
    await region.wendy.leave(region.room_id)
    left = await region.alice.send_text(region.room_id, "Wendy has left")
    await region.wendy.join(region.room_id, via=[region.south.name])
    way = (region.west.name, region.south.name)
    asked = [uri for origin, to, _, uri in region.network.requests if (origin, to) == way]
    assert any("/make_join/" in uri for uri in asked)
    assert not any("/send_join/" in uri for uri in asked)
    gate.set()
    await heard(region.bob, region.room_id, left)

    async def all_are_in() -> bool:
        return await members(region.bob, region.room_id) == region.everybody

    await _until(all_are_in)


async def test_members_are_fetched_after_a_restart(postgres: PostgresServer, tmp_path: Path, network: Network) -> None:
    url, home = await postgres.fresh(), tmp_path / "south"
    home.mkdir()
    try:
        async with towns(postgres, tmp_path, network, north=["alice"], west=["wendy"]) as (north, west):
            async with open_town(_SOUTH, url, home, network, ["bob"]) as south:
                region = await _settled(network, north, west, south)
                gate = region.hold()
                await region.bob.join(region.room_id, via=[north.name])
                early = await region.alice.send_text(region.room_id, "Before you went")
                await _is_sent(region, early)
            gate.set()
            async with open_town(_SOUTH, url, home, network, ["bob"], is_new=False) as south:
                region = Region(network, north, west, south, region.room_id)
                assert await members(region.bob, region.room_id) == region.everybody
                await heard(region.bob, region.room_id, early)
                late = await region.alice.send_text(region.room_id, "After you came back")
                await heard(region.bob, region.room_id, late)
                await region.agree()
    finally:
        await postgres.drop(url)


async def _is_sent(region: Region, event_id: EventId) -> None:
    """Return when the west has an event, and the south was sent one too."""
    await heard(region.wendy, region.room_id, event_id)
    way = (region.north.name, region.south.name)

    async def was_sent() -> bool:
        return any((origin, to) == way and "/send/" in uri for origin, to, _, uri in region.network.requests)

    await _until(was_sent)
