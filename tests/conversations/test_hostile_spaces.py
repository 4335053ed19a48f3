"""A peer lies about spaces and rooms that it is asked for."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
import trio

from tests.conversations.scene import Scene
from tests.federation.web import Seen
from tricord.clients import Refused
from tricord.protocol.identifiers import RoomId
from tricord.protocol.strict_json import JsonObject

THERE = RoomId("!there:evil.test")


def summary(room_id: str, **more: Any) -> dict[str, Any]:
    honest = {
        "room_id": room_id,
        "num_joined_members": 1,
        "world_readable": False,
        "guest_can_join": False,
        "join_rule": "public",
        "room_type": "m.space",
        "children_state": [],
    }
    return honest | more


def child(room_id: str, server: str) -> dict[str, Any]:
    return {
        "type": "m.space.child",
        "state_key": room_id,
        "sender": "@mallory:evil.test",
        "origin_server_ts": 1,
        "content": {"via": [server]},
    }


def told(room: Any, children: Any = (), inaccessible: Any = ()) -> dict[str, Any]:
    return {"room": room, "children": list(children), "inaccessible_children": list(inaccessible)}


async def space_of_alice(scene: Scene, room_id: RoomId = THERE) -> RoomId:
    space = await scene.alice.create_room(name="Here", creation_content={"type": "m.space"})
    await scene.alice.set_state(space, "m.space.child", {"via": [scene.evil.name]}, room_id)
    return space


async def walked(scene: Scene, space: RoomId) -> list[str]:
    with trio.fail_after(60):
        return [room.room_id async for room in scene.alice.rooms_of_space(space)]


@pytest.mark.parametrize(
    "answer",
    [
        500,
        b"no json",
        [],
        told({}),
        told("!there:evil.test"),
        told(summary("!other:evil.test")),
        told(summary(THERE, num_joined_members="many")),
        told(summary(THERE) | {"room_id": None}),
        told(summary(THERE, join_rule="private")),
        told(summary(THERE, join_rule="restricted", allowed_room_ids=["!x:evil.test"])),
        told(summary(THERE), inaccessible=["x"]),
    ],
)
async def test_what_makes_no_sense_is_left_out(scene: Scene, answer: Any) -> None:
    space = await space_of_alice(scene)
    scene.evil.answers("/hierarchy/", answer)
    assert await walked(scene, space) == [space]
    with pytest.raises(Refused) as refusal:
        await scene.alice.room_summary(THERE, via=[scene.evil.name])
    assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")


async def test_a_peer_tells_nothing_of_rooms_of_this_server_or_of_rooms_that_it_does_not_name(scene: Scene) -> None:
    space = await space_of_alice(scene)
    secret = await scene.xenia.create_room(name="Secret")
    named = [child(secret, scene.evil.name), child("!a:evil.test", scene.evil.name)]
    lies = [
        summary(secret, name="Open to all"),
        summary("!unnamed:evil.test"),
        {"x": 1},
        summary("!a:evil.test", room_type=None),
    ]
    scene.evil.answers("/hierarchy/", told(summary(THERE, children_state=named), lies))
    assert await walked(scene, space) == [space, THERE, "!a:evil.test"]


async def test_what_a_liar_tells_is_shown_to_those_alone_who_ask_the_liar(scene: Scene) -> None:
    scene.evil.answers("/hierarchy/", told(summary(THERE, name="Lies")))
    assert (await scene.xenia.room_summary(THERE, via=[scene.evil.name])).name == "Lies"
    fair = RoomId("!there:fair.test")
    scene.evil.answers("/hierarchy/", told(summary(fair, name="Lies")))
    assert (await scene.xenia.room_summary(fair, via=[scene.evil.name])).name == "Lies"
    with pytest.raises(Refused):
        await scene.alice.room_summary(fair)


async def test_spaces_within_spaces_without_end_come_to_an_end(scene: Scene) -> None:
    space = await space_of_alice(scene)

    def deeper(seen: Seen) -> JsonObject:
        number = len(scene.evil.asked)
        room_id = unquote(seen.target.partition("/hierarchy/")[2].partition("?")[0])
        names = [child(f"!{number}-{one}:evil.test", scene.evil.name) for one in range(3)]
        return told(summary(room_id, children_state=[*names, child(space, "hs.test")]))

    scene.evil.answers("/hierarchy/", deeper)
    page = await scene.alice.hierarchy(space, limit=20, max_depth=3)
    assert len(page.rooms) <= 20
    assert len({room.room_id for room in page.rooms}) == len(page.rooms)
    assert len(await walked_to(scene, space, 2)) == 1 + 1 + 3


async def walked_to(scene: Scene, space: RoomId, depth: int) -> list[str]:
    with trio.fail_after(60):
        return [room.room_id async for room in scene.alice.rooms_of_space(space, max_depth=depth)]
