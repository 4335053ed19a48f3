"""What events tell their reader beside what was signed, whichever way they are read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.homeserver.client_api.people import Person
from tricord.protocol.identifiers import DeviceId


def on_another_device(person: Person) -> Person:
    return replace(person, requester=replace(person.requester, device_id=DeviceId("OTHER"), session_id=99))


async def every_reading(person: Person, room: str, event_id: str) -> dict[str, Any]:
    """Return `unsigned` of a message as each endpoint tells it."""
    search = {"search_categories": {"room_events": {"search_term": "needle", "order_by": "recent"}}}
    found = (await person.post("/v3/search", search))["search_categories"]["room_events"]
    threads = (await person.get(f"/v1/rooms/{room}/threads"))["chunk"]
    context = await person.get(f"/v3/rooms/{room}/context/{event_id}")
    events = {
        "messages": (await person.get(f"/v3/rooms/{room}/messages?dir=b&limit=50"))["chunk"],
        "context": [context["event"]],
        "event": [await person.get(f"/v3/rooms/{room}/event/{event_id}")],
        "search": [one["result"] for one in found["results"]],
        "threads": threads,
    }
    return {
        name: next(event["unsigned"] for event in told if event["event_id"] == event_id)
        for name, told in events.items()
    }


async def test_messages_tell_their_age_and_the_readers_membership(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    said = await alice.say(room, "needle")
    await alice.say(room, "answer", **{"m.relates_to": {"rel_type": "m.thread", "event_id": said}})
    await bob.join(room)
    for name, unsigned in (await every_reading(alice, room, said)).items():
        assert unsigned["membership"] == "join", name
        assert 0 <= unsigned["age"] < 600_000, name
    for name, unsigned in (await every_reading(bob, room, said)).items():
        assert unsigned["membership"] == "leave", name


async def test_transaction_ids_are_told_to_the_device_that_sent(alice: Person, bob: Person) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    said = await alice.say(room, "needle")
    await alice.say(room, "answer", **{"m.relates_to": {"rel_type": "m.thread", "event_id": said}})
    for name, unsigned in (await every_reading(alice, room, said)).items():
        assert unsigned["transaction_id"] == "1", name
    for person in (bob, on_another_device(alice)):
        for name, unsigned in (await every_reading(person, room, said)).items():
            assert "transaction_id" not in unsigned, name
            assert "transaction_id" not in str(unsigned), name


async def test_state_tells_what_it_replaced(alice: Person) -> None:
    room = await alice.create_room()
    path = f"/v3/rooms/{room}/state/m.room.topic/"
    first = (await alice.put(path, {"topic": "coffee"}))["event_id"]
    second = (await alice.put(path, {"topic": "tea"}))["event_id"]
    body = {"search_categories": {"room_events": {"search_term": "tea"}}}
    found = (await alice.post("/v3/search", body))["search_categories"]["room_events"]["results"]
    readings = [
        await alice.get(f"/v3/rooms/{room}/event/{second}"),
        await alice.get(f"{path}?format=event"),
        (await alice.get(f"/v3/rooms/{room}/messages?dir=b&limit=1"))["chunk"][0],
        (await alice.get(f"/v3/rooms/{room}/context/{second}"))["event"],
        next(event for event in await alice.get(f"/v3/rooms/{room}/state") if event["event_id"] == second),
        found[0]["result"],
    ]
    for event in readings:
        assert event["unsigned"]["replaces_state"] == first
        assert event["unsigned"]["prev_content"] == {"topic": "coffee"}
    assert "replaces_state" not in (await alice.get(f"/v3/rooms/{room}/event/{first}"))["unsigned"]
