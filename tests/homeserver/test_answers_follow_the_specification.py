"""Every endpoint, called over HTTP, answers as the specification describes it."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

import tricord.clients.api
from tests.homeserver.answers import ANSWERS, faults, key_of
from tests.servers import PASSWORD, running_homeserver
from tricord.clients.endpoint import Endpoint
from tricord.protocol.media import parse_mxc

WHO = {"type": "m.id.user", "user": "alice"}
PROOF = {"type": "m.login.password", "identifier": WHO, "password": PASSWORD}
RULE = "/_matrix/client/v3/pushrules/global/{kind}/{rule_id}"

# Method, path as the endpoint's description has it, body or query; in an order in which each finds what it needs.
BACKUP = "m.megolm_backup.v1.curve25519-aes-sha2"
SESSION_KEY = {"first_message_index": 1, "forwarded_count": 0, "is_verified": True, "session_data": {}}
MASTER_KEY = {"user_id": "@alice:hs.test", "usage": ["master"], "keys": {f"ed25519:{43 * 'A'}": 43 * "A"}}
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/_matrix/client/versions", {}),
    ("GET", "/.well-known/matrix/client", {}),
    ("GET", "/.well-known/matrix/support", {}),
    ("GET", "/_matrix/client/v3/login", {}),
    ("POST", "/_matrix/client/v3/login", {**PROOF, "refresh_token": True}),
    ("POST", "/_matrix/client/v3/refresh", {"refresh_token": "{refresh_token}"}),
    ("POST", "/_matrix/client/v1/login/get_token", {"auth": PROOF}),
    ("GET", "/_matrix/client/v3/register/available", {"username": "free"}),
    ("GET", "/_matrix/client/v1/register/m.login.registration_token/validity", {"token": "x"}),
    (
        "POST",
        "/_matrix/client/v3/register",
        {"username": "new", "password": PASSWORD, "auth": {"type": "m.login.dummy"}},
    ),
    ("GET", "/_matrix/client/v3/account/whoami", {}),
    ("GET", "/_matrix/client/v3/account/3pid", {}),
    ("GET", "/_matrix/client/v3/capabilities", {}),
    ("GET", "/_matrix/client/v3/voip/turnServer", {}),
    ("GET", "/_matrix/client/v3/admin/whois/{user_id}", {}),
    ("PUT", "/_matrix/client/v1/admin/lock/{target}", {"locked": True}),
    ("GET", "/_matrix/client/v1/admin/lock/{target}", {}),
    ("PUT", "/_matrix/client/v1/admin/suspend/{target}", {"suspended": True}),
    ("GET", "/_matrix/client/v1/admin/suspend/{target}", {}),
    ("GET", "/_matrix/client/v3/devices", {}),
    ("GET", "/_matrix/client/v3/devices/{device_id}", {}),
    ("PUT", "/_matrix/client/v3/devices/{device_id}", {"display_name": "Telephone"}),
    ("PUT", "/_matrix/client/v3/profile/{user_id}/{key_name}", {"displayname": "Alice"}),
    ("GET", "/_matrix/client/v3/profile/{user_id}/{key_name}", {}),
    ("GET", "/_matrix/client/v3/profile/{user_id}", {}),
    ("PUT", "/_matrix/client/v3/user/{user_id}/account_data/{type}", {"a": 1}),
    ("GET", "/_matrix/client/v3/user/{user_id}/account_data/{type}", {}),
    ("PUT", "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data/{type}", {"a": 1}),
    ("GET", "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data/{type}", {}),
    ("PUT", "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags/{tag}", {"order": 0.5}),
    ("GET", "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags", {}),
    ("DELETE", "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags/{tag}", {}),
    ("POST", "/_matrix/client/v3/user/{user_id}/filter", {"room": {"timeline": {"limit": 5}}}),
    ("GET", "/_matrix/client/v3/user/{user_id}/filter/{filter_id}", {}),
    ("POST", "/_matrix/client/v3/user/{user_id}/openid/request_token", {}),
    ("POST", "/_matrix/client/v3/createRoom", {"name": "Tea", "preset": "public_chat"}),
    ("PUT", "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}", {"msgtype": "m.text", "body": "Hello"}),
    ("PUT", "/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}", {"reason": "no"}),
    ("PUT", "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}", {"topic": "Tea"}),
    ("GET", "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}", {}),
    ("GET", "/_matrix/client/v3/rooms/{room_id}/state", {}),
    ("GET", "/_matrix/client/v3/rooms/{room_id}/members", {}),
    ("GET", "/_matrix/client/v3/rooms/{room_id}/joined_members", {}),
    ("GET", "/_matrix/client/v3/rooms/{room_id}/messages", {"dir": "b"}),
    ("GET", "/_matrix/client/v3/rooms/{room_id}/context/{event_id}", {}),
    ("GET", "/_matrix/client/v3/rooms/{room_id}/event/{event_id}", {}),
    ("GET", "/_matrix/client/v1/rooms/{room_id}/timestamp_to_event", {"ts": 0, "dir": "f"}),
    ("GET", "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}", {}),
    ("GET", "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}/{rel_type}", {}),
    ("GET", "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}/{rel_type}/{event_type}", {}),
    (
        "POST",
        "/_matrix/client/v3/search",
        {
            "search_categories": {
                "room_events": {
                    "search_term": "hello",
                    "event_context": {"include_profile": True},
                    "include_state": True,
                    "groupings": {"group_by": [{"key": "room_id"}, {"key": "sender"}]},
                }
            }
        },
    ),
    ("GET", "/_matrix/client/v1/rooms/{room_id}/threads", {"include": "participated"}),
    ("PUT", "/_matrix/client/v3/rooms/{room_id}/typing/{user_id}", {"typing": True, "timeout": 10_000}),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/receipt/{receipt_type}/{event_id}", {}),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/read_markers", {"m.fully_read": "{event_id}"}),
    ("PUT", "/_matrix/client/v3/presence/{user_id}/status", {"presence": "online"}),
    ("GET", "/_matrix/client/v3/presence/{user_id}/status", {}),
    ("GET", "/_matrix/client/v3/sync", {"timeout": 0}),
    ("PUT", "/_matrix/client/v3/directory/room/{room_alias}", {"room_id": "{room_id}"}),
    ("GET", "/_matrix/client/v3/directory/room/{room_alias}", {}),
    ("GET", "/_matrix/client/v3/rooms/{room_id}/aliases", {}),
    ("GET", "/_matrix/client/v1/room_summary/{room_id_or_alias}", {}),
    ("GET", "/_matrix/client/v1/rooms/{room_id}/hierarchy", {}),
    ("DELETE", "/_matrix/client/v3/directory/room/{room_alias}", {}),
    ("PUT", "/_matrix/client/v3/directory/list/room/{room_id}", {"visibility": "public"}),
    ("GET", "/_matrix/client/v3/directory/list/room/{room_id}", {}),
    ("GET", "/_matrix/client/v3/publicRooms", {}),
    ("POST", "/_matrix/client/v3/publicRooms", {"limit": 5}),
    ("GET", "/_matrix/client/v3/pushrules/", {}),
    ("GET", "/_matrix/client/v3/pushrules/global/", {}),
    ("PUT", RULE, {"pattern": "tea", "actions": ["notify"]}),
    ("GET", RULE, {}),
    ("PUT", f"{RULE}/enabled", {"enabled": False}),
    ("GET", f"{RULE}/enabled", {}),
    ("PUT", f"{RULE}/actions", {"actions": []}),
    ("GET", f"{RULE}/actions", {}),
    ("DELETE", RULE, {}),
    (
        "POST",
        "/_matrix/client/v3/pushers/set",
        {
            "app_id": "app",
            "pushkey": "key",
            "kind": "http",
            "data": {"url": "https://push.example/_matrix/push/v1/notify"},
            "app_display_name": "An app",
            "device_display_name": "A phone",
            "lang": "en",
        },
    ),
    ("GET", "/_matrix/client/v3/pushers", {}),
    ("GET", "/_matrix/client/v3/notifications", {"limit": 5}),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/report/{event_id}", {"reason": "rude"}),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/report", {"reason": ""}),
    ("POST", "/_matrix/client/v3/users/{user_id}/report", {"reason": "rude"}),
    ("GET", "/_matrix/client/v3/rooms/{room_id}/initialSync", {}),
    ("GET", "/_matrix/client/v3/initialSync", {"limit": 2}),
    ("GET", "/_matrix/client/v3/events", {"timeout": 0, "room_id": "{room_id}"}),
    ("GET", "/_matrix/client/v3/events/{event_id}", {}),
    ("GET", "/_matrix/client/v3/thirdparty/protocols", {}),
    ("POST", "/_matrix/client/v3/user_directory/search", {"search_term": "ali"}),
    ("GET", "/_matrix/client/v1/mutual_rooms", {"user_id": "@bob:hs.test"}),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/invite", {"user_id": "@bob:hs.test"}),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/kick", {"user_id": "@bob:hs.test"}),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/ban", {"user_id": "@bob:hs.test"}),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/unban", {"user_id": "@bob:hs.test"}),
    ("POST", "/_matrix/media/v3/upload", {"tea": "cake"}),
    ("POST", "/_matrix/media/v1/create", {}),
    ("PUT", "/_matrix/media/v3/upload/{server_name}/{media_id}", {"tea": "cake"}),
    ("GET", "/_matrix/client/v1/media/config", {}),
    ("GET", "/_matrix/client/v1/media/preview_url", {"url": "{base_url}/health"}),
    ("GET", "/_matrix/client/v3/joined_rooms", {}),
    ("POST", "/_matrix/client/v3/join/{room_id_or_alias}", {}),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/join", {}),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/upgrade", {"new_version": "11"}),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/leave", {}),
    ("POST", "/_matrix/client/v3/rooms/{room_id}/forget", {}),
    ("POST", "/_matrix/client/v3/knock/{room_id_or_alias}", {}),
    ("DELETE", "/_matrix/client/v3/profile/{user_id}/{key_name}", {}),
    ("POST", "/_matrix/client/v3/account/password", {"auth": PROOF, "new_password": PASSWORD, "logout_devices": False}),
    ("POST", "/_matrix/client/v3/keys/upload", {"one_time_keys": {}}),
    ("POST", "/_matrix/client/v3/room_keys/version", {"algorithm": BACKUP, "auth_data": {}}),
    ("GET", "/_matrix/client/v3/room_keys/version", {}),
    ("GET", "/_matrix/client/v3/room_keys/version/{version}", {}),
    ("PUT", "/_matrix/client/v3/room_keys/version/{version}", {"algorithm": BACKUP, "auth_data": {}}),
    ("PUT", "/_matrix/client/v3/room_keys/keys?version=1", {"rooms": {"!a": {"sessions": {"b": SESSION_KEY}}}}),
    ("PUT", "/_matrix/client/v3/room_keys/keys/{room_id}?version=1", {"sessions": {"a": SESSION_KEY}}),
    ("PUT", "/_matrix/client/v3/room_keys/keys/{room_id}/{session_id}?version=1", SESSION_KEY),
    ("GET", "/_matrix/client/v3/room_keys/keys", {"version": "1"}),
    ("GET", "/_matrix/client/v3/room_keys/keys/{room_id}", {"version": "1"}),
    ("GET", "/_matrix/client/v3/room_keys/keys/{room_id}/{session_id}", {"version": "1"}),
    ("DELETE", "/_matrix/client/v3/room_keys/keys/{room_id}/{session_id}?version=1", {}),
    ("DELETE", "/_matrix/client/v3/room_keys/keys/{room_id}?version=1", {}),
    ("DELETE", "/_matrix/client/v3/room_keys/keys?version=1", {}),
    ("DELETE", "/_matrix/client/v3/room_keys/version/{version}", {}),
    ("POST", "/_matrix/client/v3/keys/device_signing/upload", {"master_key": MASTER_KEY}),
    ("POST", "/_matrix/client/v3/keys/signatures/upload", {"@alice:hs.test": {"D": {}}}),
    ("GET", "/_matrix/client/v3/keys/changes", {"from": "s1_0", "to": "s1_1"}),
    ("PUT", "/_matrix/client/v3/sendToDevice/{event_type}/{txn_id}", {"messages": {"@alice:hs.test": {"*": {}}}}),
    ("POST", "/_matrix/client/v3/keys/query", {"device_keys": {"@alice:hs.test": []}}),
    ("POST", "/_matrix/client/v3/keys/claim", {"one_time_keys": {"@alice:hs.test": {"D": "signed_curve25519"}}}),
    ("DELETE", "/_matrix/client/v3/devices/{device_id}", {"auth": PROOF}),
    ("POST", "/_matrix/client/v3/delete_devices", {"auth": PROOF, "devices": []}),
    ("POST", "/_matrix/client/v3/logout", {}),
    ("POST", "/_matrix/client/v3/logout/all", {}),
    ("POST", "/_matrix/client/v3/account/deactivate", {"auth": PROOF}),
]

# Answered only where the server is one: see the tests of policy servers.
FOR_POLICY_SERVERS = {"GetPolicyServer"}
# Without bridges there is nothing to answer with: see the refusals below.
FOR_BRIDGES = {
    "GetProtocol",
    "GetLocationsOfProtocol",
    "GetUsersOfProtocol",
    "GetLocations",
    "GetUsers",
    "SetNetworkVisibility",
}


# Their answers have no form of JSON.
GIVES_A_FILE = re.compile("/media/(v3/)?(download|thumbnail)/")


def described() -> list[type[Endpoint]]:
    """Return every endpoint that we describe."""
    return [
        value
        for module in pkgutil.iter_modules(tricord.clients.api.__path__)
        for value in vars(importlib.import_module(f"tricord.clients.api.{module.name}")).values()
        if isinstance(value, type) and issubclass(value, Endpoint) and value.__module__.endswith(f".{module.name}")
    ]


@pytest.fixture
async def http(database_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    well_known = {"support_email": "help@hs.test", "server": "hs.test:443"}
    turn = {"uris": ["turn:hs.test"], "shared_secret": "x"}
    previews = {"allowed_hosts": ["127.0.0.1"], "allowed_addresses": ["127.0.0.0/8"]}
    async with (
        running_homeserver(
            database_url, tmp_path, well_known=well_known, turn=turn, url_previews=previews
        ) as homeserver,
        httpx.AsyncClient(base_url=homeserver.urls[0]) as http,
    ):
        await homeserver.administration.create_user("alice", PASSWORD, is_admin=True)
        await homeserver.administration.create_user("carol", PASSWORD)
        yield http


async def sign_in(http: httpx.AsyncClient) -> dict[str, Any]:
    answer: dict[str, Any] = (await http.post("/_matrix/client/v3/login", json={**PROOF, "refresh_token": True})).json()
    http.headers["Authorization"] = f"Bearer {answer['access_token']}"
    return answer


async def test_answers_have_the_form_that_is_described(http: httpx.AsyncClient) -> None:
    session = await sign_in(http)
    knockable = [{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
    room = (await http.post("/_matrix/client/v3/createRoom", json={"initial_state": knockable})).json()["room_id"]
    path = f"/_matrix/client/v3/rooms/{quote(room)}/send/m.room.message/first"
    event = (await http.put(path, json={"msgtype": "m.text", "body": "Hello"})).json()["event_id"]
    values = {
        "user_id": session["user_id"],
        "target": "@carol:hs.test",
        "device_id": session["device_id"],
        "refresh_token": session["refresh_token"],
        "room_id": room,
        "room_id_or_alias": room,
        "room_alias": "#tea:hs.test",
        "event_id": event,
        "event_type": "m.room.message",
        "state_key": "",
        "txn_id": "t1",
        "type": "org.example",
        "data_type": "org.example",
        "tag": "u.tea",
        "kind": "content",
        "rule_id": "tea",
        "rel_type": "m.annotation",
        "receipt_type": "m.read",
        "key_name": "displayname",
        "server_name": "hs.test",
        "media_id": "none",
        "base_url": str(http.base_url),
        "filter_id": "1",
        "version": "1",
        "session_id": "session",
    }
    wrong = []
    for method, template, given in CALLS:
        filled = {n: value.format(**values) if isinstance(value, str) else value for n, value in given.items()}
        path = template
        for name, value in values.items():
            if "/state/{event_type}" in template and name == "event_type":
                value = "m.room.topic"
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        answer = await (http.get(path, params=filled) if method == "GET" else http.request(method, path, json=filled))
        if answer.status_code == 401:
            # Signed out by the call before: that is what it was for.
            values["device_id"] = (await sign_in(http))["device_id"]
            answer = await http.request(method, path, json=filled)
        if answer.status_code != 200:
            wrong.append(f"{method} {template}: {answer.status_code} {answer.text}")
            continue
        if "filter_id" in answer.text and method == "POST":
            values["filter_id"] = answer.json()["filter_id"]
        if "unused_expires_at" in answer.text:
            values["media_id"] = parse_mxc(answer.json()["content_uri"]).media_id
        known = ANSWERS.get(key_of(method, template)) or ANSWERS.get(key_of(method, template.rstrip("/")))
        if known is not None:
            told = answer.json() if "/devices" not in template else _without_nulls(answer.json())
            wrong += [f"{method} {template}: {fault}" for fault in faults(told, known["schema"])]
    assert not wrong, "\n".join(wrong)


def _without_nulls(value: Any) -> Any:
    """Return a value without keys that are null: what is not known of a device is, since clients want every key."""
    if isinstance(value, list):
        return [_without_nulls(one) for one in value]
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return value


def test_every_endpoint_is_called_here() -> None:
    called = {key_of(method, path) for method, path, _ in CALLS}
    lacking = [
        endpoint.__name__
        for endpoint in described()
        if key_of(endpoint.method, endpoint.path) in ANSWERS
        and key_of(endpoint.method, endpoint.path) not in called
        and not GIVES_A_FILE.search(endpoint.path)
    ]
    assert set(lacking) == FOR_BRIDGES | FOR_POLICY_SERVERS


async def test_each_path_is_served_under_its_older_name_too(http: httpx.AsyncClient) -> None:
    for endpoint in described():
        for path in (endpoint.path, *endpoint.also):
            url = path
            for name in endpoint.parameters():
                url = url.replace(f"{{{name}}}", "send" if name == "action" else "x")
            for one in {url, url.replace("/_matrix/client/v3/", "/_matrix/client/r0/")}:
                answer = await http.request(endpoint.method, one)
                assert "M_UNRECOGNIZED" not in answer.text, (endpoint.method, one)
                wrong = await http.request("PATCH", one)
                assert (wrong.status_code, wrong.json()["errcode"]) == (405, "M_UNRECOGNIZED"), one
                preflight = await http.options(one)
                assert preflight.status_code == 200
                assert preflight.headers["access-control-allow-origin"] == "*"
    for path in ("/_matrix/client/v3/nothing", "/_matrix/client/v9/sync", "/_matrix/nothing", "/nothing"):
        answer = await http.get(path)
        assert (answer.status_code, answer.json()["errcode"]) == (404, "M_UNRECOGNIZED")


REFUSALS: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("POST", "/v3/login", {"type": "org.example.none"}, 400, "M_UNKNOWN"),
    ("POST", "/v3/login", {}, 400, "M_MISSING_PARAM"),
    ("POST", "/v3/login", {**PROOF, "password": "wrong"}, 403, "M_FORBIDDEN"),
    ("POST", "/v3/refresh", {"refresh_token": "x"}, 401, "M_UNKNOWN_TOKEN"),
    ("POST", "/v3/register", {"username": "alice", "password": PASSWORD}, 400, "M_USER_IN_USE"),
    ("POST", "/v3/register", {"username": "@:", "password": PASSWORD}, 400, "M_INVALID_USERNAME"),
    ("GET", "/v3/register/available?username=alice", {}, 400, "M_USER_IN_USE"),
    ("GET", "/v3/register/available?username=%C3%A9", {}, 400, "M_INVALID_USERNAME"),
    ("GET", "/v3/profile/@nobody:hs.test", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v3/profile/@alice:hs.test/avatar_url", {}, 404, "M_NOT_FOUND"),
    ("PUT", "/v3/profile/@nobody:hs.test/displayname", {"displayname": "x"}, 403, "M_FORBIDDEN"),
    ("PUT", "/v3/profile/@alice:hs.test/displayname", {}, 400, "M_MISSING_PARAM"),
    ("GET", "/v3/devices/NONE", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v1/media/download/hs.test/none", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v1/media/download/hs.test/n..e", {}, 400, "M_INVALID_PARAM"),
    ("PUT", "/v3/devices/NONE", {"display_name": "x"}, 404, "M_NOT_FOUND"),
    ("GET", "/v3/user/@alice:hs.test/account_data/org.none", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v3/user/@alice:hs.test/filter/99", {}, 404, "M_NOT_FOUND"),
    ("PUT", "/v3/user/@alice:hs.test/account_data/m.fully_read", {}, 405, "M_BAD_JSON"),
    ("POST", "/v3/createRoom", {"room_version": "none"}, 400, "M_UNSUPPORTED_ROOM_VERSION"),
    ("POST", "/v3/createRoom", {"preset": "none"}, 400, "M_BAD_JSON"),
    ("GET", "/v3/directory/room/%23none:hs.test", {}, 404, "M_NOT_FOUND"),
    ("DELETE", "/v3/directory/room/%23none:hs.test", {}, 404, "M_NOT_FOUND"),
    ("PUT", "/v3/directory/room/none", {"room_id": "!x:hs.test"}, 400, "M_INVALID_PARAM"),
    ("GET", "/v3/directory/list/room/!none:hs.test", {}, 404, "M_NOT_FOUND"),
    ("POST", "/v3/join/%23none:hs.test", {}, 404, "M_NOT_FOUND"),
    ("POST", "/v3/join/none", {}, 400, "M_INVALID_PARAM"),
    ("GET", "/v3/rooms/{room}/state/m.room.topic/", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v3/rooms/{room}/event/$none", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v3/rooms/{room}/context/$none", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v1/rooms/{room}/relations/$none", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v3/rooms/{room}/messages", {}, 400, "M_MISSING_PARAM"),
    ("GET", "/v1/rooms/{room}/timestamp_to_event?ts=9999999999999&dir=f", {}, 404, "M_NOT_FOUND"),
    ("POST", "/v3/rooms/{room}/forget", {}, 400, "M_UNKNOWN"),
    ("POST", "/v3/rooms/{room}/receipt/m.none/$x", {}, 400, "M_INVALID_PARAM"),
    ("POST", "/v3/rooms/{room}/unban", {"user_id": "@bob:hs.test"}, 403, "M_BAD_STATE"),
    ("PUT", "/v3/rooms/{room}/typing/@alice:hs.test", {}, 400, "M_MISSING_PARAM"),
    ("PUT", "/v3/presence/@alice:hs.test/status", {"presence": "gone"}, 400, "M_BAD_JSON"),
    ("GET", "/v3/thirdparty/protocol/irc", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v3/thirdparty/location/irc", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v3/thirdparty/user/irc", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v3/thirdparty/location?alias=%23tea:hs.test", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v3/thirdparty/location", {}, 400, "M_MISSING_PARAM"),
    ("GET", "/v3/thirdparty/user?userid=@alice:hs.test", {}, 404, "M_NOT_FOUND"),
    ("PUT", "/v3/directory/list/appservice/irc/{room}", {"visibility": "public"}, 403, "M_FORBIDDEN"),
    ("POST", "/v3/rooms/{room}/report/$none", {"reason": "x"}, 404, "M_NOT_FOUND"),
    ("POST", "/v3/rooms/{room}/report", {}, 400, "M_MISSING_PARAM"),
    ("GET", "/v1/mutual_rooms?user_id=@alice:hs.test", {}, 400, "M_INVALID_PARAM"),
    ("GET", "/v1/mutual_rooms?user_id=alice", {}, 400, "M_INVALID_PARAM"),
    ("GET", "/v3/events/$none", {}, 404, "M_NOT_FOUND"),
    ("GET", "/v3/events?from=x", {}, 400, "M_INVALID_PARAM"),
    ("GET", "/v3/events?room_id=!none:hs.test", {}, 403, "M_FORBIDDEN"),
    ("GET", "/v1/mutual_rooms", {}, 400, "M_MISSING_PARAM"),
    ("GET", "/v1/mutual_rooms?user_id=@bob:hs.test&from=x", {}, 400, "M_INVALID_PARAM"),
    ("POST", "/v3/user_directory/search", {}, 400, "M_MISSING_PARAM"),
    ("POST", "/v3/users/nobody/report", {"reason": ""}, 400, "M_INVALID_PARAM"),
    ("GET", "/v3/pushrules/global/content/none", {}, 404, "M_NOT_FOUND"),
    ("DELETE", "/v3/pushrules/global/content/none", {}, 404, "M_NOT_FOUND"),
    ("PUT", "/v3/pushrules/global/content/x?before=none", {"pattern": "x", "actions": []}, 400, "M_UNKNOWN"),
    ("PUT", "/v3/pushrules/global/content/.x", {"pattern": "x", "actions": []}, 400, "M_INVALID_PARAM"),
]


async def test_refusals_are_those_that_are_described(http: httpx.AsyncClient) -> None:
    body = {"username": "alice", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    await http.post("/_matrix/client/v3/register", json=body)
    await sign_in(http)
    room = (await http.post("/_matrix/client/v3/createRoom", json={})).json()["room_id"]
    wrong = []
    for method, path, given, status, errcode in REFUSALS:
        url = "/_matrix/client" + path.format(room=quote(room))
        answer = await (http.get(url) if method == "GET" else http.request(method, url, json=given))
        got = (answer.status_code, answer.json().get("errcode"))
        if got != (status, errcode):
            wrong.append(f"{method} {path}: {got}, not {(status, errcode)}: {answer.text}")
        elif not isinstance(answer.json().get("error"), str):
            wrong.append(f"{method} {path}: no words")
    assert not wrong, "\n".join(wrong)
