"""Messages are kept as long as their room says, within what the operator allows, and then deleted with all there is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.conversations.hostile import peer
from tests.conversations.network import Network
from tests.conversations.towns import open_town
from tests.homeserver.rooms.house import ALICE, BOB, FixedClock, House, opened_house
from tests.servers import running_homeserver, signed_in
from tricord.clients import Client, Refused
from tricord.homeserver.assembly.media import media_administration_of
from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.drafts import Draft
from tricord.homeserver.rooms.purge import Purge
from tricord.homeserver.rooms.retention import lifetime_ms
from tricord.homeserver.rooms.retention_settings import RetentionSettings
from tricord.homeserver.search.indexer import SearchIndexer
from tricord.homeserver.search.stems import Stems
from tricord.homeserver.storage.database import Transaction, open_database
from tricord.homeserver.storage.stream import current_position
from tricord.homeserver.stream.publisher import Publisher
from tricord.protocol.events import parse_event
from tricord.protocol.identifiers import RoomId, ServerName
from tricord.protocol.room_versions import room_version

HOUR, DAY = 3_600_000, 86_400_000
SETTINGS = RetentionSettings(enabled=True, shortest_hours=1)


@pytest.mark.parametrize(
    ("said", "kept_hours"),
    [
        (None, 48),
        ({"max_lifetime": 24 * HOUR}, 24),
        ({"max_lifetime": HOUR}, 12),
        ({"max_lifetime": 2**53 - 1}, 96),
        ({"max_lifetime": 24 * HOUR, "min_lifetime": 24 * HOUR}, 24),
        ({"max_lifetime": 24 * HOUR, "min_lifetime": 25 * HOUR}, 48),
        ({"min_lifetime": 24 * HOUR}, 48),
        ({"max_lifetime": -1}, 48),
        ({"max_lifetime": True}, 48),
        ({"max_lifetime": "24h"}, 48),
        ({"max_lifetime": 24 * HOUR, "min_lifetime": None}, 24),
        ({}, 48),
    ],
)
def test_a_room_is_heeded_within_the_bounds(said: dict[str, Any] | None, kept_hours: int) -> None:
    settings = RetentionSettings(enabled=True, default_hours=48, shortest_hours=12, longest_hours=96)
    assert lifetime_ms(said, settings) == kept_hours * HOUR


def test_without_default_and_bound_messages_are_kept_for_ever() -> None:
    assert lifetime_ms(None, RetentionSettings(enabled=True)) is None
    assert lifetime_ms(None, RetentionSettings(enabled=True, longest_hours=30)) == 30 * HOUR


def test_bounds_that_leave_nothing_between_them_are_refused() -> None:
    with pytest.raises(ValueError, match=r"longest_hours \(1\) is less than shortest_hours \(2\)"):
        RetentionSettings(shortest_hours=2, longest_hours=1)


async def keep_for(house: House, room_id: RoomId, lifetime: int) -> None:
    await house.set(room_id, "m.room.retention", "", {"max_lifetime": lifetime})


async def purge(house: House, settings: RetentionSettings = SETTINGS) -> None:
    job = Purge(house.database, house.rooms, house.clock, settings)
    while await job.step():
        pass


async def types(house: House, room_id: RoomId) -> list[str]:
    async def read(tx: Transaction) -> list[str]:
        rows = await tx.fetch(
            "SELECT type FROM events JOIN rooms USING (room_nid) WHERE room_id = $1 ORDER BY position", room_id
        )
        return [row[0] for row in rows]

    return await house.database.read(read)


async def count(house: House, table: str) -> int:
    async def read(tx: Transaction) -> int:
        found: int = await tx.fetchval(f"SELECT count(*) FROM {table}")
        return found

    return await house.database.read(read)


async def test_old_messages_are_deleted_and_the_state_stays(database_url: str) -> None:
    async with opened_house(database_url) as house:
        room_id, other = await house.create(), await house.create()
        await keep_for(house, room_id, DAY)
        for number in range(450):
            await house.say(room_id, f"old {number}")
        await house.say(other, "kept for ever")
        await house.set(room_id, "m.room.topic", "", {"topic": "old, and still so"})
        before = await types(house, room_id)
        house.clock.now += DAY
        await house.say(room_id, "new")
        await purge(house)
        assert await types(house, room_id) == [type_ for type_ in before if type_ != "m.room.message"] + [
            "m.room.message"
        ]
        assert await house.bodies(room_id) == ["new"]
        assert await house.bodies(other) == ["kept for ever"]
        await house.say(room_id, "and on it goes")
    async with opened_house(database_url) as house:
        assert await house.bodies(room_id) == ["new", "and on it goes"]


async def test_what_the_next_event_stands_on_stays_until_that_has_come(database_url: str) -> None:
    async with opened_house(database_url) as house:
        room_id = await house.create()
        await keep_for(house, room_id, DAY)
        await house.say(room_id, "first")
        last = await house.say(room_id, "last")
        house.clock.now += 2 * DAY
        await purge(house)
        assert await house.bodies(room_id) == ["last"]
        said = await house.say(room_id, "much later")
        assert said.event.prev_events == (last.event.event_id,)
        house.clock.now += HOUR
        await purge(house)
        assert await house.bodies(room_id) == ["much later"]


async def test_a_redaction_stays_as_long_as_what_it_redacts(database_url: str) -> None:
    async with opened_house(database_url) as house:
        room_id = await house.create()
        await keep_for(house, room_id, DAY)
        topic = await house.set(room_id, "m.room.topic", "", {"topic": "rude"})
        said = await house.say(room_id, "rude too")
        of_topic = await house.redact(room_id, topic.event.event_id)
        await house.redact(room_id, said.event.event_id)
        house.clock.now += 2 * DAY
        await house.say(room_id, "so much for that")
        await purge(house)
        stored = await house.timeline.event(topic.event.event_id)
        assert stored is not None
        assert stored.redacted_because == of_topic.event.event_id
        assert (await types(house, room_id))[-2:] == ["m.room.redaction", "m.room.message"]
        assert (await types(house, room_id)).count("m.room.redaction") == 1


async def test_nothing_of_a_deleted_message_is_left_in_other_tables(database_url: str) -> None:
    async with opened_house(database_url) as house:
        indexer = SearchIndexer(house.database, house.publisher, Stems())
        room_id = await house.create()
        await keep_for(house, room_id, DAY)
        root = (await house.say(room_id, "the root")).event.event_id
        for relation in (
            {"rel_type": "m.thread", "event_id": root},
            {"rel_type": "m.replace", "event_id": root},
            {"rel_type": "m.reference", "event_id": "$far_away"},
        ):
            content = {"msgtype": "m.text", "body": "it", "m.relates_to": relation, "m.new_content": {"body": "it"}}
            await house.log.append(Draft(room_id, ALICE, "m.room.message", None, content))
        await indexer.catch_up()
        assert await count(house, "search_index") > 0
        house.clock.now += 2 * DAY
        await house.say(room_id, "new")
        await indexer.catch_up()
        await purge(house)
        assert await count(house, "event_relations") == 0
        assert await count(house, "threads") == 0
        await indexer.catch_up()
        assert await count(house, "search_index") == 1


async def test_a_message_is_found_by_what_it_says_once_its_edit_is_deleted(database_url: str) -> None:
    async with opened_house(database_url) as house:
        indexer = SearchIndexer(house.database, house.publisher, Stems())
        room_id = await house.create()
        await keep_for(house, room_id, DAY)
        house.clock.now += DAY
        said = (await house.say(room_id, "apples")).event.event_id
        house.clock.now -= DAY
        relation = {"rel_type": "m.replace", "event_id": said}
        new = {"msgtype": "m.text", "body": "pears"}
        edit = {"msgtype": "m.text", "body": "* pears", "m.new_content": new, "m.relates_to": relation}
        await house.log.append(Draft(room_id, ALICE, "m.room.message", None, edit))
        house.clock.now += DAY
        await house.say(room_id, "plums")
        await indexer.catch_up()
        assert await count(house, "search_index WHERE edit_nid IS NOT NULL") == 1
        await purge(house)
        await indexer._index_some(wait=True)
        assert await count(house, "search_index WHERE edit_nid IS NOT NULL") == 0
        assert await count(house, "search_index") == 2


async def test_the_work_goes_on_where_it_ended_and_rests_in_between(database_url: str) -> None:
    async with opened_house(database_url) as house:
        room_id = await house.create()
        await keep_for(house, room_id, DAY)
        for number in range(300):
            await house.say(room_id, f"old {number}")
        house.clock.now += 2 * DAY
        await house.say(room_id, "new")
        assert await Purge(house.database, house.rooms, house.clock, SETTINGS).step()
        assert await count(house, "events WHERE type = 'm.room.message'") == 101
    async with opened_house(database_url) as house:
        house.clock.now += 2 * DAY
        job = Purge(house.database, house.rooms, house.clock, SETTINGS)
        await job.step()
        assert await house.bodies(room_id) == ["new"]
        while await job.step():
            pass
        await house.say(room_id, "newer")
        assert not await job.step()
        assert await house.bodies(room_id) == ["new", "newer"]
        house.clock.now += DAY + HOUR
        await house.say(room_id, "newest")
        await purge(house)
        assert await house.bodies(room_id) == ["newest"]


async def test_of_two_processes_one_is_at_it(database_url: str) -> None:
    async with opened_house(database_url) as one, opened_house(database_url) as other:
        room_id = await one.create()
        await one.member(room_id, BOB, "join")
        await keep_for(one, room_id, DAY)
        for number in range(250):
            await one.say(room_id, f"old {number}")
        one.clock.now += 2 * DAY
        other.clock.now += 2 * DAY
        async with trio.open_nursery() as nursery:
            for house in (one, other):
                nursery.start_soon(purge, house)
                for number in range(20):
                    nursery.start_soon(house.say, room_id, f"new {number}", BOB)
        # Whoever came by before anything new was said has left the last of the old to the next round.
        one.clock.now += 2 * HOUR
        await purge(one)
        await one.publisher.reach(await one.database.read(current_position))
        assert sorted(await one.bodies(room_id)) == sorted(f"new {number}" for number in range(20) for _ in range(2))


@pytest.fixture
async def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
async def people(database_url: str, tmp_path: Path, clock: FixedClock) -> AsyncIterator[tuple[Client, Client]]:
    retention = {"enabled": True, "shortest_hours": 1}
    async with (
        running_homeserver(database_url, tmp_path, clock=clock, retention=retention) as homeserver,
        signed_in(homeserver, "alice") as alice,
        signed_in(homeserver, "bob") as bob,
    ):
        yield alice, bob


async def test_what_is_over_is_shown_to_nobody_before_it_is_deleted(
    people: tuple[Client, Client], clock: FixedClock
) -> None:
    alice, bob = people
    room_id = await alice.create_room(preset="public_chat", name="Fleeting")
    await bob.join(room_id)
    await alice.set_state(room_id, "m.room.retention", {"max_lifetime": DAY})
    old = await alice.send_text(room_id, "gone tomorrow")
    clock.now += DAY
    new = await alice.send_text(room_id, "here today")
    for reader in people:
        told = (await reader.sync())["rooms"]["join"][room_id]["timeline"]["events"]
        assert [one["event_id"] for one in told if one["type"] == "m.room.message"] == [new]
        page = await reader.messages(room_id, limit=50)
        assert [one["event_id"] for one in page.chunk if one["type"] == "m.room.message"] == [new]
        assert {"name": "Fleeting"} in [one["content"] for one in page.chunk]
        with pytest.raises(Refused) as refusal:
            await reader.event(room_id, old)
        assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")
        found = await reader.search("gone here")
        assert found["count"] == 0
        assert (await reader.search("today"))["count"] == 1
    await alice.set_state(room_id, "m.room.retention", {"max_lifetime": 3 * DAY})
    assert (await bob.event(room_id, old))["content"]["body"] == "gone tomorrow"


async def test_whoever_was_away_is_not_told_what_is_over(people: tuple[Client, Client], clock: FixedClock) -> None:
    alice, bob = people
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await alice.set_state(room_id, "m.room.retention", {"max_lifetime": DAY})
    since = (await bob.sync())["next_batch"]
    window: dict[str, Any] = {room_id: {"timeline_limit": 10, "required_state": []}}
    pos = (await bob.sliding_sync(room_subscriptions=window)).pos
    await alice.send_text(room_id, "gone tomorrow")
    # It is in memory now, ready for others who come from there.
    assert bodies((await bob.sync(since=since))["rooms"]["join"][room_id]) == ["gone tomorrow"]
    clock.now += DAY
    await alice.send_text(room_id, "here today")
    assert bodies((await bob.sync(since=since))["rooms"]["join"][room_id]) == ["here today"]
    clock.now += DAY + HOUR
    assert "rooms" not in await bob.sync(since=since)
    told = (await bob.sliding_sync(pos=pos, room_subscriptions=window)).rooms.get(room_id)
    assert told is None or not told.timeline


async def test_what_is_over_does_not_wait_to_be_read(people: tuple[Client, Client], clock: FixedClock) -> None:
    alice, bob = people
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await alice.set_state(room_id, "m.room.retention", {"max_lifetime": DAY})

    async def unread() -> int:
        counts = (await bob.sync())["rooms"]["join"][room_id]["unread_notifications"]
        return int(counts["notification_count"])

    await alice.send_text(room_id, "one")
    await alice.send_text(room_id, "two")
    assert await unread() == 2
    clock.now += DAY
    await alice.send_text(room_id, "three")
    assert await unread() == 1


def bodies(room: Any) -> list[str]:
    return [one["content"]["body"] for one in room["timeline"]["events"] if one["type"] == "m.room.message"]


async def test_other_servers_get_what_is_over_without_its_content(database_url: str, tmp_path: Path) -> None:
    clock, network, here = FixedClock(), Network(), ServerName("hs.test")
    settings = {"retention": {"enabled": True, "shortest_hours": 1}}
    async with peer("north.test", network) as north:
        clock.now = north._tick()
        async with open_town(here, database_url, tmp_path, network, ["alice"], settings, clock=clock) as town:
            alice = town["alice"]
            room_id = await alice.create_room(preset="public_chat")
            await alice.set_state(room_id, "m.room.retention", {"max_lifetime": HOUR})
            await north.join(here, room_id, north.user("nora"))
            said = await alice.send_text(room_id, "for an hour")
            uri = f"/_matrix/federation/v1/backfill/{room_id}?v={said}&limit=5"
            content = {"msgtype": "m.text", "body": "for an hour"}
            assert (await north.granted(here, "GET", uri))["pdus"][0]["content"] == content
            clock.now += HOUR
            pdus = (await north.granted(here, "GET", uri))["pdus"]
            assert pdus[0]["content"] == {}
            assert parse_event(pdus[0], room_version("12")).event_id == said
            assert {"max_lifetime": HOUR} in [pdu["content"] for pdu in pdus]


async def test_files_go_with_the_messages_of_those_who_uploaded_them(database_url: str, tmp_path: Path) -> None:
    clock = FixedClock()
    retention = {"enabled": True, "shortest_hours": 1, "files_too": True}
    async with (
        running_homeserver(database_url, tmp_path, clock=clock, retention=retention) as homeserver,
        signed_in(homeserver, "alice") as alice,
        signed_in(homeserver, "bob") as bob,
    ):

        async def is_there(uri: str) -> bool:
            try:
                async with bob.download(uri):
                    return True
            except Refused as refusal:
                if refusal.status != 404:
                    raise
                return False

        room_id = await alice.create_room(preset="public_chat")
        await bob.join(room_id)
        await alice.set_state(room_id, "m.room.retention", {"max_lifetime": HOUR})
        shown, thumbnail, picture, foreign = [await alice.upload(text) for text in (b"1", b"2", b"3", b"4")]
        await alice.set_profile("avatar_url", picture)
        for sender, url in ((alice, shown), (alice, picture), (bob, foreign)):
            content = {"msgtype": "m.image", "body": "x", "url": url, "info": {"thumbnail_url": thumbnail}}
            await sender.send(room_id, "m.room.message", content)
        clock.now += 2 * HOUR
        await alice.send_text(room_id, "next")
        settings = homeserver.settings
        async with open_database(database_url) as database:
            rooms = CachedRooms(database, Publisher(database, 0))
            job = Purge(database, rooms, clock, settings.retention, media_administration_of(settings, database))
            while await job.step():
                pass
        assert [await is_there(uri) for uri in (shown, thumbnail, picture, foreign)] == [False, False, True, True]
