"""What is said and shown in a room that Tricord and Synapse share."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.conversations.towns import heard, members
from tests.peers.synapse.observations import Passing, becomes, everything_said
from tests.peers.synapse.towns import Town
from tricord.clients import Client, Refused
from tricord.protocol.identifiers import RoomAlias, RoomId

pytestmark = [pytest.mark.peer, pytest.mark.synapse]


# What servers write differently in JSON that is not canonical, or count differently.
ODD_CONTENT = {
    "msgtype": "m.text",
    "body": '\u2028 é 🎈 \u007f \u0000 " \\ / <',
    "org.example": {"most": 2**53 - 1, "least": 1 - 2**53, "": [None, True, {}], "ü": 1, "🎈": 2, "\uffff": 3},
}


@pytest.fixture
async def room_id(near: Town, alice: Client, bob: Client) -> RoomId:
    """A room with both of them in it."""
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=[near.name])
    # Synapse answers this once it knows all members; until then it does not see what passes.
    await members(bob, room_id)
    await becomes(lambda: members(alice, room_id), {alice.user_id, bob.user_id})
    return room_id


async def test_many_messages_arrive_each_once_and_in_order(alice: Client, bob: Client, room_id: RoomId) -> None:
    said = [await alice.send_text(room_id, f"a{number}") for number in range(15)]
    await heard(bob, room_id, said[-1])
    answers = [await bob.send_text(room_id, f"b{number}") for number in range(15)]
    await heard(alice, room_id, answers[-1])
    assert await everything_said(alice, room_id) == said + answers
    assert await everything_said(bob, room_id) == said + answers


async def test_odd_content_arrives_as_it_was(alice: Client, bob: Client, room_id: RoomId) -> None:
    for speaker, listener in ((alice, bob), (bob, alice)):
        odd = await speaker.send(room_id, "m.room.message", ODD_CONTENT)
        assert (await heard(listener, room_id, odd))["content"] == ODD_CONTENT
        long = await speaker.send_text(room_id, "x" * 60_000)
        assert len((await heard(listener, room_id, long))["content"]["body"]) == 60_000
    odd = await alice.set_state(room_id, "org.example/ü", {"is": "here"}, "key/ü %2F")
    assert (await heard(bob, room_id, odd))["state_key"] == "key/ü %2F"


async def test_a_server_that_is_shut_out_of_a_room_is_not_heard_there(
    near: Town, far: Town, alice: Client, bob: Client, room_id: RoomId
) -> None:
    elsewhere = await alice.create_room(preset="public_chat")
    await bob.join(elsewhere, via=[near.name])
    rules: dict[str, Any] = {"allow": ["*"], "allow_ip_literals": True}
    shut_out = rules | {"deny": [far.name.partition(":")[0]]}
    await heard(bob, room_id, await alice.set_state(room_id, "m.room.server_acl", shut_out))
    unheard = await bob.send_text(room_id, "Does anybody hear me?")
    await heard(alice, elsewhere, await bob.send_text(elsewhere, "Here you do"))
    assert unheard not in await everything_said(alice, room_id)
    await heard(bob, room_id, await alice.set_state(room_id, "m.room.server_acl", rules))
    await heard(alice, room_id, await bob.send_text(room_id, "And now there"))


async def test_what_both_say_at_once_reaches_both(alice: Client, bob: Client, room_id: RoomId) -> None:
    said: dict[Client, list[str]] = {alice: [], bob: []}

    async def say(who: Client) -> None:
        for number in range(10):
            said[who].append(await who.send_text(room_id, f"{number}"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(say, alice)
        nursery.start_soon(say, bob)
    for who in (alice, bob):

        async def seen(who: Client = who) -> set[str]:
            return set(await everything_said(who, room_id))

        await becomes(seen, {*said[alice], *said[bob]})


# From version 11 on, the event that is redacted is named elsewhere.
@pytest.mark.parametrize("version", ["10", "11"])
async def test_what_is_redacted_is_gone_on_both_sides(near: Town, alice: Client, bob: Client, version: str) -> None:
    room_id = await alice.create_room(preset="public_chat", room_version=version)
    await bob.join(room_id, via=[near.name])
    mistakes = [await alice.send_text(room_id, "Mistake"), await bob.send_text(room_id, "Mistake")]
    await heard(alice, room_id, mistakes[1])
    await heard(bob, room_id, mistakes[0])
    await alice.redact(room_id, mistakes[0])
    await bob.redact(room_id, mistakes[1], reason="Typing error")
    for viewer in (alice, bob):
        for mistake in mistakes:

            async def content(viewer: Client = viewer, mistake: Any = mistake) -> object:
                return (await viewer.event(room_id, mistake))["content"]

            await becomes(content, {})


async def test_a_moderator_redacts_what_a_guest_said(alice: Client, bob: Client, room_id: RoomId) -> None:
    mistake = await bob.send_text(room_id, "Spam")
    await heard(alice, room_id, mistake)
    await alice.redact(room_id, mistake)

    async def content() -> object:
        return (await bob.event(room_id, mistake))["content"]

    await becomes(content, {})


async def test_history_from_before_the_join_is_read(near: Town, alice: Client, bob: Client) -> None:
    room_id = await alice.create_room(preset="public_chat")
    said = [await alice.send_text(room_id, f"number {number}") for number in range(30)]
    await bob.join(room_id, via=[near.name])
    assert await everything_said(bob, room_id) == said


async def test_what_was_said_while_nobody_of_a_server_was_there_is_read(
    near: Town, alice: Client, bob: Client, room_id: RoomId
) -> None:
    before = await bob.send_text(room_id, "I must go")
    await heard(alice, room_id, before)
    await bob.leave(room_id)
    await becomes(lambda: members(alice, room_id), {alice.user_id})
    meanwhile = [await alice.send_text(room_id, f"alone {number}") for number in range(12)]
    await bob.join(room_id, via=[near.name])
    await becomes(lambda: members(alice, room_id), {alice.user_id, bob.user_id})
    after = await alice.send_text(room_id, "There you are")
    await heard(bob, room_id, after)
    assert await everything_said(bob, room_id) == [before, *meanwhile, after]


async def test_a_room_is_found_by_its_alias(near: Town, alice: Client, bob: Client) -> None:
    room_id = await alice.create_room(preset="public_chat")
    alias = RoomAlias(f"#square-{alice.user_id[1:].partition(':')[0]}:{near.name}")
    await alice.set_alias(alias, room_id)
    assert (await bob.resolve_alias(alias)).room_id == room_id
    assert await bob.join(alias) == room_id
    with pytest.raises(Refused) as refused:
        await bob.resolve_alias(RoomAlias(f"#nowhere:{near.name}"))
    assert refused.value.status == 404


async def test_a_room_is_found_in_the_directory(near: Town, alice: Client, bob: Client) -> None:
    name = f"Reading room of {alice.user_id}"
    room_id = await alice.create_room(preset="public_chat", name=name, visibility="public")
    await alice.create_room(preset="public_chat", name=f"Quiet room of {alice.user_id}", visibility="public")
    everything = await bob.public_rooms(server=near.name)
    assert (room_id, name) in [(room.room_id, room.name) for room in everything.chunk]
    matching = await bob.public_rooms(server=near.name, search=name)
    assert [room.room_id for room in matching.chunk] == [room_id]


async def test_profiles_are_seen_from_both_sides(alice: Client, bob: Client) -> None:
    await alice.set_profile("displayname", "Alice in Chains")
    assert (await bob.profile(alice.user_id))["displayname"] == "Alice in Chains"
    with pytest.raises(Refused) as refused:
        await bob.profile(type(alice.user_id)(f"@nobody{alice.user_id[1:]}"))
    assert refused.value.status == 404


async def test_a_new_name_is_told_to_the_room(alice: Client, bob: Client, room_id: RoomId) -> None:
    await alice.set_profile("displayname", "Alice in Chains")

    async def name() -> object:
        return ((await bob.state(room_id, "m.room.member", alice.user_id)) or {}).get("displayname")

    await becomes(name, "Alice in Chains")


async def test_who_types_is_seen_from_both_sides(alice: Client, bob: Client, room_id: RoomId) -> None:
    for writer, viewer in ((alice, bob), (bob, alice)):
        shown = Passing(viewer, room_id, "m.typing")
        await writer.set_typing(room_id)
        await becomes(shown.content, {"user_ids": [writer.user_id]})
        await writer.set_typing(room_id, typing_now=False)
        await becomes(shown.content, {"user_ids": []})


async def test_who_has_read_is_seen_from_both_sides(alice: Client, bob: Client, room_id: RoomId) -> None:
    for writer, reader in ((alice, bob), (bob, alice)):
        shown = Passing(writer, room_id, "m.receipt")
        message = await writer.send_text(room_id, "Have you read this?")
        await heard(reader, room_id, message)
        await reader.mark_read(room_id, message)

        async def has_read(shown: Passing = shown, message: str = message, reader: Client = reader) -> bool:
            return reader.user_id in (await shown.content()).get(message, {}).get("m.read", {})

        await becomes(has_read, True)


async def test_who_is_online_is_seen_from_both_sides(alice: Client, bob: Client, room_id: RoomId) -> None:
    for person, viewer in ((alice, bob), (bob, alice)):
        await person.set_presence("online", status=f"Reading {room_id}")

        async def status(person: Client = person, viewer: Client = viewer) -> object:
            return (await viewer.presence_of(person.user_id)).status_msg

        await becomes(status, f"Reading {room_id}")
