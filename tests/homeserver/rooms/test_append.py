"""The log: what is appended is there, in order, once, and only if the room allows it."""

from __future__ import annotations

import dataclasses
import itertools

import orjson
import pytest
import trio

from tests.homeserver.rooms.house import ALICE, BOB, CAROL, SERVER, House, opened_house
from tricord.homeserver.rooms import commit
from tricord.homeserver.rooms.append import ClientTransaction, Draft
from tricord.homeserver.storage.database import Transaction
from tricord.homeserver.storage.event_batch import EventBatch, write_events
from tricord.protocol.errors import BadJson, DuplicateAnnotation, Forbidden, NotFound
from tricord.protocol.events import VerifiedEvent
from tricord.protocol.identifiers import EventId, RoomId
from tricord.protocol.room_versions import ROOM_VERSIONS, room_version


async def stored_again(house: House, event_id: EventId) -> VerifiedEvent:
    stored = await house.timeline.event(event_id)
    assert stored is not None
    return stored.event


@pytest.mark.parametrize("version", ROOM_VERSIONS)
async def test_a_room_of_any_version_takes_messages(house: House, version: str) -> None:
    room_id = await house.create(version=version)
    await house.member(room_id, BOB, "join")
    stored = await house.say(room_id, "hello", BOB)
    assert (await stored_again(house, stored.event.event_id)).json == stored.event.json
    assert stored.event.version.name == version


async def test_the_room_id_of_version_12_is_the_hash_of_its_create_event(house: House) -> None:
    room_id = await house.create(version="12")
    create = (await house.state.current(room_id, [("m.room.create", "")]))["m.room.create", ""]
    assert room_id == "!" + create.event.event_id[1:]


async def test_two_equal_rooms_made_in_the_same_millisecond_are_two_rooms(house: House) -> None:
    house.clock.now_ms = lambda: 1_700_000_000_000  # type: ignore[method-assign]  # stands still
    assert await house.create() != await house.create()


async def test_events_follow_each_other(house: House) -> None:
    room_id = await house.create()
    first, second = await house.say(room_id, "one"), await house.say(room_id, "two")
    assert second.event.prev_events == (first.event.event_id,)
    assert second.event.depth == first.event.depth + 1
    assert second.position == first.position + 1  # type: ignore[operator]


async def test_what_waits_together_is_chained_and_all_of_it_is_there(house: House) -> None:
    rooms = [await house.create() for _ in range(3)]
    async with trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(house.say, rooms[number % 3], f"{number}")
    for index, room_id in enumerate(rooms):
        assert sorted(map(int, await house.bodies(room_id))) == list(range(index, 60, 3))
        events = (await house.timeline.recent(room_id, after=0, upto=house.publisher.position, limit=100)).events
        for before, after in itertools.pairwise(events):
            assert after.event.prev_events == (before.event.event_id,)


async def test_who_is_not_in_the_room_is_refused_and_the_others_get_on(house: House) -> None:
    room_id = await house.create()
    refused: list[Forbidden] = []

    async def try_to_say() -> None:
        with pytest.raises(Forbidden) as caught:
            await house.say(room_id, "let me in", BOB)
        refused.append(caught.value)

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(house.say, room_id, str(number))
            nursery.start_soon(try_to_say)
    assert len(refused) == 5
    assert sorted(await house.bodies(room_id)) == ["0", "1", "2", "3", "4"]


async def test_a_join_and_the_first_words_may_wait_together(house: House) -> None:
    room_id = await house.create()
    drafts = [
        Draft(room_id, BOB, "m.room.member", BOB, {"membership": "join"}),
        Draft(room_id, BOB, "m.room.message", None, {"body": "hi"}),
    ]
    await house.log.append_all(drafts)
    assert await house.bodies(room_id) == ["hi"]


async def test_of_drafts_that_belong_together_all_or_none_are_appended(house: House) -> None:
    room_id = await house.create()
    drafts = [
        Draft(room_id, ALICE, "m.room.message", None, {"body": "first"}),
        Draft(room_id, BOB, "m.room.message", None, {"body": "not allowed"}),
    ]
    with pytest.raises(Forbidden):
        await house.log.append_all(drafts)
    await house.say(room_id, "next")
    assert await house.bodies(room_id) == ["next"]


async def test_there_is_no_appending_to_rooms_that_are_not_here(house: House) -> None:
    with pytest.raises(NotFound):
        await house.say(RoomId("!nowhere:house.test"), "hello?")


async def test_nul_is_refused_in_names_and_kept_in_content(house: House) -> None:
    room_id = await house.create()
    with pytest.raises(BadJson):
        await house.set(room_id, "a.type", "with \0", {})
    await house.say(room_id, "with \0 in it")
    assert await house.bodies(room_id) == ["with \0 in it"]


async def test_a_draft_that_nothing_can_be_made_of_harms_only_itself(house: House) -> None:
    room_id = await house.create()

    async def say_the_unspeakable() -> None:
        with pytest.raises(BadJson):
            await house.log.append(Draft(room_id, ALICE, "m.room.message", None, {"body": 1.5}))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.say, room_id, "before")
        nursery.start_soon(say_the_unspeakable)
        nursery.start_soon(house.say, room_id, "after")
    assert sorted(await house.bodies(room_id)) == ["after", "before"]


async def test_a_row_that_the_database_refuses_harms_only_itself(house: House) -> None:
    room_id = await house.create()
    await house.database.run(
        lambda tx: tx.execute("ALTER TABLE events ADD CHECK (type <> 'poison')"),
    )
    failed: list[BaseException] = []

    async def poison() -> None:
        with pytest.raises(Exception, match="check constraint") as caught:
            await house.log.append(Draft(room_id, ALICE, "poison", None, {}))
        failed.append(caught.value)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.say, room_id, "one")
        nursery.start_soon(poison)
        nursery.start_soon(house.say, room_id, "two")
    assert len(failed) == 1
    assert sorted(await house.bodies(room_id)) == ["one", "two"]


async def test_state_that_is_set_already_stays_the_event_it_is(house: House) -> None:
    room_id = await house.create()
    first = await house.set(room_id, "m.room.name", "", {"name": "Kitchen"})
    again = await house.set(room_id, "m.room.name", "", {"name": "Kitchen"})
    other = await house.set(room_id, "m.room.name", "", {"name": "Cellar"})
    assert again.event.event_id == first.event.event_id != other.event.event_id
    assert other.replaces == first.event.event_id


async def test_true_is_not_one(house: House) -> None:
    room_id = await house.create()
    first = await house.set(room_id, "a.type", "", {"value": 1})
    other = await house.set(room_id, "a.type", "", {"value": True})
    assert first.event.event_id != other.event.event_id


async def test_a_repeated_transaction_gets_the_first_event(house: House) -> None:
    room_id = await house.create()
    first = await house.say(room_id, "one", transaction_id="t")
    again = await house.say(room_id, "other words", transaction_id="t")
    elsewhere = await house.say(room_id, "from another device", device="LAPTOP", transaction_id="t")
    assert again.event.event_id == first.event.event_id != elsewhere.event.event_id
    assert await house.bodies(room_id) == ["one", "from another device"]


async def test_fifty_identical_requests_at_once_are_one_event(house: House) -> None:
    room_id = await house.create()
    ids: set[str] = set()

    async def send() -> None:
        ids.add((await house.say(room_id, "only once", transaction_id="t9")).event.event_id)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(send)
    assert len(ids) == 1
    assert await house.bodies(room_id) == ["only once"]


async def test_transactions_are_remembered_across_a_restart(database_url: str) -> None:
    async with opened_house(database_url) as house:
        room_id = await house.create()
        first = await house.say(room_id, "one", transaction_id="t")
    async with opened_house(database_url) as house:
        again = await house.say(room_id, "one", transaction_id="t")
        assert again.event.event_id == first.event.event_id
        assert again.transaction_id == "t"


async def test_a_caller_who_goes_away_takes_nobody_along(house: House) -> None:
    room_id = await house.create()
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(house.say, room_id, f"stays {number}")

            async def goes_away(number: int = number) -> None:
                with trio.move_on_after(0.001 * (number % 7)):
                    await house.say(room_id, "gone", transaction_id=f"t{number}")

            nursery.start_soon(goes_away)
    for number in range(40):
        await house.say(room_id, "gone", transaction_id=f"t{number}")
    bodies = await house.bodies(room_id)
    assert sorted(body for body in bodies if body != "gone") == sorted(f"stays {number}" for number in range(40))
    assert bodies.count("gone") == 40


async def test_two_processes_append_to_the_same_room(database_url: str) -> None:
    async with opened_house(database_url) as one, opened_house(database_url) as other:
        room_id = await one.create()
        await one.member(room_id, BOB, "join")
        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(one.say, room_id, f"one {number}")
                nursery.start_soon(other.say, room_id, f"other {number}", BOB)
        with trio.fail_after(60):
            while one.publisher.position != other.publisher.position:  # noqa: ASYNC110
                await trio.sleep(0.01)
        said = await one.bodies(room_id)
        assert said == await other.bodies(room_id)
        assert sorted(said) == sorted(f"{who} {number}" for who in ("one", "other") for number in range(60))
        events = (await one.timeline.recent(room_id, after=0, upto=one.publisher.position, limit=1000)).events
        for before, after in itertools.pairwise(events):
            assert after.event.prev_events == (before.event.event_id,)


async def test_two_processes_get_the_same_transactions(database_url: str) -> None:
    async with opened_house(database_url) as one, opened_house(database_url) as other:
        room_id = await one.create()
        ids: dict[str, set[str]] = {}

        async def send(house: House, transaction_id: str) -> None:
            stored = await house.say(room_id, transaction_id, transaction_id=transaction_id)
            ids.setdefault(transaction_id, set()).add(stored.event.event_id)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                for house in (one, other, one, other):
                    nursery.start_soon(send, house, f"t{number}")
        assert [len(same) for same in ids.values()] == [1] * 20


async def test_a_transaction_that_another_process_answers_meanwhile_makes_no_second_event(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened_house(database_url) as one, opened_house(database_url) as other:
        room_id = await one.create()
        by_other: list[str] = []

        async def write_too_late(tx: Transaction, batch: EventBatch) -> tuple[frozenset[int], dict[int, int]]:
            if not by_other:
                by_other.append("asked")
                by_other.append((await other.say(room_id, "once", transaction_id="t")).event.event_id)
                one.rooms.forget(room_id)
            return await write_events(tx, batch)

        monkeypatch.setattr(commit, "write_events", write_too_late)
        stored = await one.say(room_id, "once", transaction_id="t")
        assert stored.event.event_id == by_other[1]
        with trio.fail_after(60):
            while one.publisher.position < stored.place.position:  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert await one.bodies(room_id) == ["once"]


async def test_a_repeated_transaction_gets_its_answer_whatever_has_become_of_the_sender(house: House) -> None:
    room_id = await house.create()
    await house.member(room_id, BOB, "join")
    first = await house.say(room_id, "hello", BOB, transaction_id="t")
    await house.member(room_id, BOB, "leave")
    assert (await house.say(room_id, "hello", BOB, transaction_id="t")).event.event_id == first.event.event_id
    with pytest.raises(Forbidden):
        await house.say(room_id, "hello", BOB, transaction_id="u")


async def test_who_waits_together_with_a_repeated_transaction_gets_on(house: House) -> None:
    room_id = await house.create()
    first = await house.say(room_id, "first", transaction_id="t")
    ids: list[str] = []

    async def say(body: str, transaction_id: str) -> None:
        ids.append((await house.say(room_id, body, transaction_id=transaction_id)).event.event_id)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(say, "first", "t")
            nursery.start_soon(say, f"other {number}", f"o{number}")
    assert ids.count(first.event.event_id) == 10
    assert len(set(ids)) == 11
    assert sorted(await house.bodies(room_id)) == sorted(["first", *(f"other {number}" for number in range(10))])


async def test_a_repeated_transaction_whose_event_was_deleted_is_refused(house: House) -> None:
    room_id = await house.create()
    said = await house.say(room_id, "gone", transaction_id="t")
    async with house.database.transaction() as tx:
        await tx.execute("DELETE FROM events WHERE event_nid = $1", said.nid)
    with pytest.raises(NotFound, match="deleted"):
        await house.say(room_id, "gone", transaction_id="t")


async def test_a_redaction_takes_the_content_away_everywhere(house: House) -> None:
    room_id = await house.create()
    said = await house.say(room_id, "regrettable")
    redaction = await house.redact(room_id, said.event.event_id)
    for stored in (
        await house.timeline.event(said.event.event_id),
        (await house.timeline.recent(room_id, after=0, upto=house.publisher.position, limit=2)).events[0],
    ):
        assert stored is not None
        assert stored.event.content == {}
        assert stored.redacted_because == redaction.event.event_id
        assert b"regrettable" not in stored.event.json


async def test_redacted_state_is_still_set_and_has_no_content(house: House) -> None:
    room_id = await house.create()
    named = await house.set(room_id, "m.room.name", "", {"name": "Regrettable"})
    await house.redact(room_id, named.event.event_id)
    current = (await house.state.current(room_id, [("m.room.name", "")]))["m.room.name", ""]
    assert current.event.event_id == named.event.event_id
    assert current.event.content == {}


async def test_an_event_and_its_redaction_may_wait_together(house: House) -> None:
    room_id = await house.create(version="1")
    (named,) = await house.log.append_all([Draft(room_id, ALICE, "m.room.name", "", {"name": "Before"})])
    drafts = [
        Draft(room_id, ALICE, "m.room.message", None, {"body": "fine"}),
        Draft(room_id, ALICE, "m.room.redaction", None, {}, redacts=named.event.event_id),
    ]
    _, redaction = await house.log.append_all(drafts)
    redacted = await house.timeline.event(named.event.event_id)
    assert redacted is not None
    assert redacted.redacted_because == redaction.event.event_id


async def test_a_redaction_without_the_power_changes_nothing(house: House) -> None:
    room_id = await house.create()
    await house.member(room_id, BOB, "join")
    said = await house.say(room_id, "stays")
    other_server = dataclasses.replace(said)
    assert other_server.event.sender.endswith(SERVER)
    await house.redact(room_id, EventId("$" + "x" * 43), BOB)
    assert await house.bodies(room_id) == ["stays"]


async def test_members_are_kept(house: House) -> None:
    room_id = await house.create()
    joined = await house.member(room_id, BOB, "join")
    await house.member(room_id, CAROL, "invite", ALICE)
    assert await house.memberships.joined_members(room_id) == {ALICE, BOB}
    assert await house.memberships.joined_rooms(BOB) == {room_id}
    renamed = await house.set(room_id, "m.room.member", BOB, {"membership": "join", "displayname": "Bob"}, BOB)
    row = await house.memberships.membership(BOB, room_id)
    assert row is not None
    assert (row.membership, row.position, row.since) == ("join", renamed.position, joined.position)
    assert (await house.memberships.counts([room_id]))[room_id].invited == 1
    await house.member(room_id, BOB, "leave")
    assert await house.memberships.joined_members(room_id) == {ALICE}
    assert await house.memberships.forget(BOB, room_id)
    assert not await house.memberships.forget(ALICE, room_id)
    assert await house.memberships.rooms_of(BOB) == {}
    await house.member(room_id, BOB, "join")
    again = await house.memberships.membership(BOB, room_id)
    assert again is not None
    assert not again.forgotten
    assert again.since == again.position


async def test_a_user_who_left_and_came_back_at_once_is_in_since_then(house: House) -> None:
    room_id = await house.create()
    await house.member(room_id, BOB, "join")
    drafts = [Draft(room_id, BOB, "m.room.member", BOB, {"membership": membership}) for membership in ("leave", "join")]
    _, back = await house.log.append_all(drafts)
    row = await house.memberships.membership(BOB, room_id)
    assert row is not None
    assert row.since == back.position


async def test_the_state_at_an_event_is_what_it_was_then(house: House) -> None:
    room_id = await house.create()
    key = ("m.room.name", "")
    await house.set(room_id, *key, {"name": "old"})
    then = await house.say(room_id, "then")
    await house.set(room_id, *key, {"name": "new"})
    now = await house.say(room_id, "now")
    assert (await house.state.at(then, [key]))[key].event.content == {"name": "old"}
    assert (await house.state.at(now, [key]))[key].event.content == {"name": "new"}
    assert list(await house.state.changes(then, now)) == [key]
    assert (await house.state.all_at(now)).keys() == (await house.state.current_all(room_id)).keys()


async def test_relations_are_kept(house: House) -> None:
    room_id = await house.create()
    said = await house.say(room_id, "root")
    relates_to = {"rel_type": "m.thread", "event_id": said.event.event_id}
    child = await house.log.append(
        Draft(room_id, ALICE, "m.room.message", None, {"body": "reply", "m.relates_to": relates_to})
    )
    row = await house.database.read(lambda tx: tx.fetchrow("SELECT * FROM event_relations"))
    assert row is not None
    assert (row["parent_id"], row["rel_type"], row["child_nid"]) == (said.event.event_id, "m.thread", child.nid)


async def test_the_signatures_of_version_1_events_verify(house: House) -> None:
    room_id = await house.create(version="1")
    stored = await house.say(room_id, "hello")
    assert SERVER in orjson.loads(stored.event.json)["signatures"]
    assert room_version("1") is stored.event.version
    assert ClientTransaction(ALICE, "A", "send", "t") != ClientTransaction(ALICE, "A", "redact", "t")


async def test_of_equal_reactions_in_two_processes_at_once_one_is_taken(database_url: str) -> None:
    async with opened_house(database_url) as one, opened_house(database_url) as other:
        room_id = await one.create()
        said = (await one.say(room_id, "tea?")).event.event_id
        outcomes: list[str] = []

        async def react(house: House, key: str) -> None:
            relation = {"rel_type": "m.annotation", "event_id": said, "key": key}
            draft = Draft(room_id, ALICE, "m.reaction", None, {"m.relates_to": relation})
            try:
                await house.log.append(draft)
                outcomes.append(key)
            except DuplicateAnnotation:
                outcomes.append("refused")

        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(react, (one, other)[number % 2], "👍" if number % 4 < 2 else "👎")
        assert sorted(outcomes) == ["refused"] * 38 + ["👍", "👎"]


async def test_a_second_reaction_of_somebody_who_has_left_is_refused_for_that(house: House) -> None:
    room_id = await house.create()
    said = (await house.say(room_id, "tea?")).event.event_id
    relation = {"rel_type": "m.annotation", "event_id": said, "key": "👍"}
    draft = Draft(room_id, BOB, "m.reaction", None, {"m.relates_to": relation})
    await house.member(room_id, BOB, "join")
    await house.log.append(draft)
    with pytest.raises(DuplicateAnnotation):
        await house.log.append_all([draft, dataclasses.replace(draft, type="m.other")])
    await house.member(room_id, BOB, "leave")
    with pytest.raises(Forbidden):
        await house.log.append(draft)
