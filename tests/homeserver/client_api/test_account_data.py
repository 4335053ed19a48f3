"""Account data, tags and filters are kept for their owner alone."""

from __future__ import annotations

import pytest
import trio

from tests.homeserver.client_api.account_server import ROOM, Server
from tricord.homeserver.storage.account_data import account_data_changes
from tricord.homeserver.storage.database import Database
from tricord.protocol.identifiers import UserId

USER = "/_matrix/client/v3/user/@alice:hs.test"
IN_ROOM = f"{USER}/rooms/{ROOM}"
ALICE = UserId("@alice:hs.test")


@pytest.fixture
async def token(server: Server) -> str:
    token = (await server.sign_up("alice")).json["access_token"]
    assert isinstance(token, str)
    return token


@pytest.mark.parametrize("base", [USER, IN_ROOM])
async def test_what_was_written_is_read(server: Server, token: str, base: str) -> None:
    path = f"{base}/account_data/org.example.settings"
    assert (await server.ask("GET", path, token=token)).status == 404
    for content in ({"a": 1.5, "nul": "\0"}, {"b": [None]}):
        assert (await server.ask("PUT", path, content, token=token)).json == {}
        assert (await server.ask("GET", path, token=token)).json == content


async def test_every_write_takes_a_later_position(server: Server, token: str, database: Database) -> None:
    for kind in ("org.example.a", "org.example.b", "org.example.a"):
        await server.ask("PUT", f"{USER}/account_data/{kind}", {}, token=token)
    changes = await database.read(account_data_changes, ALICE, after=0, upto=100)
    assert [(change.type, change.position) for change in changes] == [("org.example.b", 2), ("org.example.a", 3)]
    assert not await database.read(account_data_changes, ALICE, after=3, upto=100)


@pytest.mark.parametrize("kind", ["m.fully_read", "m.push_rules"])
@pytest.mark.parametrize("base", [USER, IN_ROOM])
async def test_what_the_server_manages_is_not_written_by_clients(
    server: Server, token: str, base: str, kind: str
) -> None:
    reply = await server.ask("PUT", f"{base}/account_data/{kind}", {}, token=token)
    assert (reply.status, reply.json["errcode"]) == (405, "M_BAD_JSON")


async def test_push_rules_are_read_as_account_data(server: Server, token: str) -> None:
    assert (await server.ask("GET", f"{USER}/account_data/m.push_rules", token=token)).json == {"global": {}}


@pytest.mark.parametrize("what", ["account_data/org.example.a", "tags/u.work"])
async def test_nothing_is_kept_about_rooms_of_others(server: Server, token: str, what: str, database: Database) -> None:
    reply = await server.ask("PUT", f"{USER}/rooms/!other:hs.test/{what}", {}, token=token)
    assert (reply.status, reply.json["errcode"]) == (403, "M_FORBIDDEN")
    assert not await database.read(account_data_changes, ALICE, after=0, upto=100)


async def test_a_room_id_that_is_none_is_refused(server: Server, token: str) -> None:
    reply = await server.ask("PUT", f"{USER}/rooms/nonsense/account_data/a", {}, token=token)
    assert (reply.status, reply.json["errcode"]) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("what", ["account_data/a", f"rooms/{ROOM}/account_data/a", f"rooms/{ROOM}/tags/a", "filter/0"])
async def test_nobody_sees_or_writes_what_is_anothers(server: Server, token: str, method: str, what: str) -> None:
    bob = (await server.sign_up("bob")).json["access_token"]
    reply = await server.ask(method, f"{USER}/{what}", {}, token=bob)
    assert reply.status in (403, 405)


async def test_rooms_are_tagged(server: Server, token: str) -> None:
    await server.ask("PUT", f"{IN_ROOM}/tags/m.favourite", {"order": 0.5}, token=token)
    await server.ask("PUT", f"{IN_ROOM}/tags/u.work", {}, token=token)
    tags = {"m.favourite": {"order": 0.5}, "u.work": {}}
    assert (await server.ask("GET", f"{IN_ROOM}/tags", token=token)).json == {"tags": tags}
    assert (await server.ask("GET", f"{IN_ROOM}/account_data/m.tag", token=token)).json == {"tags": tags}
    for _ in range(2):
        assert (await server.ask("DELETE", f"{IN_ROOM}/tags/u.work", token=token)).json == {}
    assert (await server.ask("GET", f"{IN_ROOM}/tags", token=token)).json == {"tags": {"m.favourite": {"order": 0.5}}}


async def test_tags_set_at_the_same_time_are_all_kept(server: Server, token: str) -> None:
    async def tag(name: str) -> None:
        await server.ask("PUT", f"{IN_ROOM}/tags/{name}", {}, token=token)

    async with trio.open_nursery() as nursery:
        for n in range(10):
            nursery.start_soon(tag, f"u.{n}")
    assert len((await server.ask("GET", f"{IN_ROOM}/tags", token=token)).json["tags"]) == 10


@pytest.mark.parametrize(("tag", "body"), [("x" * 256, {}), ("u.a", {"order": "first"}), ("u.a", {"order": True})])
async def test_a_tag_that_cannot_be_is_refused(server: Server, token: str, tag: str, body: dict[str, object]) -> None:
    reply = await server.ask("PUT", f"{IN_ROOM}/tags/{tag}", body, token=token)
    assert (reply.status, reply.json["errcode"]) == (400, "M_INVALID_PARAM")


async def test_a_filter_is_kept_once(server: Server, token: str) -> None:
    definition = {"room": {"timeline": {"limit": 10}}, "event_fields": ["type"]}
    ids = {(await server.ask("POST", f"{USER}/filter", definition, token=token)).json["filter_id"] for _ in range(3)}
    other = (await server.ask("POST", f"{USER}/filter", {}, token=token)).json["filter_id"]
    assert len(ids) == 1
    assert other not in ids
    assert (await server.ask("GET", f"{USER}/filter/{ids.pop()}", token=token)).json == definition


@pytest.mark.parametrize("filter_id", ["99", "-1", "x", "²", "9" * 30, "{}"])
async def test_an_unknown_filter_is_not_found(server: Server, token: str, filter_id: str) -> None:
    reply = await server.ask("GET", f"{USER}/filter/{filter_id}", token=token)
    assert (reply.status, reply.json["errcode"]) == (404, "M_NOT_FOUND")


async def test_what_is_no_filter_is_refused(server: Server, token: str) -> None:
    reply = await server.ask("POST", f"{USER}/filter", {"room": {"timeline": {"limit": "many"}}}, token=token)
    assert reply.status == 400
