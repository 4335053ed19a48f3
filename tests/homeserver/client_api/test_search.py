"""Searching what was said."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.homeserver.client_api.people import Person


async def search(person: Person, term: str, *, start: str | None = None, **more: Any) -> Any:
    body = {"search_categories": {"room_events": {"search_term": term, **more}}}
    query = "" if start is None else f"?next_batch={start}"
    return (await person.post(f"/v3/search{query}", body))["search_categories"]["room_events"]


async def found(person: Person, term: str, **more: Any) -> list[str]:
    """Return the bodies, names and topics that are found, the newest first."""
    results = (await search(person, term, order_by="recent", **more))["results"]
    contents = [one["result"]["content"] for one in results]
    return [content.get("body") or content.get("name") or content.get("topic") for content in contents]


@pytest.mark.parametrize(
    ("said", "sought", "is_found"),
    [
        ("Two Martians and men", "martian MEN", True),
        ("Two Martians and men", "martian women", False),
        ("they were running late", "run", True),
        ("a run in the park", "running", True),
        ("Die Häuser am Fluss", "haus", True),
        ("Straße", "STRASSE", True),
        ("Le café était fermé", "cafe", True),
        ("Новые книги", "книга", True),
        ("зелёный чай", "зеленый", True),
        ("我们明天去北京开会", "北京", True),
        ("我们明天去北京开会", "北京开会", True),
        ("我们明天去北京开会", "会", True),
        ("我们明天去北京开会", "京北", False),
        ("我们明天去北京开会", "上海", False),
        ("東京タワーに行きたい", "タワー", True),
        ("東京タワーに行きたい", "ﾀﾜｰ", True),
        ("ありがとうございます", "ありがとう", True),
        ("학교에서 만나요", "학교", True),
        ("학교에서 만나요", "학교에서 만나요", True),
        ("สวัสดีครับ", "สวัสดี", True),
        ("हिन्दी में लिखा", "हिन्दी", True),
        ("it's 20:15, room B-12", "b 12", True),
        ("ab'c", "b'c|d:*", False),
        ("#r1 #b", "#r1", True),
    ],
)
async def test_words_are_found_in_any_language(alice: Person, said: str, sought: str, is_found: bool) -> None:
    room = await alice.create_room()
    await alice.say(room, said)
    await alice.say(room, "something else")
    assert await found(alice, sought) == ([said] if is_found else [])


@pytest.mark.parametrize("term", ["", " ", "!?", "&|()<->:*'", "\0", "'", "\\", "🎉", "́"])
async def test_a_search_for_no_words_finds_nothing(alice: Person, term: str) -> None:
    await alice.say(await alice.create_room(), "text")
    answer = await search(alice, term)
    assert (answer["count"], answer["results"], answer["highlights"]) == (0, [], [])


async def test_names_and_topics_are_found_by_their_keys(alice: Person) -> None:
    room = await alice.create_room(name="Tea lovers", topic="all about tea")
    await alice.say(room, "tea?")
    assert await found(alice, "tea") == ["tea?", "all about tea", "Tea lovers"]
    assert await found(alice, "tea", keys=["content.name"]) == ["Tea lovers"]
    assert await found(alice, "tea", keys=["content.topic", "content.body"]) == ["tea?", "all about tea"]
    assert await found(alice, "tea", keys=[]) == []
    rich = {"topic": "x", "m.topic": {"m.text": [{"mimetype": "text/html", "body": "gone"}, {"body": "coffee"}]}}
    await alice.put(f"/v3/rooms/{room}/state/m.room.topic/", rich)
    assert await found(alice, "coffee") == ["x"]
    assert await found(alice, "gone") == []


async def test_the_best_come_first_or_the_newest(alice: Person) -> None:
    room = await alice.create_room()
    best = await alice.say(room, "tea tea tea")
    newest = await alice.say(room, "somewhere in a long text there is a word about tea and nothing more of it at all")

    async def order(**more: Any) -> list[str]:
        return [one["result"]["event_id"] for one in (await search(alice, "tea", **more))["results"]]

    assert await order() == [best, newest]
    assert await order(order_by="rank") == [best, newest]
    assert await order(order_by="recent") == [newest, best]
    ranks = [one["rank"] for one in (await search(alice, "tea"))["results"]]
    assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize("order", ["recent", "rank"])
async def test_results_come_in_pages_that_do_not_move(alice: Person, order: str) -> None:
    room = await alice.create_room()
    said = [await alice.say(room, f"tea {number}") for number in range(7)]
    told: list[str] = []
    start = None
    while True:
        page = await search(alice, "tea", start=start, order_by=order, filter={"limit": 2})
        assert page["count"] == 7
        told += [one["result"]["event_id"] for one in page["results"]]
        if (start := page.get("next_batch")) is None:
            break
        await alice.say(room, "something else")
    assert sorted(told) == sorted(said)
    assert len(set(told)) == len(told)


@pytest.mark.parametrize("order", ["recent", "rank"])
async def test_results_come_in_groups_with_pages_of_their_own(alice: Person, bob: Person, order: str) -> None:
    rooms = [await alice.create_room(preset="public_chat") for _ in range(2)]
    for room in rooms:
        await bob.join(room)
        for number in range(3):
            await alice.say(room, f"tea {number}")
            await bob.say(room, f"tea too {number}")
    grouped = {"group_by": [{"key": "room_id"}, {"key": "sender"}]}
    page = await search(alice, "tea", order_by=order, groupings=grouped, filter={"limit": 5})
    ids = [one["result"]["event_id"] for one in page["results"]]
    for key in ("room_id", "sender"):
        groups = page["groups"][key]
        assert sorted(one for group in groups.values() for one in group["results"]) == sorted(ids)
        assert sorted(group["order"] for group in groups.values()) == list(range(1, len(groups) + 1))
        for name, group in groups.items():
            told = list(group["results"])
            start = group["next_batch"]
            while start is not None:
                more = await search(alice, "tea", start=start, order_by=order, filter={"limit": 2})
                assert {one["result"][key] for one in more["results"]} <= {name}
                told += [one["result"]["event_id"] for one in more["results"]]
                start = more.get("next_batch")
            assert len(told) == len(set(told)) == 6


async def test_only_what_the_searcher_may_see_is_found(alice: Person, bob: Person, carol: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await alice.put(f"/v3/rooms/{room}/state/m.room.history_visibility/", {"history_visibility": "joined"})
    await alice.say(room, "secret before")
    await bob.join(room)
    own = await alice.say(room, "secret during")
    await bob.post(f"/v3/rooms/{room}/leave")
    await alice.say(room, "secret after")
    assert await found(alice, "secret") == ["secret after", "secret during", "secret before"]
    answer = await search(bob, "secret")
    assert [one["result"]["event_id"] for one in answer["results"]] == [own]
    assert answer["count"] == 1
    assert (await search(bob, "after"))["count"] == 0
    assert await found(carol, "secret") == []
    await bob.post(f"/v3/rooms/{room}/forget")
    assert await found(bob, "secret") == []


async def test_who_came_later_is_not_told_how_much_there_was(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await alice.put(f"/v3/rooms/{room}/state/m.room.history_visibility/", {"history_visibility": "joined"})
    for number in range(3):
        await alice.say(room, f"secret {number}")
    await bob.join(room)
    answer = await search(bob, "secret")
    assert (answer["count"], answer["results"], "next_batch" in answer) == (0, [], False)


async def test_ignored_people_are_not_found(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    await bob.say(room, "tea")
    assert await found(alice, "tea") == ["tea"]
    await alice.set_account_data("m.ignored_user_list", {"ignored_users": {bob.user_id: {}}})
    answer = await search(alice, "tea")
    assert (answer["count"], answer["results"]) == (0, [])


async def test_what_was_redacted_or_edited_is_found_as_it_is_now(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    said = await alice.say(room, "apple")
    edits = []
    for text in ("banana", "cherry"):
        new = {"m.new_content": {"msgtype": "m.text", "body": text}}
        relation = {"m.relates_to": {"rel_type": "m.replace", "event_id": said}}
        edits.append(await alice.say(room, f"* {text}", **new, **relation))
    await bob.say(
        room,
        "* durian",
        **{
            "m.new_content": {"msgtype": "m.text", "body": "durian"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": said},
        },
    )
    assert await found(alice, "apple") == await found(alice, "banana") == await found(alice, "durian") == []
    (one,) = (await search(alice, "cherry"))["results"]
    assert one["result"]["event_id"] == said
    assert one["result"]["unsigned"]["m.relations"]["m.replace"]["event_id"] == edits[1]
    await alice.put(f"/v3/rooms/{room}/redact/{edits[1]}/r1", {})
    assert await found(alice, "cherry") == []
    assert await found(alice, "banana") == ["apple"]
    await alice.put(f"/v3/rooms/{room}/redact/{edits[0]}/r2", {})
    assert await found(alice, "apple") == ["apple"]
    await alice.put(f"/v3/rooms/{room}/redact/{said}/r3", {})
    assert await found(alice, "apple") == await found(alice, "banana") == []


async def test_an_edit_that_a_reader_cannot_see_does_not_answer(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    said = await alice.say(room, "apple")
    await bob.post(f"/v3/rooms/{room}/leave")
    new = {"m.new_content": {"msgtype": "m.text", "body": "banana"}}
    await alice.say(room, "*", **new, **{"m.relates_to": {"rel_type": "m.replace", "event_id": said}})
    assert await found(alice, "banana") == ["apple"]
    assert await found(bob, "banana") == []


async def test_encrypted_events_are_not_found(alice: Person) -> None:
    room = await alice.create_room()
    await alice.put(f"/v3/rooms/{room}/send/m.room.encrypted/e", {"algorithm": "x", "ciphertext": "tea", "body": "tea"})
    assert await found(alice, "tea") == []


async def test_filters_are_heeded(alice: Person, bob: Person) -> None:
    room, other = await alice.create_room(preset="public_chat"), await alice.create_room(name="tea")
    await bob.join(room)
    await bob.say(room, "tea of Bob", url="mxc://x/y")
    await alice.say(room, "tea of Alice")
    assert await found(alice, "tea", filter={"rooms": [room]}) == ["tea of Alice", "tea of Bob"]
    assert await found(alice, "tea", filter={"not_rooms": [room]}) == ["tea"]
    assert await found(alice, "tea", filter={"senders": [bob.user_id]}) == ["tea of Bob"]
    assert await found(alice, "tea", filter={"not_senders": [bob.user_id], "rooms": [room]}) == ["tea of Alice"]
    assert await found(alice, "tea", filter={"types": ["m.room.name"]}) == ["tea"]
    assert await found(alice, "tea", filter={"contains_url": True}) == ["tea of Bob"]
    assert await found(bob, "tea", filter={"rooms": [other]}) == []


async def test_a_search_in_a_room_goes_on_in_those_it_came_from(alice: Person) -> None:
    old = await alice.create_room()
    await alice.say(old, "tea in the old room")
    new = await alice.create_room(creation_content={"predecessor": {"room_id": old, "event_id": "$x"}})
    newest = await alice.create_room(creation_content={"predecessor": {"room_id": new, "event_id": "$x"}})
    await alice.say(newest, "tea in the new room")
    both = ["tea in the new room", "tea in the old room"]
    assert await found(alice, "tea", filter={"rooms": [newest]}) == both
    assert await found(alice, "tea", filter={"rooms": [newest], "not_rooms": [old]}) == both[:1]


async def test_results_come_with_what_was_around_them(alice: Person, bob: Person) -> None:
    await bob.set_profile(displayname="Bob")
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    said = [await bob.say(room, text) for text in ("one", "two", "needle", "four", "five")]
    options = {"before_limit": 1, "after_limit": 2, "include_profile": True}
    (one,) = (await search(alice, "needle", event_context=options, include_state=True))["results"]
    context = one["context"]
    assert [event["event_id"] for event in context["events_before"]] == [said[1]]
    assert [event["event_id"] for event in context["events_after"]] == said[3:]
    assert context["profile_info"] == {bob.user_id: {"displayname": "Bob"}}
    earlier = await alice.get(f"/v3/rooms/{room}/messages?dir=b&limit=1&from={context['start']}")
    assert earlier["chunk"][0]["event_id"] == said[0]
    state = (await search(alice, "needle", include_state=True))["state"]
    assert {"m.room.create", "m.room.member"} <= {event["type"] for event in state[room]}
    assert "context" not in (await search(alice, "needle"))["results"][0]


async def test_the_forms_of_words_are_highlighted(alice: Person) -> None:
    room = await alice.create_room()
    await alice.say(room, "Martians run")
    assert set((await search(alice, "martian running"))["highlights"]) == {"martian", "running", "martians", "run"}


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", {}),
        ("", {"search_categories": []}),
        ("", {"search_categories": {"room_events": {}}}),
        ("", {"search_categories": {"room_events": {"search_term": 5}}}),
        ("", {"search_categories": {"room_events": {"search_term": "x", "order_by": "best"}}}),
        ("", {"search_categories": {"room_events": {"search_term": "x", "keys": ["content.url"]}}}),
        ("", {"search_categories": {"room_events": {"search_term": "x", "filter": {"rooms": 5}}}}),
        ("", {"search_categories": {"room_events": {"search_term": "x" * 5000}}}),
        ("?next_batch=x", {"search_categories": {"room_events": {"search_term": "x"}}}),
        ("?next_batch=f1_AAAA", {"search_categories": {"room_events": {"search_term": "x"}}}),
        ("?next_batch=f1_%C3%A9", {"search_categories": {"room_events": {"search_term": "x"}}}),
        ("?next_batch=f1_W10", {"search_categories": {"room_events": {"search_term": "x"}}}),
    ],
)
async def test_malformed_searches_are_refused(alice: Person, query: str, body: Any) -> None:
    status, errcode = await alice.refused("POST", f"/v3/search{query}", body)
    assert status == 400
    assert errcode in {"M_BAD_JSON", "M_INVALID_PARAM", "M_MISSING_PARAM"}


@pytest.mark.parametrize("term", ["字" * 4096, "a " * 2048, "ﷺ" * 4096, "x" * 4096, "हि" * 2048])
async def test_long_searches_are_answered(alice: Person, term: str) -> None:
    room = await alice.create_room()
    await alice.say(room, term)
    await alice.say(room, "ﷺ" * 20_000)
    with trio.fail_after(60):
        assert (await search(alice, term))["count"] >= 1


async def test_other_categories_are_not_searched(alice: Person) -> None:
    assert await alice.post("/v3/search", {"search_categories": {"users": {}}}) == {"search_categories": {}}
