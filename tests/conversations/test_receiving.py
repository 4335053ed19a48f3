"""What another server sends is judged as "Checks performed on receipt of a PDU" says, on the wire.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conversations.hostile import Peer, Room
from tests.conversations.scene import Scene, hostile_scene
from tests.conversations.towns import heard
from tests.postgres import PostgresServer
from tricord.protocol.events import Event, VerifiedEvent, parse_event
from tricord.protocol.identifiers import EventId, UserId

NOWHERE = EventId("$" + "n" * 43)
NOWHERE_OF_EVIL = EventId("$nowhere:evil.test")


@pytest.fixture(params=["1", "10", "12"])
async def scene(postgres: PostgresServer, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with hostile_scene(postgres, tmp_path, request.param) as found:
        yield found


async def taken(scene: Scene, peer: Peer, *events: Event) -> list[bool]:
    """Send events; return for each whether nothing was wrong with it."""
    results = (await peer.send(scene.hs, events)).json()["pdus"]
    assert set(results) == {event.event_id for event in events}
    return [results[event.event_id] == {} for event in events]


async def history(scene: Scene) -> list[str]:
    page = await scene.alice.messages(scene.room.room_id, limit=100)
    return [event["event_id"] for event in page.chunk]


def member(scene: Scene, user_id: str, membership: str, **options: Any) -> VerifiedEvent:
    return scene.evil.event(
        scene.room, scene.mallory, "m.room.member", {"membership": membership}, state_key=user_id, **options
    )


def as_state(*events: Event) -> Sequence[EventId]:
    return [event.event_id for event in events]


async def leave(scene: Scene) -> Event:
    """Let mallory leave, as her server should tell of it."""
    left = member(scene, scene.mallory, "leave")
    assert await taken(scene, scene.evil, left) == [True]
    scene.room.take_in(left)
    return left


async def test_what_its_auth_events_allow_and_the_state_before_it_does_not_is_rejected(scene: Scene) -> None:
    join = scene.room.state["m.room.member", scene.mallory]
    left = await leave(scene)
    late = scene.evil.says(scene.room, scene.mallory, "gone, and still talking", auth=_auth_of(scene, join))
    assert late.prev_events == (left.event_id,)
    assert await taken(scene, scene.evil, late) == [False]
    assert late.event_id not in await history(scene)
    await scene.evil.join(scene.hs, scene.room.room_id, scene.mallory)
    assert await taken(scene, scene.evil, late) == [False]
    assert late.event_id not in await history(scene)


async def test_what_the_room_no_longer_allows_is_soft_failed_and_followed_by_nobody(scene: Scene) -> None:
    evil, room_id = scene.evil, scene.room.room_id
    fork, state = list(scene.room.ends), dict(scene.room.state)
    await scene.alice.ban(room_id, scene.mallory)
    scene.room.state = state
    late = evil.says(scene.room, scene.mallory, "on a branch from before", after=as_state(*fork))
    assert await taken(scene, evil, late) == [True]
    assert late.event_id not in await history(scene)
    answer = await scene.bob.sync()
    assert late.event_id not in repr(answer["rooms"]["join"][room_id]["timeline"])
    # An event of our own does not follow it; one that does is judged like any other.
    ours = await scene.alice.send_text(room_id, "peace")
    assert late.event_id not in (await _as_servers_see(scene, scene.fair, ours)).prev_events
    await scene.fair.heard(room_id, ours)
    fair_room = scene.fair.rooms[room_id]
    on_top = scene.fair.says(fair_room, scene.frank, "I saw that", after=[late.event_id, ours])
    assert await taken(scene, scene.fair, on_top) == [True]
    fair_room.take_in(on_top)
    assert on_top.event_id in await history(scene)
    assert late.event_id not in await history(scene)
    await scene.alice.unban(room_id, scene.mallory)
    assert await taken(scene, evil, late) == [True]
    assert late.event_id not in await history(scene)
    await evil.join(scene.hs, room_id, scene.mallory)


async def test_what_follows_a_rejected_event_is_judged_without_it(scene: Scene) -> None:
    evil, room = scene.evil, scene.room
    usurping = evil.event(room, scene.mallory, "m.room.name", {"name": "Mine"}, state_key="")
    after = evil.says(room, scene.mallory, "as if nothing had been", after=as_state(usurping))
    assert await taken(scene, evil, usurping, after) == [False, True]
    room.take_in(after)
    assert after.event_id in await history(scene)
    assert await scene.alice.state(room.room_id, "m.room.name") is None


async def test_what_is_missing_before_an_event_is_asked_for_where_it_came_from(scene: Scene) -> None:
    evil, room = scene.evil, scene.room
    said = []
    for number in range(30):
        said.append(evil.says(room, scene.mallory, f"{number}"))
        room.take_in(said[-1])
    between = [event.pdu for event in said[:-1]]
    evil.answers("get_missing_events", {"events": between})
    assert await taken(scene, evil, said[-1]) == [True]
    assert [asked for asked in evil.asked if "get_missing_events" not in asked] == []
    assert (await history(scene))[:30] == [event.event_id for event in reversed(said)]
    assert not [asked for asked in scene.fair.asked if "missing" in asked]


async def test_a_state_that_is_told_does_not_take_the_place_of_ours(scene: Scene) -> None:
    evil, room, alice = scene.evil, scene.room, scene.alice
    topic = await alice.set_state(room.room_id, "m.room.topic", {"topic": "ours"})
    await evil.heard(room.room_id, topic)
    kept = ("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", scene.mallory)
    told = [room.state[key] for key in kept]
    for create_only in (False, True):
        some = told[:1] + told[2:] if create_only else told
        evil.answers("state_ids", {"pdu_ids": as_state(*some), "auth_chain_ids": as_state(*told)})
        for after in ([*as_state(*room.ends), NOWHERE], [NOWHERE]):
            said = evil.says(room, scene.mallory, f"our room is empty {create_only} {len(after)}", after=after)
            assert await taken(scene, evil, said) == [True]
            room.take_in(said)
            name = evil.event(room, scene.mallory, "m.room.name", {"name": "Mine"}, state_key="", after=after,
                              auth=_auth_of(scene, told[2], levels=False))  # fmt: skip
            await evil.send(scene.hs, [name])
            on_top = evil.says(room, scene.mallory, "and on top", after=[*as_state(*room.ends), name.event_id])
            assert await taken(scene, evil, on_top) == [True]
            room.take_in(on_top)
            assert await alice.state(room.room_id, "m.room.topic") == {"topic": "ours"}
            assert await alice.state(room.room_id, "m.room.name") is None
            assert {alice.user_id, scene.bob.user_id, scene.frank} <= set(await alice.joined_members(room.room_id))
            heard_of = await alice.send_text(room.room_id, "are you all here?")
            await heard(scene.bob, room.room_id, heard_of)
            await evil.heard(room.room_id, heard_of)
            assert await alice.state(room.room_id, "m.room.topic") == {"topic": "ours"}


async def test_a_redaction_takes_effect_when_what_it_redacts_comes(scene: Scene) -> None:
    evil, fair, room = scene.evil, scene.fair, scene.room
    regretted = evil.says(room, scene.mallory, "regretted")
    redaction = _redaction(evil, room, scene.mallory, regretted)
    by_frank = _redaction(fair, fair.rooms[room.room_id], scene.frank, regretted)
    # In the first versions the rules themselves say who may redact, by the event's name.
    assert await taken(scene, fair, by_frank) == [room.version.name != "1"]
    assert await taken(scene, evil, redaction) == [True]
    assert await taken(scene, evil, regretted) == [True]
    shown = await scene.alice.event(room.room_id, regretted.event_id)
    assert shown["content"] == {}
    assert shown["unsigned"]["redacted_because"]["event_id"] == redaction.event_id
    room.take_in(regretted)
    room.take_in(redaction)


async def test_a_redaction_by_somebody_who_may_not_has_no_effect(scene: Scene) -> None:
    room_id = scene.room.room_id
    said = await scene.alice.send_text(room_id, "to stay")
    await scene.evil.heard(room_id, said)
    redaction = scene.evil.event(scene.room, scene.mallory, "m.room.redaction", {"redacts": said}, redacts=said)
    await scene.evil.send(scene.hs, [redaction])
    assert (await scene.alice.event(room_id, said))["content"]["body"] == "to stay"
    shown = await scene.bob.sync()
    assert "redacted_because" not in repr(shown["rooms"]["join"][room_id])
    create = scene.room.state["m.room.create", ""].event_id
    of_create = scene.evil.event(scene.room, scene.mallory, "m.room.redaction", {"redacts": create}, redacts=create)
    await scene.evil.send(scene.hs, [of_create])
    found = await scene.alice.state(room_id, "m.room.create")
    assert found is not None
    assert found["room_version"] == scene.room.version.name


async def test_redactions_of_each_other_end(scene: Scene) -> None:
    evil, room = scene.evil, scene.room
    nowhere = NOWHERE_OF_EVIL if room.version.references_carry_hashes else NOWHERE
    first = evil.event(room, scene.mallory, "m.room.redaction", {"redacts": nowhere}, redacts=nowhere)
    chain: list[Event] = [first]
    for _ in range(20):
        room.take_in(chain[-1])
        chain.append(_redaction(evil, room, scene.mallory, chain[-1]))
    room.take_in(chain[-1])
    assert all(await taken(scene, evil, *reversed(chain)))
    itself = evil.event(room, scene.mallory, "m.room.redaction", {"redacts": chain[-1].event_id},
                        redacts=chain[-1].event_id)  # fmt: skip
    assert await taken(scene, evil, itself) == [True]
    room.take_in(itself)
    await scene.bob.sync()


def _redaction(peer: Peer, room: Room, sender: UserId, target: Event) -> VerifiedEvent:
    return peer.event(room, sender, "m.room.redaction", {"redacts": target.event_id}, redacts=target.event_id)


def _auth_of(scene: Scene, join: Event, *, levels: bool = True) -> list[EventId]:
    """Return the auth events of a message by somebody with a member event."""
    room, wanted = scene.room, [("m.room.create", "")] if not scene.room.version.room_id_is_create_event_id else []
    if levels:
        wanted.append(("m.room.power_levels", ""))
    return [*(room.state[key].event_id for key in wanted), join.event_id]


async def _as_servers_see(scene: Scene, peer: Peer, event_id: EventId) -> Event:
    answer = await peer.granted(scene.hs, "GET", f"/_matrix/federation/v1/event/{event_id}")
    return parse_event(answer["pdus"][0], scene.room.version)
