"""Profiles: who may write what, and how much of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.homeserver.client_api.account_server import Server

PROFILE = "/_matrix/client/v3/profile/@alice:hs.test"


@pytest.fixture
async def token(server: Server) -> str:
    token = (await server.sign_up("alice")).json["access_token"]
    assert isinstance(token, str)
    return token


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("displayname", "Alice 🦊"),
        ("avatar_url", "mxc://hs.test/abc-DEF_123"),
        ("m.tz", "Europe/Madrid"),
        ("org.example.pronouns", [{"language": "en", "summary": "she/her"}]),
        ("org.example.nothing", None),
        ("org.example.half", 0.5),
    ],
)
async def test_a_field_is_written_read_and_deleted(server: Server, token: str, name: str, value: Any) -> None:
    path = f"{PROFILE}/{name}"
    assert (await server.ask("PUT", path, {name: value}, token=token)).json == {}
    assert (await server.ask("GET", path)).json == {name: value}
    assert (await server.ask("GET", PROFILE)).json == {name: value}
    assert (await server.ask("DELETE", path, {}, token=token)).json == {}
    assert (await server.ask("DELETE", path, token=token)).json == {}
    assert (await server.ask("GET", path)).status == 404
    assert (await server.ask("GET", PROFILE)).json == {}


async def test_clients_of_before_find_the_fields_where_they_were(server: Server, token: str) -> None:
    before = PROFILE.replace("/v3/", "/unstable/uk.tcpip.msc4133/")
    assert (await server.ask("PUT", f"{before}/m.tz", {"m.tz": "Europe/Madrid"}, token=token)).json == {}
    assert (await server.ask("GET", PROFILE)).json == {"m.tz": "Europe/Madrid"}
    assert (await server.ask("GET", before)).json == {"m.tz": "Europe/Madrid"}
    assert (await server.ask("GET", f"{before}/m.tz")).json == {"m.tz": "Europe/Madrid"}
    assert (await server.ask("DELETE", f"{before}/m.tz", {}, token=token)).json == {}
    assert (await server.ask("GET", PROFILE)).json == {}


@pytest.mark.parametrize(
    ("name", "body", "errcode"),
    [
        ("displayname", {"displayname": "x" * (1 << 20)}, "M_INVALID_PARAM"),
        ("displayname", {"displayname": None}, "M_INVALID_PARAM"),
        ("displayname", {"displayname": 1}, "M_INVALID_PARAM"),
        ("displayname", {"avatar_url": "mxc://hs.test/a"}, "M_MISSING_PARAM"),
        ("avatar_url", {"avatar_url": "javascript:alert(1)"}, "M_INVALID_PARAM"),
        ("avatar_url", {"avatar_url": "mxc://hs.test/a/../b"}, "M_INVALID_PARAM"),
        ("m.tz", {"m.tz": "Europe/Madrid\n"}, "M_INVALID_PARAM"),
        ("Upper.case", {"Upper.case": 1}, "M_INVALID_PARAM"),
        ("x" * 256, {"x" * 256: 1}, "M_KEY_TOO_LARGE"),
        ("org.example.big", {"org.example.big": {str(n): n for n in range(10_000)}}, "M_PROFILE_TOO_LARGE"),
    ],
)
async def test_what_a_profile_cannot_hold_is_refused(
    server: Server, token: str, name: str, body: dict[str, Any], errcode: str
) -> None:
    reply = await server.ask("PUT", f"{PROFILE}/{name}", body, token=token)
    assert (reply.status, reply.json["errcode"]) == (400, errcode)
    assert (await server.ask("GET", PROFILE)).json == {}


async def test_all_fields_together_have_64_kib(server: Server, token: str) -> None:
    replies = [
        await server.ask("PUT", f"{PROFILE}/org.example.{n}", {f"org.example.{n}": "x" * 16_000}, token=token)
        for n in "abcde"
    ]
    assert [reply.status for reply in replies] == [200, 200, 200, 200, 400]


async def test_an_empty_name_is_no_name(server: Server, token: str) -> None:
    for value in ("Alice", ""):
        await server.ask("PUT", f"{PROFILE}/displayname", {"displayname": value}, token=token)
    assert (await server.ask("GET", PROFILE)).json == {}


async def test_nobody_writes_the_profile_of_another(server: Server, token: str) -> None:
    bob = (await server.sign_up("bob")).json["access_token"]
    for method in ("PUT", "DELETE"):
        reply = await server.ask(method, f"{PROFILE}/displayname", {"displayname": "Bob was here"}, token=bob)
        assert (reply.status, reply.json["errcode"]) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("user_id", ["@nobody:hs.test", "@somebody:elsewhere.test"])
async def test_of_who_is_not_here_there_is_no_profile(server: Server, user_id: str) -> None:
    reply = await server.ask("GET", f"/_matrix/client/v3/profile/{user_id}")
    assert (reply.status, reply.json["errcode"]) == (404, "M_NOT_FOUND")
