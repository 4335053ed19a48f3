"""What is said here is heard elsewhere: once, in order, whatever happens in between."""

from __future__ import annotations

from random import Random

import orjson
import trio

from tests.homeserver.peers.post import PATIENCE_SECONDS, Post, Transaction, branch, hasty
from tests.homeserver.rooms.foreign import ELSEWHERE, YAN, ZOE, Foreign
from tests.homeserver.rooms.house import ALICE, BOB, House, opened_house
from tricord.federation.health import PeerHealth
from tricord.homeserver.peers.leases import PARTS
from tricord.homeserver.peers.sender import GONE_MS, LONG_ABSENCE_MS, MOST_WAITING_EDUS
from tricord.homeserver.storage.database import Transaction as Tx
from tricord.homeserver.storage.outgoing import prune_outgoing, put_outgoing_edus
from tricord.protocol.identifiers import ServerName, UserId

FARAWAY = ServerName("faraway.test")
XIA = UserId(f"@xia:{FARAWAY}")


async def rows(house: House, table: str) -> int:
    async def count(tx: Tx) -> int:
        found: int = await tx.fetchval(f"SELECT count(*) FROM {table}")
        return found

    return await house.database.read(count)


async def test_a_server_hears_what_is_said_after_its_join_and_nothing_before(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        room_id = await here.house.create()
        await here.say_all(room_id, "before")
        await here.joins(room_id, ZOE)
        await here.say_all(room_id, "one", "two")
        elsewhere = here.post[ELSEWHERE]
        await here.post.until(lambda: len(elsewhere.events) == 2)
        assert elsewhere.heard == ["one", "two"]
        assert await here.room_servers.of(room_id) == {ELSEWHERE}


async def test_rooms_without_other_servers_leave_nothing_to_send(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        room_id = await here.house.create()
        await here.house.member(room_id, BOB, "join")
        await here.say_all(room_id, "among ourselves")
        assert await rows(here.house, "outgoing_events") == 0
        assert await here.room_servers.of(room_id) == frozenset()


async def test_a_server_is_told_that_its_last_user_was_kicked_and_nothing_more(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        room_id = await here.house.create()
        await here.joins(room_id, ZOE, YAN, XIA)
        await here.house.member(room_id, YAN, "leave", ALICE)
        await here.say_all(room_id, "Zoe is still here")
        await here.house.member(room_id, ZOE, "leave", ALICE)
        await here.say_all(room_id, "now they are gone")
        elsewhere, faraway = here.post[ELSEWHERE], here.post[FARAWAY]
        await here.post.until(lambda: "now they are gone" in faraway.heard)
        await here.post.until(lambda: len(elsewhere.events) == 3)
        assert [event.get("state_key", event["content"].get("body")) for event in elsewhere.events] == [
            YAN,
            "Zoe is still here",
            ZOE,
        ]
        assert await here.room_servers.of(room_id) == {FARAWAY}
        await here.joins(room_id, YAN)
        await here.say_all(room_id, "welcome back")
        await here.post.until(lambda: elsewhere.heard[-1] == "welcome back")
        assert elsewhere.heard == ["Zoe is still here", "welcome back"]


async def test_an_outage_is_caught_up_in_order_though_the_sender_is_restarted(database_url: str) -> None:
    post = Post()
    elsewhere = post[ELSEWHERE]
    async with branch(database_url, post) as here:
        room_id = await here.house.create()
        await here.joins(room_id, ZOE)
        await here.say_all(room_id, "heard")
        await post.until(lambda: elsewhere.heard)
        elsewhere.is_there = False
        await here.say_all(room_id, *(f"a{number}" for number in range(70)))
        tried = len(elsewhere.attempts)
        await post.until(lambda: len(elsewhere.attempts) > tried + 2)
    async with branch(database_url, post) as here:
        await here.say_all(room_id, *(f"b{number}" for number in range(70)))
        elsewhere.is_there = True
        await post.until(lambda: "b69" in elsewhere.heard)
        assert elsewhere.heard == ["heard", *(f"a{n}" for n in range(70)), *(f"b{n}" for n in range(70))]


async def test_a_transaction_whose_answer_was_lost_is_repeated_under_its_id(database_url: str) -> None:
    post = Post()
    elsewhere = post[ELSEWHERE]
    elsewhere.is_there = False
    async with branch(database_url, post) as here:
        room_id = await here.house.create()
        await here.joins(room_id, ZOE)
        await here.say_all(room_id, "once")
        await post.until(lambda: len(elsewhere.attempts) >= 3)
    async with branch(database_url, post):
        elsewhere.is_there = True
        await post.until(lambda: elsewhere.heard)
    assert elsewhere.heard == ["once"]
    assert len({attempt.transaction_id for attempt in elsewhere.attempts}) == 1


async def test_one_server_that_hangs_keeps_no_other_waiting(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        room_id = await here.house.create()
        await here.joins(room_id, ZOE, XIA)
        elsewhere, faraway = here.post[ELSEWHERE], here.post[FARAWAY]
        elsewhere.hangs = trio.Event()
        said = [f"{number}" for number in range(150)]
        await here.say_all(room_id, *said)
        await here.post.until(lambda: faraway.heard == said)
        assert elsewhere.heard == []
        elsewhere.hangs.set()
        await here.post.until(lambda: elsewhere.heard == said)


async def test_what_a_server_will_not_take_is_left_out(database_url: str) -> None:
    def refuse(transaction: Transaction) -> int | None:
        return 413 if any(pdu["content"].get("body") == "poison" for pdu in transaction.pdus) else None

    async with branch(database_url, Post()) as here:
        room_id = await here.house.create()
        await here.joins(room_id, ZOE)
        elsewhere = here.post[ELSEWHERE]
        elsewhere.refuse = refuse
        elsewhere.hangs = trio.Event()
        await here.say_all(room_id, "a", "b", "poison", "c", "d")
        elsewhere.hangs.set()
        await here.post.until(lambda: "d" in elsewhere.heard)
        assert elsewhere.heard == ["a", "b", "c", "d"]


async def test_a_server_that_fails_at_one_event_but_is_well_gets_the_others(database_url: str) -> None:
    def refuse(transaction: Transaction) -> int | None:
        return 500 if any(pdu["content"].get("body") == "poison" for pdu in transaction.pdus) else None

    async with branch(database_url, Post()) as here:
        room_id = await here.house.create()
        await here.joins(room_id, ZOE)
        elsewhere = here.post[ELSEWHERE]
        elsewhere.refuse = refuse
        await here.say_all(room_id, "poison", "antidote")
        await here.post.until(lambda: elsewhere.heard)
        assert elsewhere.heard == ["antidote"]


async def test_a_server_that_fails_at_everything_misses_nothing_and_is_asked_ever_more_rarely(
    database_url: str,
) -> None:
    async with branch(database_url, Post()) as here:
        room_id = await here.house.create()
        await here.joins(room_id, ZOE)
        elsewhere = here.post[ELSEWHERE]
        elsewhere.refuse = lambda _: 503
        await here.say_all(room_id, "one", "two")
        await here.post.until(lambda: len(here.pauses) >= 6)
        elsewhere.refuse = lambda _: None
        await here.post.until(lambda: len(elsewhere.heard) == 2)
        assert elsewhere.heard == ["one", "two"]
        assert here.pauses[:5] == [0.75, 1.5, 3.0, 6.0, 12.0]


async def test_an_invited_server_learns_that_the_invitation_is_no_more(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        room_id = await here.house.create()
        await here.house.member(room_id, ZOE, "invite", ALICE)
        await here.say_all(room_id, "not for Zoe")
        await here.house.member(room_id, ZOE, "leave", ALICE)
        await here.say_all(room_id, "nor this")
        elsewhere = here.post[ELSEWHERE]
        await here.post.until(lambda: elsewhere.events)
        await here.joins(room_id, YAN)
        await here.say_all(room_id, "for Yan")
        await here.post.until(lambda: elsewhere.heard)
        assert [event.get("state_key", "") for event in elsewhere.events] == [ZOE, ""]


async def test_what_was_handed_to_us_goes_to_all_but_its_author(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        room_id = await here.house.create()
        await here.joins(room_id, XIA)
        await here.arrives(room_id, await Foreign(here.house, room_id).joins(ZOE), forward=True)
        await here.arrives(room_id, await Foreign(here.house, room_id).says(ZOE, "not ours to send"))
        await here.say_all(room_id, "hello")
        elsewhere, faraway = here.post[ELSEWHERE], here.post[FARAWAY]
        await here.post.until(lambda: faraway.heard and elsewhere.heard)
        assert [event["sender"] for event in faraway.events] == [ZOE, ALICE]
        assert [event["sender"] for event in elsewhere.events] == [ALICE]


async def test_many_servers_hear_what_is_said_in_their_room(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        room_id = await here.house.create()
        servers = [ServerName(f"s{number}.test") for number in range(60)]
        await here.joins(room_id, *(UserId(f"@u:{server}") for server in servers))
        said = [f"{number}" for number in range(5)]
        await here.say_all(room_id, *said)
        await here.post.until(lambda: all(here.post[server].heard == said for server in servers))


async def test_a_server_that_was_away_for_long_gets_the_newest_event_of_each_room(database_url: str) -> None:
    post = Post()
    elsewhere = post[ELSEWHERE]
    async with branch(database_url, post) as here:
        rooms = [await here.house.create() for _ in range(3)]
        for room_id in rooms:
            await here.joins(room_id, ZOE)
        await here.say_all(rooms[0], "start")
        await post.until(lambda: elsewhere.heard)
        elsewhere.is_there = False
        await here.say_all(rooms[0], "trigger")
        await post.until(lambda: len(elsewhere.attempts) > 3)
        here.house.clock.now += 8 * 24 * 3600 * 1000
        for room_id in rooms:
            await here.say_all(room_id, *(f"{number}" for number in range(60)))
        await here.house.database.run(prune_outgoing, here.house.clock.now_ms() - 7 * 24 * 3600 * 1000)
        assert await rows(here.house, "outgoing_events") == 3
        tried = len(elsewhere.attempts)
        await post.until(lambda: len(elsewhere.attempts) > tried + 2)
        elsewhere.is_there = True
        await post.until(lambda: elsewhere.heard.count("59") == 3)
        assert len(elsewhere.heard) <= 1 + 50 + 3
        await here.say_all(rooms[1], "and on")
        await post.until(lambda: elsewhere.heard[-1] == "and on")


async def pruned_to(house: House, events: int) -> None:
    """Delete what everybody has until so many events are left: who got how far is noted after it was sent."""
    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            await house.database.run(prune_outgoing, 0)
            if (left := await rows(house, "outgoing_events")) == events:
                return
            assert left > events
            await trio.sleep(0.05)


async def test_what_everybody_has_is_deleted(database_url: str) -> None:
    post = Post()
    async with branch(database_url, post) as here:
        room_id = await here.house.create()
        await here.joins(room_id, ZOE, XIA)
        await here.say_all(room_id, "one", "two")
        await post.until(lambda: len(post[ELSEWHERE].heard) == 2 and len(post[FARAWAY].heard) == 2)
        post[FARAWAY].is_there = False
        await here.say_all(room_id, "three")
        await post.until(lambda: len(post[ELSEWHERE].heard) == 3)
        await pruned_to(here.house, 1)
        post[FARAWAY].is_there = True
        await post.until(lambda: len(post[FARAWAY].heard) == 3)
        await pruned_to(here.house, 0)


async def test_a_server_that_needs_nothing_of_a_room_holds_nothing_up(database_url: str) -> None:
    post = Post()
    async with branch(database_url, post) as here:
        room_id = await here.house.create()
        await here.joins(room_id, ZOE)
        await here.arrives(room_id, await Foreign(here.house, room_id).says(ZOE, "for all"), forward=True)
    async with branch(database_url, post) as here:
        await pruned_to(here.house, 0)
        assert post.peers == {}


def reached(post: Post, said: str) -> set[ServerName]:
    """Return whom something that was said has reached."""
    return {server for server, peer in post.peers.items() if said in peer.heard}


async def test_two_processes_share_the_servers_and_one_takes_over(database_url: str) -> None:
    first_post, second_post = Post(), Post()
    servers = [ServerName(f"s{number}.test") for number in range(20)]
    async with branch(database_url, first_post) as first:
        room_id = await first.house.create()
        await first.joins(room_id, *(UserId(f"@u:{server}") for server in servers))
        async with branch(database_url, second_post) as second:
            with trio.fail_after(PATIENCE_SECONDS):
                while not len(first.leases.held) == len(second.leases.held) == PARTS // 2:  # noqa: ASYNC110
                    await trio.sleep(0.05)
            await first.house.say(room_id, "shared")
            by_first = {server for server in servers if first.leases.covers(server)}
            by_second = set(servers) - by_first
            await first_post.until(lambda: reached(first_post, "shared") >= by_first)
            await second_post.until(lambda: reached(second_post, "shared") >= by_second)
            assert (reached(first_post, "shared"), reached(second_post, "shared")) == (by_first, by_second)
            assert by_first
            assert by_second
        await first.house.say(room_id, "alone")
        await first_post.until(lambda: all("alone" in first_post[server].heard for server in servers))


async def test_durable_edus_arrive_once_and_in_order_after_an_outage(database_url: str) -> None:
    post = Post()
    elsewhere = post[ELSEWHERE]
    elsewhere.is_there = False
    edus = [f'{{"edu_type":"m.test","content":{{"number":{number}}}}}'.encode() for number in range(130)]
    async with branch(database_url, post, hasty()) as here:
        await here.house.database.run(put_outgoing_edus, [(ELSEWHERE, edu) for edu in edus[:60]])
        await here.sender.look_for_edus([ELSEWHERE])
        await post.until(lambda: len(elsewhere.attempts) > 1)
    async with branch(database_url, post) as here:
        elsewhere.is_there = True
        await post.until(lambda: len(elsewhere.edus("m.test")) >= 60)
        await here.house.database.run(put_outgoing_edus, [(ELSEWHERE, edu) for edu in edus[60:]])
        await here.sender.look_for_edus([ELSEWHERE])
        await post.until(lambda: len(elsewhere.edus("m.test")) >= 130)
        assert [edu["number"] for edu in elsewhere.edus("m.test")] == list(range(130))


def _device_edu(user: str, number: int) -> bytes:
    content = {"user_id": f"@{user}:hs.test", "device_id": "D", "stream_id": number, "prev_id": [number - 1]}
    return orjson.dumps({"edu_type": "m.device_list_update", "content": content})


def _to_device_edu(number: int) -> bytes:
    content = {"sender": "@u:hs.test", "type": "m.test", "message_id": str(number), "messages": {"\0": {}}}
    return orjson.dumps({"edu_type": "m.direct_to_device", "content": content})


async def test_what_waits_for_a_server_that_does_not_come_back_is_bounded(database_url: str) -> None:
    post = Post()
    elsewhere = post[ELSEWHERE]
    elsewhere.is_there = False
    async with branch(database_url, post, hasty()) as here:
        room_id = await here.house.create()
        await here.joins(room_id, ZOE)
        await here.say_all(room_id, "are you there?")
        await post.until(lambda: len(elsewhere.attempts) > 2)
        edus = [_device_edu("alice", 1), _to_device_edu(1), _device_edu("alice", 2), _device_edu("bob", 3)]
        await here.house.database.run(put_outgoing_edus, [(ELSEWHERE, edu) for edu in edus])
        await here.sender.prune()
        assert await rows(here.house, "outgoing_edus") == 4
        here.house.clock.now += LONG_ABSENCE_MS + 1000
        await here.sender.prune()
        assert await rows(here.house, "outgoing_edus") == 3
        more = [(ELSEWHERE, _to_device_edu(number)) for number in range(MOST_WAITING_EDUS + 5)]
        await here.house.database.run(put_outgoing_edus, more)
        await here.sender.prune()
        assert await rows(here.house, "outgoing_edus") == MOST_WAITING_EDUS
        here.house.clock.now += GONE_MS
        await here.sender.prune()
        assert await rows(here.house, "outgoing_edus") == 0
        assert await rows(here.house, "outgoing_events") == 1


async def test_what_waits_for_servers_that_are_there_is_not_dropped(database_url: str) -> None:
    async with branch(database_url, Post()) as here:
        await here.house.database.run(put_outgoing_edus, [(ELSEWHERE, _device_edu("alice", 1))] * 3)
        await here.sender.prune()
        assert await rows(here.house, "outgoing_edus") == 3


async def test_a_sign_of_life_ends_the_pause(database_url: str) -> None:
    async with branch(database_url, Post(), PeerHealth(jitter=lambda _low, _high: 3600)) as here:
        room_id = await here.house.create()
        await here.joins(room_id, ZOE)
        elsewhere = here.post[ELSEWHERE]
        elsewhere.is_there = False
        await here.say_all(room_id, "hello")
        await here.post.until(lambda: here.health.pause_seconds(ELSEWHERE) > 3000)
        elsewhere.is_there = True
        here.health.note_alive(ELSEWHERE)
        await here.post.until(lambda: elsewhere.heard)


async def test_what_another_process_writes_is_sent(database_url: str) -> None:
    async with branch(database_url, Post()) as here, opened_house(database_url) as other:
        room_id = await here.house.create()
        await here.joins(room_id, ZOE)
        await other.say(room_id, "from the other one")
        elsewhere = here.post[ELSEWHERE]
        await here.post.until(lambda: elsewhere.heard)


async def test_whatever_comes_and_goes_everything_is_heard_once_and_in_order(database_url: str) -> None:
    chance = Random(7)
    servers = [ServerName(f"s{number}.test") for number in range(6)]
    async with branch(database_url, Post()) as here, opened_house(database_url) as other:
        rooms = [await here.house.create() for _ in range(2)]
        for room_id in rooms:
            await here.joins(room_id, *(UserId(f"@u:{server}") for server in servers))
        said: list[str] = []

        async def flap() -> None:
            while True:
                peer = here.post[chance.choice(servers)]
                peer.is_there = not peer.is_there
                await trio.sleep(0.002)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flap)
            for number in range(250):
                house = other if number % 5 == 0 else here.house
                await house.say(chance.choice(rooms), f"{number}")
                said.append(f"{number}")
            nursery.cancel_scope.cancel()
        for server in servers:
            here.post[server].is_there = True
        await here.post.until(lambda: all(said[-1] in here.post[server].heard for server in servers))
        assert {tuple(here.post[server].heard) for server in servers} == {tuple(said)}
