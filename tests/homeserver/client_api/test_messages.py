"""Sending, redacting and reading back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio

from tests.homeserver.client_api.people import Person
from tricord.protocol.identifiers import DeviceId


async def test_what_is_sent_can_be_read(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    event_id = await alice.say(room, "hello")
    event = await bob.get(f"/v3/rooms/{room}/event/{event_id}")
    assert event["content"] == {"msgtype": "m.text", "body": "hello"}
    assert (event["sender"], event["room_id"], event["event_id"]) == (alice.user_id, room, event_id)


async def test_only_the_device_that_sent_sees_its_transaction_id(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    event_id = await alice.say(room, "hello")
    assert (await alice.get(f"/v3/rooms/{room}/event/{event_id}"))["unsigned"]["transaction_id"] == "1"
    assert "transaction_id" not in (await bob.get(f"/v3/rooms/{room}/event/{event_id}")).get("unsigned", {})


async def test_fifty_copies_of_a_request_send_one_event(alice: Person) -> None:
    room = await alice.create_room()
    answers = []

    async def send(text: str) -> None:
        path = f"/v3/rooms/{room}/send/m.room.message/t9"
        answers.append((await alice.put(path, {"body": text}))["event_id"])

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(send, f"copy {number}")
    assert len(set(answers)) == 1
    assert len(await alice.history(room)) == 1


async def test_another_device_has_its_own_transactions(alice: Person) -> None:
    room = await alice.create_room()
    phone = replace(alice, requester=replace(alice.requester, device_id=DeviceId("PHONE"), session_id=77))
    path = f"/v3/rooms/{room}/send/m.room.message/t"
    first, second = await alice.put(path, {}), await phone.put(path, {})
    assert first["event_id"] != second["event_id"]


async def test_a_transaction_id_is_that_of_one_path(alice: Person) -> None:
    """Whoever counts by type of event, or by what is redacted, loses nothing."""
    room = await alice.create_room()

    async def put(path: str) -> str:
        return str((await alice.put(f"/v3/rooms/{room}/{path}/t", {"body": "x"}))["event_id"])

    message, other = await put("send/m.room.message"), await put("send/org.test.other")
    assert message != other
    assert await put(f"redact/{message}") != await put(f"redact/{other}")
    for event_id in (message, other):
        assert (await alice.get(f"/v3/rooms/{room}/event/{event_id}"))["content"] == {}
    assert await put("send/m.room.message") == message


@pytest.mark.parametrize("content", [{"a": 1.5}, {"a": [{"b": 1.0}]}, {"a": 2**53}, {"a": -(2**53)}])
async def test_numbers_that_events_cannot_hold_are_refused(alice: Person, content: dict[str, Any]) -> None:
    room = await alice.create_room()
    refusal = await alice.refused("PUT", f"/v3/rooms/{room}/send/m.room.message/1", content)
    assert refusal == (400, "M_BAD_JSON")
    await alice.put(f"/v3/rooms/{room}/send/m.room.message/1", {"a": 2**53 - 1})


async def test_events_that_are_too_large_are_refused(alice: Person) -> None:
    room = await alice.create_room()
    path = f"/v3/rooms/{room}/send/m.room.message"
    assert await alice.refused("PUT", f"{path}/1", {"body": "x" * 65_536}) == (413, "M_TOO_LARGE")
    await alice.put(f"{path}/2", {"body": "x" * 64_000})
    for name in ("x" * 256, "%C3%A9" * 128):
        assert await alice.refused("PUT", f"/v3/rooms/{room}/send/{name}/3", {}) == (413, "M_TOO_LARGE")
        assert await alice.refused("PUT", f"/v3/rooms/{room}/state/x/{name}", {}) == (413, "M_TOO_LARGE")


async def test_strangers_cannot_send(alice: Person, bob: Person) -> None:
    room = await alice.create_room()
    assert await bob.refused("PUT", f"/v3/rooms/{room}/send/m.room.message/1", {}) == (403, "M_FORBIDDEN")
    assert await bob.refused("PUT", "/v3/rooms/!x:hs.test/send/m.room.message/1", {}) == (404, "M_NOT_FOUND")
    assert await bob.refused("PUT", "/v3/rooms/%2e%2e%2f/send/m.room.message/1", {}) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize("direction", ["f", "b"])
async def test_pages_follow_each_other_to_the_end(alice: Person, direction: str) -> None:
    room = await alice.create_room()
    said = [await alice.say(room, str(number)) for number in range(10)]
    read: list[str] = []
    path = f"/v3/rooms/{room}/messages?dir={direction}&limit=3"
    page = await alice.get(path)
    while True:
        assert len(page["chunk"]) <= 3
        read += [event["event_id"] for event in page["chunk"]]
        if "end" not in page:
            break
        page = await alice.get(f"{path}&from={page['end']}")
    assert len(set(read)) == len(read)
    if direction == "b":
        read.reverse()
    assert read[-10:] == said
    assert (await alice.get(f"/v3/rooms/{room}/event/{read[0]}"))["type"] == "m.room.create"


async def test_reading_stops_at_the_other_token(alice: Person) -> None:
    room = await alice.create_room()
    await alice.say(room, "one")
    middle = (await alice.get(f"/v3/rooms/{room}/messages?dir=b&limit=1"))["start"]
    await alice.say(room, "two")
    assert await alice.history(room, f"dir=b&to={middle}") == ["two"]
    assert await alice.history(room, f"dir=f&from={middle}") == ["two"]
    assert await alice.history(room, f"dir=b&from={middle}&limit=1") == ["one"]


async def test_a_filter_does_not_end_the_page(alice: Person) -> None:
    room = await alice.create_room()
    await alice.say(room, "needle", url="mxc://hs.test/x")
    for number in range(8):
        await alice.say(room, str(number))
    assert await alice.history(room, 'dir=b&limit=1&filter={"contains_url":true}') == ["needle"]
    assert await alice.history(room, 'dir=b&filter={"types":["m.room.name"]}') == []
    assert await alice.history(room, f'dir=b&filter={{"not_rooms":["{room}"]}}') == []


@pytest.mark.parametrize(
    "query",
    ["", "dir=x", "dir=b&limit=-1", "dir=b&from=t1", "dir=b&filter=[]", "dir=b&filter={", "dir=b&limit=many"],
)
async def test_malformed_pages_are_refused(alice: Person, query: str) -> None:
    room = await alice.create_room()
    status, errcode = await alice.refused("GET", f"/v3/rooms/{room}/messages?{query}")
    assert status == 400
    assert errcode in {"M_INVALID_PARAM", "M_MISSING_PARAM", "M_BAD_JSON", "M_NOT_JSON"}


async def test_lazily_loaded_members_come_with_what_they_said(alice: Person, bob: Person, carol: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    await carol.join(room)
    await bob.say(room, "hello")
    page = await alice.get(f'/v3/rooms/{room}/messages?dir=b&limit=1&filter={{"lazy_load_members":true}}')
    assert [event["state_key"] for event in page["state"]] == [bob.user_id]


async def test_the_context_of_an_event_is_what_was_around_it(alice: Person) -> None:
    room = await alice.create_room(name="Tea")
    said = [await alice.say(room, str(number)) for number in range(7)]
    context = await alice.get(f"/v3/rooms/{room}/context/{said[3]}?limit=4")
    assert context["event"]["event_id"] == said[3]
    assert [event["event_id"] for event in context["events_before"]] == [said[2], said[1]]
    assert [event["event_id"] for event in context["events_after"]] == [said[4], said[5]]
    assert {"m.room.create", "m.room.name"} <= {event["type"] for event in context["state"]}
    earlier = await alice.get(f"/v3/rooms/{room}/messages?dir=b&limit=1&from={context['start']}")
    later = await alice.get(f"/v3/rooms/{room}/messages?dir=f&limit=1&from={context['end']}")
    assert earlier["chunk"][0]["event_id"] == said[0]
    assert later["chunk"][0]["event_id"] == said[6]


async def test_the_context_of_the_first_event_has_nothing_before_it(alice: Person) -> None:
    room = await alice.create_room()
    create = (await alice.get(f"/v3/rooms/{room}/state/m.room.create?format=event"))["event_id"]
    context = await alice.get(f"/v3/rooms/{room}/context/{create}?limit=0")
    assert (context["events_before"], context["events_after"]) == ([], [])
    assert [event["type"] for event in context["state"]] == ["m.room.create"]


async def test_events_are_found_by_time(alice: Person, bob: Person) -> None:
    room = await alice.create_room()
    create = await alice.get(f"/v3/rooms/{room}/state/m.room.create?format=event")
    path = f"/v1/rooms/{room}/timestamp_to_event"
    assert (await alice.get(f"{path}?ts=0&dir=f"))["event_id"] == create["event_id"]
    found = await alice.get(f"{path}?ts=99999999999999&dir=b")
    assert found["origin_server_ts"] >= create["origin_server_ts"]
    assert await alice.refused("GET", f"{path}?ts=0&dir=b") == (404, "M_NOT_FOUND")
    assert await bob.refused("GET", f"{path}?ts=0&dir=f") == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("version", ["10", "12"])
async def test_authors_and_moderators_redact(alice: Person, bob: Person, version: str) -> None:
    room = await alice.create_room(preset="public_chat", room_version=version)
    await bob.join(room)
    by_alice, by_bob, again = await alice.say(room, "a"), await bob.say(room, "b"), await bob.say(room, "c")
    assert await bob.refused("PUT", f"/v3/rooms/{room}/redact/{by_alice}/1", {}) == (403, "M_FORBIDDEN")
    await bob.put(f"/v3/rooms/{room}/redact/{by_bob}/2", {"reason": "typo"})
    await alice.put(f"/v3/rooms/{room}/send/m.room.redaction/3", {"redacts": again})
    for event_id in (by_bob, again):
        event = await alice.get(f"/v3/rooms/{room}/event/{event_id}")
        assert event["content"] == {}
        assert event["unsigned"]["redacted_because"]["type"] == "m.room.redaction"
    assert (await alice.get(f"/v3/rooms/{room}/event/{by_alice}"))["content"]["body"] == "a"


async def test_some_redactions_cannot_be(alice: Person) -> None:
    room, other = await alice.create_room(), await alice.create_room()
    elsewhere = await alice.say(other, "elsewhere")
    create = (await alice.get(f"/v3/rooms/{room}/state/m.room.create?format=event"))["event_id"]
    assert await alice.refused("PUT", f"/v3/rooms/{room}/redact/{create}/1", {}) == (403, "M_FORBIDDEN")
    assert await alice.refused("PUT", f"/v3/rooms/{room}/redact/{elsewhere}/2", {}) == (404, "M_NOT_FOUND")
    assert await alice.refused("PUT", f"/v3/rooms/{room}/redact/x/3", {}) == (400, "M_INVALID_PARAM")
    path = f"/v3/rooms/{room}/send/m.room.redaction/4"
    assert await alice.refused("PUT", path, {}) == (400, "M_BAD_JSON")


async def test_the_limit_of_a_filter_limits_a_page_too(alice: Person) -> None:
    room = await alice.create_room()
    for number in range(4):
        await alice.say(room, str(number))

    async def page(limit: int, of_filter: int) -> list[str]:
        wanted = f'{{"limit":{of_filter}}}'
        return await alice.history(room, f"dir=b&limit={limit}&filter={wanted}")

    assert await page(10, 2) == ["3", "2"]
    assert await page(1, 2) == ["3"]
