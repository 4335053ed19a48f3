"""People knock on doors of their own town and of another, and are let in, turned away, or think better of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.conversations.network import Network
from tests.conversations.towns import Town, members, towns
from tests.postgres import PostgresServer
from tricord.clients import Client, Refused
from tricord.protocol.identifiers import RoomAlias, RoomId

_PATIENCE_SECONDS = 60


@pytest.fixture
async def both(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[list[Town]]:
    async with towns(postgres, tmp_path, Network(), north=["alice", "carol"], south=["bob"]) as found:
        yield found


async def door(client: Client, rule: str = "knock", **wanted: Any) -> RoomId:
    """Make a room to knock on."""
    content = {"join_rule": rule, "allow": []}
    state = [{"type": "m.room.join_rules", "state_key": "", "content": content}]
    return await client.create_room(preset="private_chat", name="Door", initial_state=state, **wanted)


async def becomes(ask: Callable[[], Awaitable[str | None]], wanted: str) -> None:
    """Ask again until it is so: what crosses between servers takes a moment."""
    with trio.fail_after(_PATIENCE_SECONDS):
        while await ask() != wanted:  # noqa: ASYNC110  # as a client looks again
            await trio.sleep(0.05)


async def membership(client: Client, room_id: RoomId, user_id: str) -> str | None:
    content = await client.state(room_id, "m.room.member", user_id)
    return None if content is None else content["membership"]


async def section(client: Client, room_id: RoomId, since: str | None = None) -> str | None:
    """Return in which section of a sync the room is."""
    rooms = (await client.sync(since=since)).get("rooms", {})
    return next((name for name in ("join", "invite", "knock", "leave") if room_id in rooms.get(name, {})), None)


async def test_who_knocks_is_let_in(both: list[Town]) -> None:
    north, south = both
    alice = north["alice"]
    for knocker in (north["carol"], south["bob"]):
        room_id = await door(alice, alias=f"door-{knocker.user_id[1]}")
        alias = RoomAlias(f"#door-{knocker.user_id[1]}:{north.name}")
        assert await knocker.knock(alias, reason="May I?") == room_id
        assert await section(knocker, room_id) == "knock"
        content = await alice.state(room_id, "m.room.member", knocker.user_id)
        assert content is not None
        assert (content["membership"], content["reason"]) == ("knock", "May I?")
        with pytest.raises(Refused):
            await knocker.join(room_id)
        await alice.invite(room_id, knocker.user_id)
        await becomes(partial(section, knocker, room_id), "invite")
        await knocker.join(room_id)
        assert await members(alice, room_id) == {alice.user_id, knocker.user_id}


async def test_who_knocks_is_turned_away_and_may_knock_again_unless_banned(both: list[Town]) -> None:
    north, south = both
    alice = north["alice"]
    for knocker in (north["carol"], south["bob"]):
        room_id = await door(alice)
        await knocker.knock(room_id, via=[north.name])
        before = (await knocker.sync())["next_batch"]
        await alice.kick(room_id, knocker.user_id, reason="Not today")
        await becomes(partial(section, knocker, room_id, before), "leave")
        await knocker.knock(room_id, via=[north.name])
        await alice.ban(room_id, knocker.user_id)
        with pytest.raises(Refused) as refusal:
            await knocker.knock(room_id, via=[north.name])
        assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")


async def test_who_knocks_thinks_better_of_it(both: list[Town]) -> None:
    north, south = both
    alice = north["alice"]
    for knocker in (north["carol"], south["bob"]):
        room_id = await door(alice, "knock_restricted")
        await knocker.knock(room_id, via=[north.name])
        before = (await knocker.sync())["next_batch"]
        await knocker.leave(room_id)
        assert await section(knocker, room_id, before) == "leave"
        await becomes(partial(membership, alice, room_id, knocker.user_id), "leave")


@pytest.mark.parametrize(
    ("rule", "version"), [("invite", "12"), ("public", "12"), ("knock", "6"), ("restricted", "10")]
)
async def test_other_rooms_have_no_door_to_knock_on(both: list[Town], rule: str, version: str) -> None:
    north, south = both
    room_id = await door(north["alice"], rule, room_version=version)
    for knocker in (north["carol"], south["bob"]):
        with pytest.raises(Refused) as refusal:
            await knocker.knock(room_id, via=[north.name])
        assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")


async def test_where_there_is_no_room_nobody_knocks(both: list[Town]) -> None:
    north, south = both
    for named in ("!none:north.test", "#none:north.test"):
        for knocker in (north["carol"], south["bob"]):
            with pytest.raises(Refused) as refusal:
                await knocker.knock(RoomId(named), via=[north.name])
            assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")


async def test_who_is_in_or_invited_need_not_knock(both: list[Town]) -> None:
    north, _ = both
    alice, carol = north["alice"], north["carol"]
    room_id = await door(alice)
    with pytest.raises(Refused) as refusal:
        await alice.knock(room_id)
    assert refusal.value.errcode == "M_FORBIDDEN"
    await alice.invite(room_id, carol.user_id)
    with pytest.raises(Refused) as refusal:
        await carol.knock(room_id)
    assert refusal.value.errcode == "M_FORBIDDEN"
