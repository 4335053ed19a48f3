"""Those who run a server follow a policy list: whom it bans does not invite, and does not come in, there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conversations.network import Network
from tests.conversations.towns import Town, members, towns
from tests.postgres import PostgresServer
from tests.servers import CHEAP, PASSWORD, one_or_several, settings_for
from tricord.clients import Client, Refused
from tricord.protocol.identifiers import RoomId, ServerName

HERE = ServerName("north.test")


@dataclass
class Scene:
    """Alice of a server that follows a list, which she writes; and a town whose people come and go."""

    alice: Client
    policies: RoomId
    south: Town

    async def ban(self, kind: str, entity: str, *, recommendation: str = "m.ban") -> None:
        content = {"entity": entity, "recommendation": recommendation, "reason": "spam"}
        await self.alice.set_state(self.policies, f"m.policy.rule.{kind}", content, f"{kind} {entity}")

    async def pardon(self, kind: str, entity: str) -> None:
        await self.alice.set_state(self.policies, f"m.policy.rule.{kind}", {}, f"{kind} {entity}")


@pytest.fixture
async def scene(postgres: PostgresServer, database_url: str, tmp_path: Path) -> AsyncIterator[Scene]:
    network = Network()
    home = tmp_path / "home"
    home.mkdir()

    def settings(**changed: Any) -> Any:
        listeners = [{"bind": "127.0.0.1:0"}, {"bind": "127.0.0.1:0", "serves": ["federation"]}]
        return settings_for(database_url, home, server_name=HERE, listeners=listeners, **changed)

    async with AsyncExitStack() as stack:
        transport = network.transport_of(HERE)
        stack.push_async_callback(transport.aclose)
        # An operator makes the list first, and then writes its id into the settings.
        async with (
            one_or_several(settings(), password_cost=CHEAP, transport=transport) as server,
            Client(server.urls[0]) as client,
        ):
            session = await client.register("alice", PASSWORD)
            policies = await client.create_room(preset="public_chat")
        followed = settings(moderation={"policy_lists": [policies]})
        server = await stack.enter_async_context(one_or_several(followed, password_cost=CHEAP, transport=transport))
        network.urls[HERE] = server.urls[1]
        alice = await stack.enter_async_context(Client(server.urls[0], session=session))
        (south,) = await stack.enter_async_context(towns(postgres, tmp_path, network, south=["bob", "carol"]))
        yield Scene(alice, policies, south)


async def forbidden(act: Any) -> None:
    with pytest.raises(Refused) as refusal:
        await act
    assert (refusal.value.status, refusal.value.errcode) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize(("kind", "entity"), [("user", "@bob:*"), ("server", "south.test"), ("server", "*.TEST")])
async def test_who_is_banned_neither_invites_nor_comes_in(scene: Scene, kind: str, entity: str) -> None:
    alice, bob = scene.alice, scene.south["bob"]
    room_id = await alice.create_room(preset="public_chat")
    elsewhere = await bob.create_room()
    await scene.ban(kind, entity)
    await forbidden(bob.join(room_id, via=[HERE]))
    await forbidden(bob.invite(elsewhere, alice.user_id))
    await forbidden(alice.invite(room_id, bob.user_id))
    await forbidden(alice.create_room(invite=[bob.user_id]))
    assert "invite" not in (await alice.sync())["rooms"]
    await scene.pardon(kind, entity)
    await bob.join(room_id, via=[HERE])
    await bob.invite(elsewhere, alice.user_id)
    assert elsewhere in (await alice.sync())["rooms"]["invite"]


async def test_others_are_not_touched_and_recommendations_that_are_no_bans_neither(scene: Scene) -> None:
    alice, bob, carol = scene.alice, scene.south["bob"], scene.south["carol"]
    room_id = await alice.create_room(preset="public_chat")
    await scene.ban("user", bob.user_id)
    await carol.join(room_id, via=[HERE])
    await scene.ban("user", carol.user_id, recommendation="org.example.watch")
    await carol.leave(room_id)
    await carol.join(room_id)
    assert await members(alice, room_id) == {alice.user_id, carol.user_id}


async def test_rooms_that_are_banned_are_not_joined_from_here(scene: Scene) -> None:
    alice, bob = scene.alice, scene.south["bob"]
    room_id = await bob.create_room(preset="public_chat")
    await scene.ban("room", room_id)
    await forbidden(alice.join(room_id, via=[scene.south.name]))
    await forbidden(alice.knock(room_id, via=[scene.south.name]))
    await forbidden(bob.invite(room_id, alice.user_id))
    await scene.pardon("room", room_id)
    await alice.join(room_id, via=[scene.south.name])


async def test_the_lists_of_others_do_not_judge_users_of_this_server(scene: Scene) -> None:
    alice, bob = scene.alice, scene.south["bob"]
    await scene.ban("user", "@alice:*")
    room_id = await alice.create_room(preset="public_chat")
    await alice.invite(room_id, bob.user_id)
    await bob.join(room_id)
    assert await members(alice, room_id) == {alice.user_id, bob.user_id}


async def test_who_is_in_already_may_still_leave(scene: Scene) -> None:
    alice, bob = scene.alice, scene.south["bob"]
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id, via=[HERE])
    await scene.ban("server", scene.south.name)
    await bob.leave(room_id)
