"""Rooms have a policy server, which is one of ours, look at their events before they are sent and when they arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.conversations.hostile import Peer, Room, peer
from tests.conversations.network import Network
from tests.conversations.towns import Town, heard, towns
from tests.postgres import PostgresServer
from tricord.clients import Client, Refused
from tricord.protocol.identifiers import EventId, RoomId
from tricord.protocol.strict_json import JsonObject

POLICY = {"enabled": True, "denied_words": ["free money*"], "denied_users": ["@troll:*"], "denied_servers": ["bad.*"]}
GUARD = "guard.test"


@dataclass
class Scene:
    """`guard.test` recommends events; alice is of `home.test`, and the peer of a server that we did not write."""

    guard: Town
    home: Town
    peer: Peer
    network: Network

    @property
    def alice(self) -> Client:
        return self.home["alice"]

    @property
    def greta(self) -> Client:
        """Who is in rooms so that her server may guard them."""
        return self.guard["greta"]

    async def guarded_room(self, version: str = "12") -> RoomId:
        room_id = await self.alice.create_room(preset="public_chat", room_version=version)
        await self.greta.join(room_id, via=[self.home.name])
        await self.name_guard(room_id)
        return room_id

    async def name_guard(self, room_id: RoomId, key: str | None = None) -> None:
        """Have a room use the policy server, and wait until that knows."""
        key = key or (await self.greta.policy_server()).public_keys.ed25519
        content = {"via": GUARD, "public_keys": {"ed25519": key}}
        await heard(self.greta, room_id, await self.alice.set_state(room_id, "m.room.policy", content))

    async def peer_in(self, room_id: RoomId) -> Room:
        return await self.peer.join(self.home.name, room_id, self.peer.user("paul"))

    def asked(self) -> int:
        """Return how often the policy server has been asked."""
        return len([uri for *_, uri in self.network.requests if uri == "/_matrix/policy/v1/sign"])


@pytest.fixture
async def scene(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Scene]:
    """The scene."""
    network = Network()
    async with (
        peer("peer.test", network) as other,
        towns(postgres, tmp_path, network, {"policy_server": POLICY}, guard=["greta", "troll"]) as [guard],
        towns(postgres, tmp_path, network, home=["alice", "troll"]) as [home],
    ):
        yield Scene(guard, home, other, network)


async def signers(client: Client, room_id: RoomId, event_id: EventId, of: Town) -> set[str]:
    """Return who has signed an event, as a server has it."""
    for event in await of.homeserver.room_state(room_id):
        if event.event_id == event_id:
            return {f"{name} {key}" for name, keys in event.pdu["signatures"].items() for key in keys}
    raise AssertionError(f"{event_id} is not in the state")


@pytest.mark.parametrize("version", ["1", "11", "12"])
async def test_what_is_recommended_is_sent_with_the_signature(scene: Scene, version: str) -> None:
    room_id = await scene.guarded_room(version)
    hello = await scene.alice.send_text(room_id, "Hello")
    await heard(scene.greta, room_id, hello)
    topic = await scene.alice.set_state(room_id, "m.room.topic", {"topic": "Tea"})
    await heard(scene.greta, room_id, topic)
    for town in (scene.home, scene.guard):
        assert f"{GUARD} ed25519:policy_server" in await signers(scene.alice, room_id, topic, town)
    assert scene.asked() == 2


async def test_what_is_not_recommended_is_not_sent(scene: Scene) -> None:
    room_id = await scene.guarded_room()
    with pytest.raises(Refused) as refused:
        await scene.alice.send_text(room_id, "Get FREE MONEY now")
    assert (refused.value.status, refused.value.errcode) == (400, "M_FORBIDDEN")
    assert refused.value.message == "the event has words that may not be said here"
    with pytest.raises(Refused):
        await scene.home["troll"].join(room_id)
    last = await scene.alice.send_text(room_id, "Tea?")
    page = await scene.alice.messages(room_id, limit=2)
    assert page.chunk[0]["event_id"] == last
    assert page.chunk[1]["type"] == "m.room.policy"


HARMS = {"errcode": "ORG.EXAMPLE_HARMFUL", "error": "That is spam", "org.example.harms": ["spam"]}


@pytest.mark.parametrize(
    ("status", "said", "shown_status", "shown"),
    [
        (400, HARMS, 400, HARMS),
        (403, {"errcode": "M_FORBIDDEN", "error": "Not you"}, 403, {"errcode": "M_FORBIDDEN", "error": "Not you"}),
        (
            401,
            {"errcode": "M_UNKNOWN_TOKEN", "error": "Sign in", "soft_logout": True},
            400,
            {"errcode": "M_FORBIDDEN", "error": "Sign in"},
        ),
        (400, {"errcode": "M_USER_LOCKED", "error": "No"}, 400, {"errcode": "M_FORBIDDEN", "error": "No"}),
        (400, {**HARMS, "more": "x" * 5000}, 400, {"errcode": "ORG.EXAMPLE_HARMFUL", "error": "That is spam"}),
        (400, {"errcode": ["x"], "error": "x" * 5000}, 400, {"errcode": "M_UNKNOWN", "error": "x" * 500}),
    ],
)
async def test_who_is_refused_reads_what_the_policy_server_says(
    scene: Scene, status: int, said: JsonObject, shown_status: int, shown: JsonObject
) -> None:
    room_id = await scene.alice.create_room(preset="public_chat")
    room = await scene.peer_in(room_id)
    assert room.room_id == room_id
    key = (await scene.greta.policy_server()).public_keys.ed25519
    content = {"via": scene.peer.name, "public_keys": {"ed25519": key}}
    await scene.alice.set_state(room_id, "m.room.policy", content)
    scene.peer.answers("POST /_matrix/policy/v1/sign", (status, said))
    with pytest.raises(Refused) as refused:
        await scene.alice.send_text(room_id, "Hello")
    assert (refused.value.status, refused.value.body) == (shown_status, shown)


async def test_the_policy_server_judges_its_own_users_too(scene: Scene) -> None:
    room_id = await scene.guarded_room()
    with pytest.raises(Refused):
        await scene.greta.send_text(room_id, "free money")
    await heard(scene.alice, room_id, await scene.greta.send_text(room_id, "Tea"))
    assert scene.asked() == 0


async def test_a_message_that_is_sent_again_is_still_one(scene: Scene) -> None:
    room_id = await scene.guarded_room()
    content = {"msgtype": "m.text", "body": "Hello"}
    first = await scene.alice.send(room_id, "m.room.message", content, transaction_id="one")
    assert await scene.alice.send(room_id, "m.room.message", content, transaction_id="one") == first
    assert scene.asked() == 1


async def test_many_speak_at_once(scene: Scene) -> None:
    room_id = await scene.guarded_room()
    said: list[EventId] = []

    async def say(number: int) -> None:
        said.append(await scene.alice.send_text(room_id, f"number {number}"))

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(say, number)
    page = await scene.alice.messages(room_id, limit=12)
    assert {event["event_id"] for event in page.chunk} == set(said)


async def test_what_arrives_unsigned_is_recommended_or_not_shown(scene: Scene) -> None:
    room_id = await scene.guarded_room()
    room = await scene.peer_in(room_id)
    paul = scene.peer.user("paul")
    good, bad = scene.peer.says(room, paul, "Tea is ready"), scene.peer.says(room, paul, "free money for all")
    told = (await scene.peer.send(scene.home.name, [good, bad])).json()["pdus"]
    assert told == {good.event_id: {}, bad.event_id: {}}
    await heard(scene.alice, room_id, good.event_id)
    await heard(scene.alice, room_id, await scene.alice.send_text(room_id, "Thank you"))
    page = await scene.alice.messages(room_id, limit=10)
    assert bad.event_id not in [event["event_id"] for event in page.chunk]


async def test_who_is_not_recommended_does_not_come_in(scene: Scene) -> None:
    room_id = await scene.guarded_room()
    with pytest.raises(AssertionError):
        await scene.peer.join(scene.home.name, room_id, scene.peer.user("troll"))
    assert await scene.alice.joined_members(room_id) == await scene.greta.joined_members(room_id)
    assert len(await scene.alice.joined_members(room_id)) == 2


async def test_while_the_policy_server_is_away_nothing_is_said(scene: Scene) -> None:
    room_id = await scene.guarded_room()
    scene.network.part(scene.home.name, scene.guard.name)
    with pytest.raises(Refused) as refused:
        await scene.alice.send_text(room_id, "Hello?")
    assert (refused.value.status, refused.value.errcode) == (400, "M_FORBIDDEN")
    scene.network.heal()
    await heard(scene.greta, room_id, await scene.alice.send_text(room_id, "Hello"))


async def test_a_room_can_do_without_it_again(scene: Scene) -> None:
    room_id = await scene.guarded_room()
    await scene.alice.set_state(room_id, "m.room.policy", {})
    await scene.alice.send_text(room_id, "free money")
    assert scene.asked() == 0


async def test_a_server_without_users_in_the_room_guards_nothing(scene: Scene) -> None:
    room_id = await scene.guarded_room()
    await scene.greta.leave(room_id)
    with trio.fail_after(60):
        while len(await scene.alice.joined_members(room_id)) > 1:
            await trio.testing.wait_all_tasks_blocked(0.01)
    asked = scene.asked()
    await scene.alice.send_text(room_id, "free money")
    assert scene.asked() == asked


async def test_a_signature_by_another_key_does_not_count(scene: Scene) -> None:
    room_id = await scene.guarded_room()
    for key in ("not base64!", "6yhHGKhCiXTSEN2ksjV7kX/N6rBQZ3Xb+M7LlC6NS+s"):
        await scene.name_guard(room_id, key)
        with pytest.raises(Refused) as refused:
            await scene.alice.send_text(room_id, "Hello")
        assert refused.value.errcode == "M_FORBIDDEN"


async def test_the_policy_server_signs_only_what_it_is_asked_for_rightly(scene: Scene) -> None:
    room_id = await scene.guarded_room()
    room = await scene.peer_in(room_id)
    good = scene.peer.says(room, scene.peer.user("paul"), "Tea")
    forged = {**good.pdu, "sender": scene.alice.user_id}
    policy = {**good.pdu, "type": "m.room.policy", "state_key": ""}
    for pdu, status, errcode in (
        (good.pdu, 200, None),
        (forged, 400, "M_FORBIDDEN"),
        (policy, 400, "M_FORBIDDEN"),
        ({**good.pdu, "room_id": "!elsewhere:peer.test"}, 404, "M_NOT_FOUND"),
        ({**good.pdu, "room_id": 1}, 400, "M_BAD_JSON"),
        ({**good.pdu, "content": []}, 400, "M_BAD_JSON"),
        ({}, 400, "M_BAD_JSON"),
    ):
        answer = await scene.peer.request(scene.guard.name, "POST", "/_matrix/policy/v1/sign", pdu)
        assert (answer.status_code, answer.json().get("errcode")) == (status, errcode), answer.text
    answer = await scene.peer.request(scene.home.name, "POST", "/_matrix/policy/v1/sign", good.pdu)
    assert (answer.status_code, answer.json()["errcode"]) == (404, "M_UNRECOGNIZED")


async def test_the_key_is_told_where_there_is_one(scene: Scene) -> None:
    assert len((await scene.greta.policy_server()).public_keys.ed25519) == 43
    with pytest.raises(Refused) as refused:
        await scene.alice.policy_server()
    assert refused.value.status == 404
