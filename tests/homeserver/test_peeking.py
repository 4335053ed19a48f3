"""People look into rooms that the world may read, and follow them, without joining."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from tricord.clients import Client, Refused
from tricord.homeserver.app import Homeserver
from tricord.protocol.identifiers import RoomId

READABLE = {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": "world_readable"}}


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    return {"registration": {"enabled": True, "guests": True}}


@pytest.fixture
async def guest(homeserver: Homeserver) -> AsyncIterator[Client]:
    async with Client(homeserver.urls[0]) as client:
        await client.register_guest()
        yield client


def bodies(events: list[Any]) -> list[str]:
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


async def forbidden(client: Client, room_id: RoomId) -> None:
    for ask in (client.peek(room_id), client.follow_room(room_id, timeout_seconds=0)):
        with pytest.raises(Refused) as refusal:
            await ask
        assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")


async def test_who_peeks_sees_the_room_and_hears_what_is_said_next(alice: Client, guest: Client, bob: Client) -> None:
    room_id = await alice.create_room(name="Square", initial_state=[READABLE])
    for person in (guest, bob):
        for number in range(3):
            await alice.send_text(room_id, f"number {number}")
        room = await person.peek(room_id, limit=2)
        assert bodies(room.messages.chunk) == ["number 1", "number 2"]
        assert room.membership is None
        assert room.visibility == "private"
        assert {"name": "Square"} in [event["content"] for event in room.state]
        earlier = await person.messages(room_id, start=room.messages.start, limit=1)
        assert bodies(earlier.chunk) == ["number 0"]
        heard: list[str] = []

        async def listen(person: Client = person, heard: list[str] = heard, start: str = room.messages.end) -> None:
            while not heard:
                news = await person.follow_room(room_id, start=start)
                heard += bodies(news.chunk)
                start = news.end

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await alice.send_text(room_id, f"to {person.user_id}")
        assert heard == [f"to {person.user_id}"]


async def test_rooms_that_are_not_for_the_world_stay_closed(alice: Client, guest: Client, bob: Client) -> None:
    public = await alice.create_room(preset="public_chat")
    for person in (guest, bob):
        await forbidden(person, public)
    await alice.invite(public, bob.user_id)
    await forbidden(bob, public)


async def test_a_room_that_is_closed_again_is_no_longer_followed(alice: Client, guest: Client) -> None:
    room_id = await alice.create_room(initial_state=[READABLE])
    room = await guest.peek(room_id)
    await alice.send_text(room_id, "for all")
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "shared"})
    await alice.send_text(room_id, "for us")
    with pytest.raises(Refused):
        await guest.follow_room(room_id, start=room.messages.end, timeout_seconds=0)
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "world_readable"})
    news = await guest.follow_room(room_id, start=room.messages.end, timeout_seconds=0)
    assert bodies(news.chunk) == ["for all"]


async def test_members_follow_all_their_rooms_and_guests_single_ones(alice: Client, bob: Client, guest: Client) -> None:
    start = (await bob.follow_room(None, timeout_seconds=0)).end
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    await alice.send_text(room_id, "Welcome")
    assert bodies((await bob.follow_room(None, start=start)).chunk) == ["Welcome"]
    with pytest.raises(Refused) as refusal:
        await guest.follow_room(None, timeout_seconds=0)
    assert refusal.value.errcode == "M_GUEST_ACCESS_FORBIDDEN"


async def test_all_rooms_are_shown_at_once_to_clients_of_old(alice: Client, bob: Client) -> None:
    room_id = await alice.create_room(name="Tea", visibility="public")
    left = await alice.create_room(name="Left")
    await alice.leave(left)
    asked_in = await bob.create_room(invite=[alice.user_id])
    for number in range(3):
        await alice.send_text(room_id, f"number {number}")
    told = await alice.initial_sync(limit=2)
    rooms = {room["room_id"]: room for room in told.rooms}
    assert rooms.keys() == {room_id, asked_in}
    assert rooms[asked_in]["membership"] == "invite"
    invitation = rooms[asked_in]["invite"]
    assert (invitation["sender"], invitation["content"]["membership"]) == (bob.user_id, "invite")
    assert (invitation["room_id"], invitation["state_key"]) == (asked_in, alice.user_id)
    room = rooms[room_id]
    assert (room["membership"], room["visibility"]) == ("join", "public")
    assert bodies(room["messages"]["chunk"]) == ["number 1", "number 2"]
    assert {event["room_id"] for event in (*room["state"], *room["messages"]["chunk"])} == {room_id}
    assert {"name": "Tea"} in [event["content"] for event in room["state"]]
    earlier = await alice.messages(room_id, start=room["messages"]["start"], limit=1)
    assert bodies(earlier.chunk) == ["number 0"]
    archived = {one["room_id"]: one["membership"] for one in (await alice.initial_sync(archived=True)).rooms}
    assert archived[left] == "leave"
    await alice.send_text(room_id, "later")
    assert bodies((await alice.follow_room(None, start=told.end)).chunk) == ["later"]


async def test_an_event_is_read_by_whoever_may_see_it_without_its_room(alice: Client, bob: Client) -> None:
    room_id = await alice.create_room()
    said = await alice.send_text(room_id, "between us")
    assert (await alice.event_alone(said))["content"]["body"] == "between us"
    with pytest.raises(Refused) as refusal:
        await bob.event_alone(said)
    assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")
