"""Those who run the server tell its users something."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.homeserver.cli.commands import Outcome, tricord
from tricord.clients import Client, Refused
from tricord.homeserver.app import Homeserver
from tricord.homeserver.moderation import server_notices
from tricord.homeserver.moderation.server_notices import NoticeQueue, ServerNotices
from tricord.homeserver.storage.database import Transaction, open_database
from tricord.homeserver.storage.server_notices import notice_room_of
from tricord.protocol.identifiers import RoomId, UserId

_PATIENCE_SECONDS = 60
SENDER = "@notices:hs.test"


@pytest.fixture
def changed_settings() -> dict[str, Any]:
    return {"server_notices": {"localpart": "notices", "room_name": "From your server"}}


@pytest.fixture
async def queue(database_url: str, homeserver: Homeserver) -> AsyncIterator[NoticeQueue]:
    async with open_database(database_url, connections=2) as database:
        yield NoticeQueue(database, homeserver.settings.server_notices)


async def invited(client: Client) -> RoomId:
    """Follow a client's sync until it is invited somewhere."""
    since = None
    with trio.fail_after(_PATIENCE_SECONDS):
        while True:
            answer = await client.sync(since=since, timeout_seconds=5)
            since = answer["next_batch"]
            for room_id in answer.get("rooms", {}).get("invite", {}):
                return RoomId(room_id)


async def noticed(client: Client, room_id: RoomId, number: int) -> list[dict[str, Any]]:
    """Read a room until there are so many notices in it, oldest first."""
    with trio.fail_after(_PATIENCE_SECONDS):
        while True:
            events = (await client.messages(room_id, limit=50)).chunk
            found = [event for event in reversed(events) if event["type"] == "m.room.message"]
            if len(found) >= number:
                return found
            await trio.sleep(0.05)


async def test_a_notice_comes_by_an_invitation_that_cannot_be_declined(alice: Client, queue: NoticeQueue) -> None:
    await queue.put("We move tonight", alice.user_id)
    room_id = await invited(alice)
    for decline in (
        alice.leave(room_id),
        alice.set_state(room_id, "m.room.member", {"membership": "leave"}, alice.user_id),
    ):
        with pytest.raises(Refused) as refusal:
            await decline
        assert (refusal.value.status, refusal.value.errcode) == (403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM")
    await alice.join(room_id)
    assert await alice.state(room_id, "m.room.name") == {"name": "From your server"}
    (notice,) = await noticed(alice, room_id, 1)
    assert notice["sender"] == SENDER
    assert (notice["content"]["msgtype"], notice["content"]["body"]) == ("m.server_notice", "We move tonight")
    with pytest.raises(Refused):
        await alice.send_text(room_id, "Why?")
    assert "m.server_notice" in await alice.tags(room_id)


async def test_each_user_has_one_room_and_comes_back_to_it(alice: Client, queue: NoticeQueue) -> None:
    await queue.put("first", alice.user_id)
    room_id = await invited(alice)
    await alice.join(room_id)
    await queue.put("second", alice.user_id)
    assert [one["content"]["body"] for one in await noticed(alice, room_id, 2)] == ["first", "second"]
    await alice.leave(room_id)
    await queue.put("third", alice.user_id)
    assert await invited(alice) == room_id


async def test_two_who_send_to_one_user_at_the_same_time_send_into_one_room(
    alice: Client, queue: NoticeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue.put("first", alice.user_id)
    room_id = await invited(alice)
    await alice.join(room_id)
    await noticed(alice, room_id, 1)
    asked: list[UserId] = []

    async def before_the_other(tx: Transaction, user_id: UserId) -> RoomId | None:
        asked.append(user_id)
        return None if len(asked) == 1 else await notice_room_of(tx, user_id)

    monkeypatch.setattr(server_notices, "notice_room_of", before_the_other)
    await queue.put("second", alice.user_id)
    assert [one["content"]["body"] for one in await noticed(alice, room_id, 2)] == ["first", "second"]
    assert "invite" not in (await alice.sync()).get("rooms", {})


async def test_what_fails_for_one_does_not_keep_it_from_others(
    alice: Client, bob: Client, queue: NoticeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_of = ServerNotices._room_of

    async def fails_for_alice(notices: ServerNotices, sender: UserId, user_id: UserId) -> RoomId:
        if user_id == alice.user_id:
            raise RuntimeError("something is wrong with her room")
        return await room_of(notices, sender, user_id)

    monkeypatch.setattr(ServerNotices, "_room_of", fails_for_alice)
    await queue.put("to all", None)
    await invited(bob)
    assert "invite" not in (await alice.sync()).get("rooms", {})


async def test_everybody_is_told_once(database_url: str, alice: Client, bob: Client, queue: NoticeQueue) -> None:
    await queue.put("to all", None)
    rooms = [await invited(alice), await invited(bob)]
    assert rooms[0] != rooms[1]
    for person, room_id in zip((alice, bob), rooms, strict=True):
        await person.join(room_id)
        assert len(await noticed(person, room_id, 1)) == 1


async def test_nobody_signs_in_as_the_server(homeserver: Homeserver, alice: Client) -> None:
    async with Client(homeserver.urls[0]) as client:
        with pytest.raises(Refused):
            await client.login("notices", "")
        with pytest.raises(Refused):
            await client.register("notices", "correct horse battery staple")


async def test_the_operator_sends_them_on_the_command_line(
    database_url: str, tmp_path: Path, alice: Client, bob: Client
) -> None:
    settings = f'server_name = "hs.test"\n[database]\nurl = "{database_url}"\n'
    (tmp_path / "silent.toml").write_text(settings)
    (tmp_path / "tricord.toml").write_text(settings + '[server_notices]\nlocalpart = "notices"\n')

    async def send(*words: str, config: str = "tricord.toml") -> Outcome:
        return await trio.to_thread.run_sync(lambda: tricord(tmp_path, "notice", "send", *words, "--config", config))

    (await send("Hello", "--to", "alice")).good()
    room_id = await invited(alice)
    await alice.join(room_id)
    await noticed(alice, room_id, 1)
    assert "say to whom" in (await send("Hello")).fault()
    assert "there is no user nobody" in (await send("Hello", "--to", "nobody")).fault()
    assert "server_notices.localpart" in (await send("Hello", "--everybody", config="silent.toml")).fault()
    assert "invite" not in (await bob.sync()).get("rooms", {})
