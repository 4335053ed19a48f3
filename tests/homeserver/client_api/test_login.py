"""Signing in and out, as clients do it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.homeserver.accounts.conftest import SetClock
from tests.homeserver.client_api.account_server import PASSWORD, Server

LOGIN = "/_matrix/client/v3/login"
WHOAMI = "/_matrix/client/v3/account/whoami"


async def test_the_flows_are_listed(server: Server) -> None:
    flows = (await server.ask("GET", LOGIN)).json["flows"]
    assert flows == [{"type": "m.login.password"}, {"type": "m.login.token", "get_login_token": True}]


async def test_a_login_gives_a_session(server: Server) -> None:
    session = (await server.sign_up("alice", device_id="PHONE", initial_device_display_name="Phone")).json
    assert session.pop("access_token").startswith("trc_")
    assert session == {
        "user_id": "@alice:hs.test",
        "device_id": "PHONE",
        "home_server": "hs.test",
        "well_known": {"m.homeserver": {"base_url": "https://matrix.hs.test"}},
    }


@pytest.mark.parametrize(
    "who",
    [
        {"identifier": {"type": "m.id.user", "user": "@alice:hs.test"}},
        {"identifier": {"type": "m.id.user", "user": "alice"}},
        {"user": "alice"},
        {"user": "@alice:hs.test"},
    ],
)
async def test_old_and_new_forms_of_the_identifier_are_understood(server: Server, who: dict[str, Any]) -> None:
    await server.sign_up("alice")
    reply = await server.ask("POST", LOGIN, {"type": "m.login.password", "password": PASSWORD, **who})
    assert (reply.status, reply.json["user_id"]) == (200, "@alice:hs.test")


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({"type": "m.login.password", "user": "alice", "password": "wrong"}, 403, "M_FORBIDDEN"),
        ({"type": "m.login.password", "user": "nobody", "password": PASSWORD}, 403, "M_FORBIDDEN"),
        ({"type": "m.login.password", "medium": "email", "address": "a@b", "password": "x"}, 403, "M_FORBIDDEN"),
        ({"type": "m.login.password", "user": "alice"}, 400, "M_MISSING_PARAM"),
        ({"type": "m.login.password", "password": PASSWORD}, 400, "M_MISSING_PARAM"),
        ({"type": "m.login.password", "user": "alice", "password": "x" * (1 << 20)}, 400, "M_INVALID_PARAM"),
        ({"type": "m.login.password", "user": "alice", "password": 1}, 400, "M_BAD_JSON"),
        ({"type": "m.login.token", "token": "trl_guess"}, 403, "M_FORBIDDEN"),
        ({"type": "org.example.other"}, 400, "M_UNKNOWN"),
        ({}, 400, "M_MISSING_PARAM"),
        (b"[]", 400, "M_BAD_JSON"),
        (b'{"type":', 400, "M_NOT_JSON"),
    ],
)
async def test_a_login_that_cannot_be_is_refused(server: Server, body: Any, status: int, errcode: str) -> None:
    await server.administration.create_user("alice", PASSWORD)
    reply = await server.ask("POST", LOGIN, body)
    assert (reply.status, reply.json["errcode"]) == (status, errcode)


async def test_a_guesser_is_told_to_wait_and_the_owner_gets_in_from_elsewhere(server: Server) -> None:
    await server.administration.create_user("alice", PASSWORD)
    replies = [await server.log_in("alice", "wrong") for _ in range(50)]
    assert {reply.status for reply in replies} == {403, 429}
    last = replies[-1]
    assert last.json["errcode"] == "M_LIMIT_EXCEEDED"
    assert last.json["retry_after_ms"] > 0
    assert int(last.headers["retry-after"]) > 0
    assert (await server.log_in("alice", address="198.51.100.1")).status == 200


async def test_without_a_token_or_with_a_stale_one_nobody_is_known(server: Server) -> None:
    token = (await server.sign_up("alice")).json["access_token"]
    assert (await server.ask("GET", WHOAMI, token=token)).json["user_id"] == "@alice:hs.test"
    assert (await server.ask("POST", "/_matrix/client/v3/logout", {}, token=token)).json == {}
    for used, errcode in ((None, "M_MISSING_TOKEN"), ("nonsense", "M_UNKNOWN_TOKEN"), (token, "M_UNKNOWN_TOKEN")):
        reply = await server.ask("GET", WHOAMI, token=used)
        assert (reply.status, reply.json["errcode"]) == (401, errcode)
        assert "soft_logout" not in reply.json


async def test_signing_out_everywhere_ends_all_tokens(server: Server) -> None:
    first = (await server.sign_up("alice")).json["access_token"]
    second = (await server.log_in("alice")).json["access_token"]
    await server.ask("POST", "/_matrix/client/v3/logout/all", {}, token=first)
    for token in (first, second):
        assert (await server.ask("GET", WHOAMI, token=token)).status == 401


async def test_a_client_that_can_refresh_gets_tokens_that_expire(server: Server, server_clock: SetClock) -> None:
    session = (await server.sign_up("alice", refresh_token=True)).json
    assert session["expires_in_ms"] == 3_600_000
    server_clock.advance(3600)
    expired = await server.ask("GET", WHOAMI, token=session["access_token"])
    assert (expired.status, expired.json["errcode"], expired.json["soft_logout"]) == (401, "M_UNKNOWN_TOKEN", True)
    body = {"refresh_token": session["refresh_token"]}
    fresh = (await server.ask("POST", "/_matrix/client/v3/refresh", body)).json
    assert (await server.ask("GET", WHOAMI, token=fresh["access_token"])).status == 200
    used_up = await server.ask("POST", "/_matrix/client/v3/refresh", body)
    assert (used_up.status, used_up.json["errcode"]) == (401, "M_UNKNOWN_TOKEN")


async def test_a_signed_in_client_lets_another_one_in(server: Server) -> None:
    token = (await server.sign_up("alice")).json["access_token"]
    path = "/_matrix/client/v1/login/get_token"
    challenge = await server.ask("POST", path, {}, token=token)
    assert challenge.status == 401
    auth = {"type": "m.login.password", "user": "alice", "password": PASSWORD, "session": challenge.json["session"]}
    made = (await server.ask("POST", path, {"auth": auth}, token=token)).json
    assert made["expires_in_ms"] == 120_000
    body = {"type": "m.login.token", "token": made["login_token"]}
    assert (await server.ask("POST", LOGIN, body)).json["user_id"] == "@alice:hs.test"
    assert (await server.ask("POST", LOGIN, body)).status == 403


async def test_a_deactivated_user_is_refused_everywhere(server: Server) -> None:
    session = (await server.sign_up("alice", refresh_token=True)).json
    await server.administration.deactivate("alice")
    assert (await server.ask("GET", WHOAMI, token=session["access_token"])).json["errcode"] == "M_UNKNOWN_TOKEN"
    refused = await server.log_in("alice")
    assert (refused.status, refused.json["errcode"]) == (403, "M_USER_DEACTIVATED")
    body = {"refresh_token": session["refresh_token"]}
    assert (await server.ask("POST", "/_matrix/client/v3/refresh", body)).status == 401


async def test_a_locked_user_can_do_nothing_but_sign_out(server: Server) -> None:
    token = (await server.sign_up("alice")).json["access_token"]
    assert (await server.ask("GET", WHOAMI, token=token)).status == 200
    await server.administration.set_locked("alice", locked=True)
    locked = await server.ask("GET", WHOAMI, token=token)
    assert (locked.status, locked.json["errcode"], locked.json["soft_logout"]) == (401, "M_USER_LOCKED", True)
    assert (await server.log_in("alice")).json["errcode"] == "M_USER_LOCKED"
    assert (await server.ask("POST", "/_matrix/client/v3/logout", {}, token=token)).status == 200
    assert (await server.ask("GET", WHOAMI, token=token)).json["errcode"] == "M_UNKNOWN_TOKEN"


async def test_an_unlocked_user_goes_on_where_they_were(server: Server) -> None:
    token = (await server.sign_up("alice")).json["access_token"]
    await server.administration.set_locked("alice", locked=True)
    assert (await server.ask("GET", WHOAMI, token=token)).status == 401
    await server.administration.set_locked("alice", locked=False)
    assert (await server.ask("GET", WHOAMI, token=token)).status == 200
