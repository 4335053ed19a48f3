"""Servers that could not reach each other agree again afterwards, whatever was done meanwhile.

Each story is told by its seed, and told again by it: `TRICORD_TEST_SEEDS=17 pytest tests/conversations/test_forks.py`.
`TRICORD_TEST_SEEDS=0-199` tells as many as wanted.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from tests.conversations.network import Network
from tests.conversations.towns import Town, towns
from tests.postgres import PostgresServer
from tricord.clients import Client, Refused
from tricord.protocol.events import Event
from tricord.protocol.identifiers import RoomId, ServerName, UserId, server_name_of

_STEPS = 14
_STORIES_AT_A_PLACE = 20
_PATIENCE_SECONDS = 60

State = dict[tuple[str, str], str]


def seeds() -> list[int]:
    """Return the seeds of the stories to tell."""
    wanted: list[int] = []
    for part in os.environ.get("TRICORD_TEST_SEEDS", "0-199").split(","):
        first, _, last = part.partition("-")
        wanted += range(int(first), int(last or first) + 1)
    return wanted


def blocks() -> list[list[int]]:
    """Return the seeds in portions, each to be told among the same servers, a room each: these are dear to start."""
    wanted = seeds()
    return [wanted[first : first + _STORIES_AT_A_PLACE] for first in range(0, len(wanted), _STORIES_AT_A_PLACE)]


@pytest.fixture(autouse=True)
def only_warnings() -> Iterator[None]:
    """Log what matters: all of it costs a quarter of the time. Of a single story, log all."""
    if len(seeds()) > 1:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("told", blocks(), ids=lambda told: f"{told[0]}-{told[-1]}")
async def test_all_agree_once_they_can_reach_each_other(
    postgres: PostgresServer, tmp_path: Path, told: Sequence[int]
) -> None:
    network = Network()
    async with towns(postgres, tmp_path, network, north=["ann", "amy"], south=["bob"], east=["cid", "cat"]) as found:
        for seed in told:
            await tell(seed, network, found)


async def tell(seed: int, network: Network, found: list[Town]) -> None:
    """Tell one story, in a room of its own."""
    story = random.Random(seed)  # to be told again
    version = story.choice(["6", "10", "11", "12"])
    north = found[0]
    room_id = await north["ann"].create_room(preset="public_chat", room_version=version)
    people = [client for town in found for client in town.people.values()]
    for client in people:
        if client is not north["ann"]:
            await client.join(room_id, via=[north.name])
    await agreed(found, room_id)
    await share_power(story, north["ann"], room_id, people)
    for _ in range(_STEPS):
        await step(story, network, found, people, room_id)
    network.heal()
    for client in people:
        # A word from everybody lets each server hear of what it missed.
        await attempt(client.send_text(room_id, "I am here"))
    states = await agreed(found, room_id)
    assert len({tuple(sorted(state.items())) for state in states}) == 1, f"seed {seed}"


async def step(
    story: random.Random, network: Network, found: list[Town], people: list[Client], room_id: RoomId
) -> None:
    """Let something happen."""
    who, whom = story.choice(people), story.choice(people)
    match story.randrange(10):
        case 0:
            one, other = story.sample(found, 2)
            network.part(one.name, other.name)
        case 1:
            network.heal()
        case 2 | 3:
            await attempt(who.set_state(room_id, "m.room.topic", {"topic": f"{story.random()}"}))
        case 4:
            await attempt(who.kick(room_id, whom.user_id))
        case 5:
            await attempt(who.ban(room_id, whom.user_id))
        case 6:
            await share_power(story, who, room_id, people)
        case 7:
            rule = story.choice(["public", "invite"])
            await attempt(who.set_state(room_id, "m.room.join_rules", {"join_rule": rule}))
        case _:
            await attempt(who.send_text(room_id, f"{story.random()}"))


async def share_power(story: random.Random, who: Client, room_id: RoomId, people: list[Client]) -> None:
    """Give people other power levels, if that is allowed."""
    levels: dict[str, Any] = await who.state(room_id, "m.room.power_levels") or {}
    users = dict(levels.get("users", {}))
    for client in story.sample(people, 2):
        if client.user_id != who.user_id:
            users[client.user_id] = story.choice([0, 50, 75])
    await attempt(who.set_state(room_id, "m.room.power_levels", {**levels, "users": users}))


async def attempt(action: Any) -> None:
    """Do something that may be refused."""
    with contextlib.suppress(Refused):
        await action


async def agreed(found: list[Town], room_id: RoomId) -> list[State]:
    """Wait until all servers in a room have the same state of it, and return it as each has it."""
    states: list[State] = []
    with trio.move_on_after(_PATIENCE_SECONDS):
        while True:
            states = await states_inside(found, room_id)
            if all(one == other for one, other in itertools.pairwise(states)):
                return states
            await trio.sleep(0.1)
    return states


async def states_inside(found: list[Town], room_id: RoomId) -> list[State]:
    """Return the state of a room as each server has it that all take to be in it.

    One that is out by what the others hold hears no more, even where that came about by the resolution of a fork.
    """
    events = {town.name: await town.homeserver.room_state(room_id) for town in found}
    inside = {name: servers_in(state) for name, state in events.items()}
    agreed_on = [name for name in events if all(name in servers for servers in inside.values())]
    return [{(event.type, event.state_key or ""): event.event_id for event in events[name]} for name in agreed_on]


def servers_in(state: Sequence[Event]) -> set[ServerName]:
    """Return the servers that are in a room by one of its states."""
    return {
        server_name_of(UserId(event.state_key or ""))
        for event in state
        if event.type == "m.room.member" and event.content.get("membership") == "join"
    }
