"""A database without room for more refuses in words, and whoever tries again later loses nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.conversations.scene import Scene

# As PostgreSQL says it: https://www.postgresql.org/docs/current/errcodes-appendix.html
FILL = """
CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
END $$;
CREATE TRIGGER no_space BEFORE INSERT ON events EXECUTE FUNCTION no_space();
"""


@asynccontextmanager
async def full_disk(scene: Scene) -> AsyncIterator[None]:
    """Have no event fit into the database meanwhile."""
    await scene.database.run(lambda tx: tx.execute(FILL))
    try:
        yield
    finally:
        await scene.database.run(lambda tx: tx.execute("DROP FUNCTION no_space CASCADE"))


async def test_a_client_is_told_to_try_again_and_sends_its_message_once(scene: Scene) -> None:
    alice, room_id = scene.alice, scene.room.room_id
    path = f"{scene.town.homeserver.urls[0]}/_matrix/client/v3/rooms/{room_id}/send/m.room.message/once"
    headers = {"Authorization": f"Bearer {alice.access_token}"}
    message = {"msgtype": "m.text", "body": "is there room?"}
    async with httpx.AsyncClient(headers=headers) as http:
        async with full_disk(scene):
            refused = await http.put(path, json=message)
            assert refused.status_code == 503
            assert refused.headers["retry-after"]
            assert refused.json() == {
                "errcode": "M_UNKNOWN",
                "error": "the server cannot use its database now, try again later",
            }
            assert (await alice.messages(room_id)).chunk
        sent = [(await http.put(path, json=message)).json()["event_id"] for _ in range(2)]
    assert sent[0] == sent[1]
    assert await scene.is_shown(sent[0])


async def test_what_another_server_sends_is_not_said_to_be_received(scene: Scene) -> None:
    said = scene.evil.says(scene.room, scene.mallory, "is there room?")
    async with full_disk(scene):
        assert (await scene.evil.send(scene.hs, [said], transaction_id="again")).status_code == 503
    answer = await scene.evil.send(scene.hs, [said], transaction_id="again")
    assert answer.json() == {"pdus": {said.event_id: {}}}
    scene.room.take_in(said)
    assert await scene.is_shown(said.event_id)
