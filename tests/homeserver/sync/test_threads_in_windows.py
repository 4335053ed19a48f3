"""In which threads something is new, as who looks at windows is told."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
import trio

from tests.homeserver.sync.people import Follower
from tests.homeserver.sync.windows import Window, bodies, first

NAMES = ("threads", "io.element.msc4360.threads")
UPDATES = "/unstable/io.element.msc4360/thread_updates"


async def answer_in(person: Follower, room: str, root: str, body: str) -> str:
    person.sent += 1
    content = {"msgtype": "m.text", "body": body, "m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    sent = await person.put(f"/v3/rooms/{room}/send/m.room.message/t{person.sent}", content)
    return str(sent["event_id"])


def wanting(name: str = "threads", **wanted: Any) -> dict[str, Any]:
    return {name: {"enabled": True, **wanted}}


@pytest.mark.parametrize("name", NAMES)
async def test_threads_that_the_timeline_does_not_tell_are_told(alice: Follower, bob: Follower, name: str) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    root = await alice.say(room, "shall we?")
    window = Window(bob, first(1, limit=2), extensions=wanting(name))
    assert name not in (await window.look())["extensions"]
    await answer_in(alice, room, root, "one")
    await answer_in(alice, room, root, "two")
    await alice.say(room, "by the way")
    await alice.say(room, "it rains")
    told = await window.look()
    assert bodies(told["rooms"][room]) == ["by the way", "it rains"]
    (update,) = told["extensions"][name]["updates"][room].items()
    assert update[0] == root
    assert "thread_root" not in update[1]
    before = update[1]["prev_batch"]
    rest = await bob.get(f"/v1/rooms/{room}/relations/{quote(root)}/m.thread?dir=b&from={before}")
    assert [event["content"]["body"] for event in rest["chunk"]] == ["one"]
    assert name not in (await window.look())["extensions"]


async def test_threads_that_the_timeline_tells_are_told_only_with_their_roots(alice: Follower, bob: Follower) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    root = await alice.say(room, "shall we?")
    plain, rooted = Window(bob, first(1, limit=5), extensions=wanting()), Window(bob, conn_id="threads")
    rooted.extensions = wanting(include_roots=True)
    await plain.look()
    await rooted.look()
    await answer_in(alice, room, root, "yes")
    assert "threads" not in (await plain.look())["extensions"]
    update = (await rooted.look())["extensions"]["threads"]["updates"][room][root]
    assert update["thread_root"]["event_id"] == root
    summary = update["thread_root"]["unsigned"]["m.relations"]["m.thread"]
    assert summary["latest_event"]["content"]["body"] == "yes"
    assert "prev_batch" not in update


async def test_an_answer_in_a_thread_wakes_who_waits_for_threads(alice: Follower, bob: Follower) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    root = await alice.say(room, "shall we?")
    window = Window(bob, extensions=wanting(include_roots=True))
    await window.look()
    async with trio.open_nursery() as nursery:
        told: list[Any] = []

        async def wait() -> None:
            told.append(await window.look(30_000))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await alice.say(room, "not in a thread")
        await answer_in(alice, room, root, "in it")
    assert list(told[0]["extensions"]["threads"]["updates"][room]) == [root]


async def test_more_threads_than_asked_for_are_read_page_by_page(alice: Follower) -> None:
    room = await alice.create_room(preset="public_chat")
    roots = [await alice.say(room, f"{number}") for number in range(5)]
    window = Window(alice, extensions=wanting(limit=2))
    await window.look()
    since = window.pos
    assert since is not None
    for root in roots:
        await answer_in(alice, room, root, "more")
    told = (await window.look())["extensions"]["threads"]
    found = list(told["updates"][room])
    start = told["prev_batch"]
    while start is not None:
        page = await alice.get(f"{UPDATES}?dir=b&limit=2&from={quote(start)}&to={quote(since)}")
        found += page["chunk"].get(room, ())
        start = page.get("next_batch")
    assert found == roots[::-1]


async def test_threads_of_others_and_of_ignored_people_are_not_told(alice: Follower, bob: Follower) -> None:
    hidden, shared = await alice.create_room(), await alice.create_room(preset="public_chat")
    await bob.join(shared)
    await answer_in(alice, hidden, await alice.say(hidden, "shall we?"), "between us")
    await answer_in(alice, shared, await alice.say(shared, "shall we?"), "hear, hear")
    assert set((await bob.get(f"{UPDATES}?include_roots=true"))["chunk"]) == {shared}
    await bob.set_account_data("m.ignored_user_list", {"ignored_users": {alice.user_id: {}}})
    assert (await bob.get(f"{UPDATES}?include_roots=true"))["chunk"] == {}
    for query in ("from=s1_5", "to=h1_1", "dir=f", "limit=0"):
        assert (await bob.refused("GET", f"{UPDATES}?{query}"))[0] == 400
