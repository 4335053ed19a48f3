"""The same random conversation on both homeservers has the same outcomes, refusals and syncs."""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.clients.either_server import EitherServer, real_server, server_in_memory
from tests.postgres import PostgresServer
from tricord.clients import Refused
from tricord.clients.testing import Person
from tricord.protocol.identifiers import EventId, RoomId

PEOPLE = ("alice", "bob", "carol")
PRESETS: tuple[Any, ...] = ("public_chat", "private_chat", "trusted_private_chat")
VISIBILITIES = ("shared", "joined", "invited", "world_readable")
SYNC_FILTER = {"presence": {"types": []}, "room": {"timeline": {"limit": 4}, "ephemeral": {"types": []}}}
STEPS = 120

# What to do, by whom (a number), in which room, to whom or what (numbers); each homeserver has ids of its own.
Step = tuple[str, int, int, int, int]


RARE = ("create", "invite", "leave", "kick", "ban", "unban", "forget", "name", "visibility", "rename", "redact")
OFTEN = ("join", "say", "say", "sync", "sync", "see name", "see members", "read")


def conversation(seed: int) -> list[Step]:
    """Return what happens."""
    dice = random.Random(seed)
    steps: list[Step] = [("create", 0, 0, 0, 0), ("create", 1, 0, 1, 3)]
    for _ in range(STEPS):
        kind = dice.choice((*RARE, *OFTEN, *OFTEN))
        steps.append((kind, dice.randrange(3), dice.randrange(100), dice.randrange(3), dice.randrange(1000)))
    return [*steps, *(("sync", person, 0, 0, 0) for person in range(3))]


class Conversation:
    """One performance."""

    def __init__(self, people: list[Person]) -> None:
        self._people = people
        self._rooms: list[RoomId] = []
        self._said: list[tuple[RoomId, EventId]] = []
        self._positions: dict[int, str] = {}

    async def perform(self, step: Step) -> Any:
        """Do one step, and return what came of it in words that are the same everywhere."""
        kind, who, where, whom, number = step
        person = self._people[who]
        try:
            match kind:
                case "create":
                    return await self._create(person, number)
                case "sync":
                    return await self._sync(person, afresh=number % 10 == 0)
                case "redact" if self._said:
                    await person.redact(*self._said[number % len(self._said)])
                case _:
                    return await self._act(kind, person, self._rooms[where % len(self._rooms)], whom, number)
        except Refused as refusal:
            return refusal.status, refusal.errcode

    async def _create(self, person: Person, number: int) -> None:
        content = {"history_visibility": VISIBILITIES[number % 4]}
        visibility = {"type": "m.room.history_visibility", "content": content}
        preset = PRESETS[number % 3]
        self._rooms.append(await person.create_room(preset=preset, initial_state=[visibility], name=f"Room {number}"))

    async def _act(self, kind: str, person: Person, room_id: RoomId, whom: int, number: int) -> Any:
        match kind:
            case "invite" | "kick" | "ban" | "unban":
                await getattr(person, kind)(room_id, self._people[whom].user_id)
            case "leave":
                await person.leave(room_id, reason=f"because {number}")
            case "join" | "forget":
                await getattr(person, kind)(room_id)
            case "say":
                self._said.append((room_id, await person.send_text(room_id, f"{number}")))
            case "rename":
                content = {"membership": "join", "displayname": f"{number}"}
                await person.set_state(room_id, "m.room.member", content, person.user_id)
            case "name":
                await person.set_state(room_id, "m.room.name", {"name": f"Name {number}"})
            case "visibility":
                content = {"history_visibility": VISIBILITIES[number % 4]}
                await person.set_state(room_id, "m.room.history_visibility", content)
            case "see name":
                return await person.state(room_id, "m.room.name")
            case "read":
                return [_shown(event) for event in (await person.messages(room_id, limit=1 + number % 8)).chunk]
            case "see members":
                return sorted(_shown(event) for event in await person.members(room_id))

        return None

    async def _sync(self, person: Person, *, afresh: bool) -> Any:
        who = self._people.index(person)
        answer = await person.sync(since=None if afresh else self._positions.get(who), sync_filter=SYNC_FILTER)
        self._positions[who] = answer["next_batch"]
        return {
            (kind, self._rooms.index(RoomId(found))): _news(news)
            for kind, rooms in answer.get("rooms", {}).items()
            for found, news in rooms.items()
        }


def _news(news: dict[str, Any]) -> dict[str, Any]:
    """Return what a sync says of a room; nothing is as good as left out."""
    told: dict[str, Any] = {}
    if timeline := news.get("timeline"):
        told["timeline"] = [_shown(event) for event in timeline["events"]]
        told["limited"] = timeline["limited"]
    for kind in ("state", "invite_state", "knock_state"):
        if events := news.get(kind, {}).get("events"):
            told[kind] = sorted(_shown(event) for event in events)
    if summary := news.get("summary"):
        told["summary"] = summary["m.joined_member_count"], summary["m.invited_member_count"]
    return {key: value for key, value in told.items() if value}


def _shown(event: dict[str, Any]) -> tuple[str, ...]:
    content = {key: value for key, value in event["content"].items() if key not in {"redacts", "additional_creators"}}
    before = event.get("unsigned", {}).get("prev_content")
    redacted = "redacted_because" in event.get("unsigned", {})
    said = orjson.dumps([content, before, redacted], option=orjson.OPT_SORT_KEYS).decode()
    return event["type"], event["sender"], event.get("state_key", "-"), said


async def people_of(server: EitherServer) -> list[Person]:
    return [await server.user(name) for name in PEOPLE]


@pytest.mark.parametrize("seed", range(6))
async def test_both_homeservers_tell_the_same_story(postgres: PostgresServer, tmp_path: Path, seed: int) -> None:
    url = await postgres.fresh()
    async with AsyncExitStack() as stack:
        in_memory = await stack.enter_async_context(server_in_memory())
        real = await stack.enter_async_context(real_server(url, tmp_path))
        one, other = Conversation(await people_of(in_memory)), Conversation(await people_of(real))
        for number, step in enumerate(conversation(seed)):
            assert await one.perform(step) == await other.perform(step), f"step {number}: {step}"
    await postgres.drop(url)
