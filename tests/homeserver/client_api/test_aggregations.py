"""What is told with an event about the events that relate to it."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.homeserver.client_api.people import Person


def relation(rel_type: str, event_id: str, **more: Any) -> dict[str, Any]:
    return {"m.relates_to": {"rel_type": rel_type, "event_id": event_id, **more}}


async def edit(person: Person, room: str, event_id: str, text: str) -> str:
    new = {"m.new_content": {"msgtype": "m.text", "body": text}}
    return await person.say(room, f"* {text}", **new, **relation("m.replace", event_id))


async def reply(person: Person, room: str, root: str, text: str) -> str:
    return await person.say(room, text, **relation("m.thread", root))


async def relations_of(person: Person, room: str, event_id: str) -> dict[str, Any]:
    event = await person.get(f"/v3/rooms/{room}/event/{event_id}")
    relations: dict[str, Any] = event["unsigned"].get("m.relations", {})
    return relations


async def shared_room(alice: Person, *others: Person) -> str:
    room = await alice.create_room(preset="public_chat")
    for person in others:
        await person.join(room)
    return room


async def test_an_edited_event_tells_its_newest_edit(alice: Person, bob: Person) -> None:
    room = await shared_room(alice, bob)
    said = await alice.say(room, "helo")
    assert await relations_of(bob, room, said) == {}
    await edit(alice, room, said, "hallo")
    newest = await edit(alice, room, said, "hello")
    await edit(bob, room, said, "not his to edit")
    await alice.say(room, "no new content", **relation("m.replace", said))
    replacement = (await relations_of(bob, room, said))["m.replace"]
    assert replacement["event_id"] == newest
    assert replacement["content"]["m.new_content"]["body"] == "hello"
    assert replacement["room_id"] == room
    assert (await bob.get(f"/v3/rooms/{room}/event/{said}"))["content"]["body"] == "helo"
    await alice.put(f"/v3/rooms/{room}/redact/{newest}/r", {})
    assert (await relations_of(bob, room, said))["m.replace"]["content"]["m.new_content"]["body"] == "hallo"
    await alice.put(f"/v3/rooms/{room}/redact/{said}/r2", {})
    assert await relations_of(bob, room, said) == {}


async def test_an_edit_cannot_be_edited_nor_state_nor_another_room(alice: Person) -> None:
    room, other = await alice.create_room(), await alice.create_room()
    said = await alice.say(room, "one")
    first = await edit(alice, room, said, "two")
    await edit(alice, room, first, "three")
    await edit(alice, other, said, "elsewhere")
    assert await relations_of(alice, room, first) == {}
    assert (await relations_of(alice, room, said))["m.replace"]["event_id"] == first
    state = await alice.put(f"/v3/rooms/{room}/state/m.room.topic/", {"topic": "tea"})
    await alice.put(
        f"/v3/rooms/{room}/send/m.room.topic/x",
        {"topic": "tea", "m.new_content": {"topic": "no"}, **relation("m.replace", state["event_id"])},
    )
    assert await relations_of(alice, room, state["event_id"]) == {}


async def test_a_thread_is_told_with_its_root(alice: Person, bob: Person, carol: Person) -> None:
    room = await shared_room(alice, bob, carol)
    root = await alice.say(room, "root")
    await reply(bob, room, root, "first")
    latest = await reply(bob, room, root, "second")
    await edit(bob, room, latest, "second, edited")
    for person, participated in ((alice, True), (bob, True), (carol, False)):
        thread = (await relations_of(person, room, root))["m.thread"]
        assert (thread["count"], thread["current_user_participated"]) == (2, participated)
        assert thread["latest_event"]["event_id"] == latest
        edited = thread["latest_event"]["unsigned"]["m.relations"]["m.replace"]
        assert edited["content"]["m.new_content"]["body"] == "second, edited"
    await bob.put(f"/v3/rooms/{room}/redact/{latest}/r", {})
    thread = (await relations_of(carol, room, root))["m.thread"]
    assert (thread["count"], thread["latest_event"]["content"]["body"]) == (1, "first")


async def test_ignored_people_do_not_count(alice: Person, bob: Person, carol: Person) -> None:
    room = await shared_room(alice, bob, carol)
    root = await alice.say(room, "root")
    await reply(carol, room, root, "heard")
    await reply(bob, room, root, "ignored")
    await bob.put(f"/v3/rooms/{room}/send/org.example/r", relation("m.reference", root))
    assert (await relations_of(carol, room, root))["m.thread"]["count"] == 2
    await carol.set_account_data("m.ignored_user_list", {"ignored_users": {bob.user_id: {}}})
    relations = await relations_of(carol, room, root)
    assert relations["m.thread"]["count"] == 1
    assert relations["m.thread"]["latest_event"]["content"]["body"] == "heard"
    assert "m.reference" not in relations


async def test_references_are_listed(alice: Person) -> None:
    room = await alice.create_room()
    said = await alice.say(room, "verify me")
    path = f"/v3/rooms/{room}/send/m.key.verification.ready"
    ids = [(await alice.put(f"{path}/r{n}", relation("m.reference", said)))["event_id"] for n in range(3)]
    assert (await relations_of(alice, room, said))["m.reference"] == {"chunk": [{"event_id": one} for one in ids]}


async def test_what_came_after_a_reader_left_is_not_told(alice: Person, bob: Person) -> None:
    room = await shared_room(alice, bob)
    root = await alice.say(room, "root")
    await reply(alice, room, root, "with Bob")
    await bob.post(f"/v3/rooms/{room}/leave")
    await edit(alice, room, root, "without Bob")
    relations = await relations_of(bob, room, root)
    assert relations["m.thread"]["latest_event"]["content"]["body"] == "with Bob"
    assert "m.replace" not in relations
    await reply(alice, room, root, "without Bob")
    assert "without Bob" not in str(await relations_of(bob, room, root))


async def test_every_way_of_reading_tells_relations(alice: Person) -> None:
    room = await alice.create_room()
    root = await alice.say(room, "root")
    answer = await reply(alice, room, root, "answer")
    await edit(alice, room, answer, "edited")
    messages = (await alice.get(f"/v3/rooms/{room}/messages?dir=b&limit=5"))["chunk"]
    context = await alice.get(f"/v3/rooms/{room}/context/{root}")
    around = (await alice.get(f"/v3/rooms/{room}/context/{answer}"))["events_before"]
    related = (await alice.get(f"/v1/rooms/{room}/relations/{root}"))["chunk"]
    threads = (await alice.get(f"/v1/rooms/{room}/threads"))["chunk"]
    for events in (messages, [context["event"]], around, threads):
        (told,) = [event for event in events if event["event_id"] == root]
        assert told["unsigned"]["m.relations"]["m.thread"]["latest_event"]["event_id"] == answer
    for events in (messages, context["events_after"], related):
        (told,) = [event for event in events if event["event_id"] == answer]
        assert "edited" in told["unsigned"]["m.relations"]["m.replace"]["content"]["body"]


async def test_threads_are_listed_by_their_newest_events(alice: Person, bob: Person) -> None:
    room = await shared_room(alice, bob)
    roots = [await alice.say(room, f"root {n}") for n in range(5)]
    for root in roots:
        await reply(alice, room, root, "answer")
    await reply(bob, room, roots[1], "newest")

    async def listed(query: str, person: Person = alice) -> list[str]:
        found, token = [], ""
        while True:
            page = await person.get(f"/v1/rooms/{room}/threads?{query}{token}")
            found += [event["event_id"] for event in page["chunk"]]
            if "next_batch" not in page:
                return found
            token = f"&from={page['next_batch']}"

    expected = [roots[1], roots[4], roots[3], roots[2], roots[0]]
    assert await listed("") == expected
    assert await listed("limit=2") == expected
    assert await listed("include=participated", bob) == [roots[1]]
    lone = await alice.say(room, "no thread any more")
    only = await reply(alice, room, lone, "taken back")
    await alice.put(f"/v3/rooms/{room}/redact/{only}/r", {})
    assert await listed("limit=1") == expected
    await bob.set_account_data("m.ignored_user_list", {"ignored_users": {alice.user_id: {}}})
    page = await bob.get(f"/v1/rooms/{room}/threads")
    assert [(event["event_id"], event["content"]) for event in page["chunk"]] == [(roots[1], {})]


async def test_threads_are_for_those_who_may_read_the_room(alice: Person, bob: Person) -> None:
    room = await alice.create_room()
    await reply(alice, room, await alice.say(room, "root"), "answer")
    assert await bob.refused("GET", f"/v1/rooms/{room}/threads") == (403, "M_FORBIDDEN")
    for query in ("from=x", "from=s1_3", "limit=0", "limit=x", "include=some", "from=h1_99999999999999999999_$x"):
        status, errcode = await alice.refused("GET", f"/v1/rooms/{room}/threads?{query}")
        assert (status, errcode) in {(400, "M_INVALID_PARAM"), (400, "M_BAD_JSON")}, query


@pytest.mark.parametrize("rel_type", ["m.thread", "m.replace", "m.annotation"])
async def test_no_thread_begins_with_what_relates_to_something(alice: Person, rel_type: str) -> None:
    room = await alice.create_room()
    root = await alice.say(room, "root")
    child = await alice.say(room, "child", **relation(rel_type, root))
    path = f"/v3/rooms/{room}/send/m.room.message/x"
    body = {"msgtype": "m.text", "body": "x", **relation("m.thread", child)}
    assert await alice.refused("PUT", path, body) == (400, "M_UNKNOWN")
    plain = await alice.say(room, "a reply", **{"m.relates_to": {"m.in_reply_to": {"event_id": root}}})
    await reply(alice, room, plain, "fine")


async def test_nobody_reacts_twice_in_the_same_way(alice: Person, bob: Person) -> None:
    room = await shared_room(alice, bob)
    said = await alice.say(room, "tea?")
    up, down = relation("m.annotation", said, key="👍"), relation("m.annotation", said, key="👎")
    first = await alice.put(f"/v3/rooms/{room}/send/m.reaction/r1", up)
    assert await alice.put(f"/v3/rooms/{room}/send/m.reaction/r1", up) == first
    assert await alice.refused("PUT", f"/v3/rooms/{room}/send/m.reaction/r2", up) == (400, "M_DUPLICATE_ANNOTATION")
    await alice.put(f"/v3/rooms/{room}/send/m.reaction/r3", down)
    await bob.put(f"/v3/rooms/{room}/send/m.reaction/r1", up)
    await alice.put(f"/v3/rooms/{room}/redact/{first['event_id']}/r", {})
    await alice.put(f"/v3/rooms/{room}/send/m.reaction/r4", up)
    assert await relations_of(alice, room, said) == {}


async def test_of_equal_reactions_at_once_one_is_taken(alice: Person) -> None:
    room = await alice.create_room()
    said = await alice.say(room, "tea?")
    up, answers = relation("m.annotation", said, key="👍"), []

    async def react(number: int) -> None:
        answers.append((await alice.call("PUT", f"/v3/rooms/{room}/send/m.reaction/r{number}", up))[0])

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(react, number)
    assert sorted(answers) == [200, *[400] * 9]


async def test_odd_relations_harm_nobody(alice: Person) -> None:
    room = await alice.create_room()
    said = await alice.say(room, "root")
    odd: list[Any] = ["x", 1, [], {}, {"rel_type": 1, "event_id": said}, {"rel_type": "m.thread", "event_id": 5}]
    odd += [{"rel_type": kind, "event_id": "$a\0b"} for kind in ("m.thread", "m.annotation", "m.replace")]
    odd += [{"rel_type": "m.annotation", "event_id": said, "key": {"a": 1}}, {"rel_type": "m.thread", "event_id": ""}]
    for value in odd:
        await alice.say(room, "odd", **{"m.relates_to": value})
    await alice.get(f"/v3/rooms/{room}/messages?dir=b&limit=50")
    assert (await alice.get(f"/v1/rooms/{room}/threads"))["chunk"] == []
