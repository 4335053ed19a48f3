"""Making an account, as clients and scripts do it."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from pydantic import SecretStr

from tests.homeserver.client_api.account_server import TERMS_OF_SERVICE, Server
from tricord.homeserver.accounts.settings import RegistrationSettings

REGISTER = "/_matrix/client/v3/register"
SHARED = "/_synapse/admin/v1/register"
OPEN = RegistrationSettings(enabled=True, shared_secret=SecretStr("shared"))
WITH_TOKEN_AND_TERMS = RegistrationSettings(enabled=True, token_required=True, terms=(TERMS_OF_SERVICE,))
CLOSED = RegistrationSettings()


@pytest.fixture
def registration_settings(request: pytest.FixtureRequest) -> RegistrationSettings:
    settings = getattr(request, "param", OPEN)
    assert isinstance(settings, RegistrationSettings)
    return settings


async def test_one_registers_and_is_signed_in(server: Server) -> None:
    body = {"username": "alice", "password": "secret", "device_id": "PHONE"}
    challenge = await server.ask("POST", REGISTER, body)
    assert challenge.status == 401
    assert challenge.json["flows"] == [{"stages": ["m.login.dummy"]}]
    auth = {"type": "m.login.dummy", "session": challenge.json["session"]}
    account = (await server.ask("POST", REGISTER, {**body, "auth": auth})).json
    assert (account["user_id"], account["device_id"]) == ("@alice:hs.test", "PHONE")
    who = await server.ask("GET", "/_matrix/client/v3/account/whoami", token=account["access_token"])
    assert who.json == {"user_id": "@alice:hs.test", "device_id": "PHONE", "is_guest": False}
    assert (await server.log_in("alice", "secret")).status == 200


async def test_one_may_register_without_signing_in(server: Server) -> None:
    body = {"username": "alice", "password": "secret", "inhibit_login": True, "auth": {"type": "m.login.dummy"}}
    assert (await server.ask("POST", REGISTER, body)).json == {"user_id": "@alice:hs.test", "home_server": "hs.test"}


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"username": "taken", "password": "secret"}, "M_USER_IN_USE"),
        ({"username": "Taken", "password": "secret"}, "M_USER_IN_USE"),
        ({"username": "not this", "password": "secret"}, "M_INVALID_USERNAME"),
        ({"username": "alice", "password": "x" * 513}, "M_INVALID_PARAM"),
        ({"username": "alice", "password": "secret", "device_id": "a\0"}, "M_INVALID_PARAM"),
        ({"username": "alice", "auth": {"type": "m.login.dummy"}}, "M_MISSING_PARAM"),
    ],
)
async def test_what_cannot_be_registered_is_refused(server: Server, body: dict[str, Any], errcode: str) -> None:
    await server.administration.create_user("taken", "secret")
    if "device_id" in body:
        body = {**body, "auth": {"type": "m.login.dummy"}}
    reply = await server.ask("POST", REGISTER, body)
    assert (reply.status, reply.json["errcode"]) == (400, errcode)


async def test_a_deactivated_users_name_is_never_free_again(server: Server) -> None:
    await server.administration.create_user("alice", "secret")
    await server.administration.deactivate("alice")
    reply = await server.ask("GET", "/_matrix/client/v3/register/available?username=alice")
    assert (reply.status, reply.json["errcode"]) == (400, "M_USER_IN_USE")
    assert (await server.ask("GET", "/_matrix/client/v3/register/available?username=bob")).json == {"available": True}


async def test_guests_are_not_taken_in(server: Server) -> None:
    reply = await server.ask("POST", f"{REGISTER}?kind=guest", {})
    assert (reply.status, reply.json["errcode"]) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("registration_settings", [CLOSED], indirect=True)
async def test_nobody_registers_where_it_is_not_allowed(server: Server) -> None:
    body = {"username": "alice", "password": "secret", "auth": {"type": "m.login.dummy"}}
    for reply in (
        await server.ask("POST", REGISTER, body),
        await server.ask("GET", "/_matrix/client/v3/register/available?username=a"),
        await server.ask("GET", "/_matrix/client/v1/register/m.login.registration_token/validity?token=a"),
        await server.ask("GET", SHARED),
    ):
        assert (reply.status, reply.json["errcode"]) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("registration_settings", [WITH_TOKEN_AND_TERMS], indirect=True)
async def test_those_with_a_token_accept_the_terms_and_register(server: Server) -> None:
    await server.administration.create_registration_token("welcome", uses_allowed=1)
    validity = "/_matrix/client/v1/register/m.login.registration_token/validity?token="
    assert (await server.ask("GET", f"{validity}welcome")).json == {"valid": True}
    body = {"username": "alice", "password": "secret"}
    challenge = (await server.ask("POST", REGISTER, body)).json
    assert challenge["params"]["m.login.terms"]["policies"]["tos"]["version"] == "1"
    token = {"type": "m.login.registration_token", "token": "welcome", "session": challenge["session"]}
    assert (await server.ask("POST", REGISTER, {**body, "auth": token})).json["completed"] == [token["type"]]
    terms = {"type": "m.login.terms", "session": challenge["session"]}
    assert (await server.ask("POST", REGISTER, {**body, "auth": terms})).status == 200
    assert (await server.ask("GET", f"{validity}welcome")).json == {"valid": False}
    nul = await server.ask("GET", f"{validity}a%00b")
    assert (nul.status, nul.json["errcode"]) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize("registration_settings", [WITH_TOKEN_AND_TERMS], indirect=True)
async def test_the_stages_may_be_completed_on_a_page(server: Server) -> None:
    await server.administration.create_registration_token("welcome")
    body = {"username": "alice", "password": "secret"}
    session = (await server.ask("POST", REGISTER, body)).json["session"]
    page = "/_matrix/client/v3/auth/{}/fallback/web?session=" + session
    assert b'name="token"' in (await server.ask("GET", page.format("m.login.registration_token"))).body
    wrong = await server.ask("POST", page.format("m.login.registration_token"), b"token=%3Cscript%3E")
    assert (wrong.status, b"<script>" in wrong.body) == (403, False)
    done = await server.ask("POST", page.format("m.login.registration_token"), b"token=welcome")
    assert b"window.onAuthDone" in done.body
    assert b"&lt;Terms&gt;" in (await server.ask("GET", page.format("m.login.terms"))).body
    await server.ask("POST", page.format("m.login.terms"), b"")
    assert (await server.ask("POST", REGISTER, {**body, "auth": {"session": session}})).status == 200


async def test_nothing_foreign_runs_on_the_page(server: Server) -> None:
    path = '/_matrix/client/v3/auth/m.login.dummy/fallback/web?session="><script>alert(1)</script>'
    for method in ("GET", "POST"):
        reply = await server.ask(method, path, b"")
        assert b"alert" not in reply.body
        policy = reply.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy
    unknown = await server.ask("GET", "/_matrix/client/v3/auth/<script>/fallback/web?session=a")
    assert unknown.status == 404


def mac_of(*parts: str) -> str:
    return hmac.new(b"shared", "\0".join(parts).encode(), hashlib.sha1).hexdigest()


async def test_a_script_with_the_shared_secret_makes_an_administrator(server: Server) -> None:
    nonce = (await server.ask("GET", SHARED)).json["nonce"]
    body = {
        "nonce": nonce,
        "username": "root",
        "displayname": "Root",
        "password": "secret",
        "admin": True,
        "mac": mac_of(nonce, "root", "secret", "admin"),
    }
    account = (await server.ask("POST", SHARED, body)).json
    assert account["user_id"] == "@root:hs.test"
    assert account["access_token"]
    assert (await server.administration.user("root")).is_admin
    profile = await server.ask("GET", "/_matrix/client/v3/profile/@root:hs.test")
    assert profile.json == {"displayname": "Root"}
    assert (await server.ask("POST", SHARED, body)).json["errcode"] == "M_USER_IN_USE"


async def test_a_script_without_it_makes_nobody(server: Server) -> None:
    nonce = (await server.ask("GET", SHARED)).json["nonce"]
    body = {"nonce": nonce, "username": "root", "password": "secret", "admin": True, "mac": "0" * 40}
    reply = await server.ask("POST", SHARED, body)
    assert (reply.status, reply.json["errcode"]) == (403, "M_FORBIDDEN")
