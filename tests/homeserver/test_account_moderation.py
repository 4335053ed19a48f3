"""Administrators lock and suspend accounts, and what is left to those concerned."""

from __future__ import annotations

import base64
import hmac
from pathlib import Path
from typing import Any

import pytest

from tests.servers import PASSWORD, running_homeserver, signed_in
from tricord.clients import Client, Refused
from tricord.protocol.identifiers import UserId


async def refusal(awaitable: Any) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        await awaitable
    return refused.value.status, refused.value.errcode


async def test_a_locked_user_comes_back_to_their_session(database_url: str, tmp_path: Path) -> None:
    async with running_homeserver(database_url, tmp_path) as homeserver, Client(homeserver.urls[0]) as root:
        await homeserver.administration.create_user("root", PASSWORD, is_admin=True)
        await root.login("root", PASSWORD)
        async with signed_in(homeserver, "alice") as alice:
            await alice.whoami()
            assert not await root.is_locked(alice.user_id)
            await root.set_locked(alice.user_id)
            assert await root.is_locked(alice.user_id)
            with pytest.raises(Refused) as refused:
                await alice.joined_rooms()
            assert (refused.value.status, refused.value.errcode) == (401, "M_USER_LOCKED")
            assert refused.value.body["soft_logout"] is True
            async with Client(homeserver.urls[0]) as phone:
                assert await refusal(phone.login("alice", PASSWORD)) == (401, "M_USER_LOCKED")
            await root.set_locked(alice.user_id, locked=False)
            assert await alice.joined_rooms() == []


async def test_a_suspended_user_reads_and_goes(database_url: str, tmp_path: Path) -> None:
    async with running_homeserver(database_url, tmp_path) as homeserver, Client(homeserver.urls[0]) as root:
        await homeserver.administration.create_user("root", PASSWORD, is_admin=True)
        await root.login("root", PASSWORD)
        async with signed_in(homeserver, "alice") as alice, signed_in(homeserver, "bob") as bob:
            room = await bob.create_room(preset="public_chat", invite=[alice.user_id])
            other = await bob.create_room(preset="public_chat")
            await bob.set_state(room, "m.room.power_levels", {"users": {alice.user_id: 50}})
            await alice.join(room)
            said = await alice.send_text(room, "rude")
            by_bob = await bob.send_text(room, "polite")
            await root.set_suspended(alice.user_id)
            assert await root.is_suspended(alice.user_id)

            suspended = (403, "M_USER_SUSPENDED")
            assert await refusal(alice.send_text(room, "more")) == suspended
            assert await refusal(alice.set_state(room, "m.room.topic", {"topic": "rude"})) == suspended
            assert await refusal(alice.join(other)) == suspended
            assert await refusal(alice.knock(other)) == suspended
            assert await refusal(alice.create_room()) == suspended
            assert await refusal(alice.invite(room, UserId("@carol:localhost"))) == suspended
            assert await refusal(alice.kick(room, bob.user_id)) == suspended
            assert await refusal(alice.set_profile("displayname", "Rude")) == suspended
            assert await refusal(alice.redact(room, by_bob)) == suspended
            member = {"membership": "join", "displayname": "Rude"}
            assert await refusal(alice.set_state(room, "m.room.member", member, alice.user_id)) == suspended

            assert (await alice.messages(room, limit=1)).chunk[0]["event_id"] == by_bob
            await alice.redact(room, said)
            async with Client(homeserver.urls[0]) as phone:
                await phone.login("alice", PASSWORD)
                assert await refusal(phone.send_text(room, "from elsewhere")) == suspended
            await alice.leave(room)
            await root.set_suspended(alice.user_id, suspended=False)
            await alice.join(other)


async def test_accounts_are_moderated_by_administrators_only(database_url: str, tmp_path: Path) -> None:
    async with running_homeserver(database_url, tmp_path) as homeserver, Client(homeserver.urls[0]) as root:
        await homeserver.administration.create_user("root", PASSWORD, is_admin=True)
        await homeserver.administration.create_user("other", PASSWORD, is_admin=True)
        await root.login("root", PASSWORD)
        async with signed_in(homeserver, "alice") as alice:
            nobody = UserId(str(alice.user_id).replace("alice", "nobody"))
            for user_id in (alice.user_id, nobody):
                for call in (alice.set_locked, alice.set_suspended, alice.is_locked, alice.is_suspended):
                    assert await refusal(call(user_id)) == (403, "M_FORBIDDEN")
            assert await refusal(alice.who_is(nobody)) == (403, "M_FORBIDDEN")
            assert list((await alice.who_is(alice.user_id)).devices) == [alice.device_id]
            assert "m.account_moderation" not in await alice.capabilities()
            assert (await root.capabilities())["m.account_moderation"] == {"suspend": True, "lock": True}
            for call in (root.set_locked, root.set_suspended, root.is_locked, root.is_suspended):
                assert await refusal(call(root.user_id)) == (403, "M_FORBIDDEN")
                assert await refusal(call(UserId(str(root.user_id).replace("root", "other")))) == (403, "M_FORBIDDEN")
                assert await refusal(call(nobody)) == (404, "M_NOT_FOUND")
                assert await refusal(call(UserId("@alice:elsewhere.test"))) == (400, "M_INVALID_PARAM")
            told = await root.who_is(alice.user_id)
            assert list(told.devices) == [alice.device_id]


async def test_relays_for_calls_know_the_credentials(database_url: str, tmp_path: Path) -> None:
    uris = ["turn:turn.hs.test?transport=udp", "turns:turn.hs.test"]
    turn = {"uris": uris, "shared_secret": "of coturn", "lifetime": 600}
    async with running_homeserver(database_url, tmp_path, turn=turn) as homeserver:
        async with signed_in(homeserver, "alice") as alice:
            server = await alice.turn_server()
        assert (server.uris, server.ttl) == (uris, 600)
        assert server.username is not None
        expires, _, user_id = server.username.partition(":")
        assert user_id == alice.user_id
        assert int(expires) > 1_000_000_000
        digest = hmac.digest(b"of coturn", server.username.encode(), "sha1")
        assert server.password == base64.b64encode(digest).decode()


async def test_without_relays_there_are_no_credentials(database_url: str, tmp_path: Path) -> None:
    async with running_homeserver(database_url, tmp_path) as homeserver, signed_in(homeserver, "alice") as alice:
        assert (await alice.turn_server()).uris == []
