"""One's own account and devices, and what must be shown again to change them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.homeserver.client_api.account_server import PASSWORD, Reply, Server

V3 = "/_matrix/client/v3"


async def confirmed(server: Server, method: str, path: str, body: dict[str, Any], token: str) -> Reply:
    """Ask, be asked who one is, show it, and ask again."""
    challenge = await server.ask(method, path, body, token=token)
    assert challenge.status == 401
    assert challenge.json["flows"] == [{"stages": ["m.login.password"]}]
    identifier = {"type": "m.id.user", "user": "alice"}
    session = challenge.json["session"]
    auth = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD, "session": session}
    return await server.ask(method, path, {**body, "auth": auth}, token=token)


async def test_devices_are_listed_and_named(server: Server) -> None:
    token = (await server.sign_up("alice", device_id="PHONE", initial_device_display_name="Phone")).json["access_token"]
    path = f"{V3}/devices/PHONE"
    unseen = {"last_seen_ts": None, "last_seen_ip": None}
    phone = (await server.ask("GET", path, token=token)).json
    assert phone == {"device_id": "PHONE", "display_name": "Phone", **unseen}
    assert (await server.ask("PUT", path, {"display_name": "Mine"}, token=token)).json == {}
    assert (await server.ask("PUT", path, {}, token=token)).json == {}
    devices = (await server.ask("GET", f"{V3}/devices", token=token)).json["devices"]
    assert devices == [{"device_id": "PHONE", "display_name": "Mine", **unseen}]
    too_long = await server.ask("PUT", path, {"display_name": "x" * 101}, token=token)
    assert (too_long.status, too_long.json["errcode"]) == (400, "M_INVALID_PARAM")


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_device_of_somebody_else_is_not_found(server: Server, method: str) -> None:
    await server.sign_up("bob", device_id="BOBS")
    token = (await server.sign_up("alice")).json["access_token"]
    reply = await server.ask(method, f"{V3}/devices/BOBS", {"display_name": "x"}, token=token)
    assert (reply.status, reply.json["errcode"]) == (404, "M_NOT_FOUND")


async def test_a_device_is_deleted_with_the_password(server: Server) -> None:
    token = (await server.sign_up("alice", device_id="HERE")).json["access_token"]
    lost = (await server.log_in("alice", device_id="LOST")).json["access_token"]
    assert (await confirmed(server, "DELETE", f"{V3}/devices/LOST", {}, token)).status == 200
    assert (await server.ask("GET", f"{V3}/devices", token=lost)).status == 401
    assert [d["device_id"] for d in (await server.ask("GET", f"{V3}/devices", token=token)).json["devices"]] == ["HERE"]


async def test_several_devices_are_deleted_at_once(server: Server) -> None:
    token = (await server.sign_up("alice", device_id="HERE")).json["access_token"]
    for name in ("A", "B"):
        await server.log_in("alice", device_id=name)
    body = {"devices": ["A", "B", "UNKNOWN", "\0"]}
    assert (await confirmed(server, "POST", f"{V3}/delete_devices", body, token)).status == 200
    assert [d["device_id"] for d in (await server.ask("GET", f"{V3}/devices", token=token)).json["devices"]] == ["HERE"]


async def test_what_was_confirmed_for_one_device_is_not_for_another(server: Server) -> None:
    token = (await server.sign_up("alice")).json["access_token"]
    session = (await server.ask("DELETE", f"{V3}/devices/A", {}, token=token)).json["session"]
    auth = {"type": "m.login.password", "user": "alice", "password": PASSWORD, "session": session}
    assert (await server.ask("DELETE", f"{V3}/devices/B", {"auth": auth}, token=token)).status == 403


async def test_the_password_is_changed_and_other_devices_are_signed_out(server: Server) -> None:
    token = (await server.sign_up("alice")).json["access_token"]
    other = (await server.log_in("alice")).json["access_token"]
    changed = await confirmed(server, "POST", f"{V3}/account/password", {"new_password": "battery staple"}, token)
    assert (changed.status, changed.json) == (200, {})
    assert (await server.ask("GET", f"{V3}/account/whoami", token=token)).status == 200
    assert (await server.ask("GET", f"{V3}/account/whoami", token=other)).status == 401
    assert (await server.log_in("alice")).status == 403
    assert (await server.log_in("alice", "battery staple")).status == 200


async def test_other_devices_may_stay_signed_in(server: Server) -> None:
    token = (await server.sign_up("alice")).json["access_token"]
    other = (await server.log_in("alice")).json["access_token"]
    body = {"new_password": "battery staple", "logout_devices": False}
    assert (await confirmed(server, "POST", f"{V3}/account/password", body, token)).status == 200
    assert (await server.ask("GET", f"{V3}/account/whoami", token=other)).status == 200


async def test_an_account_ends(server: Server) -> None:
    token = (await server.sign_up("alice")).json["access_token"]
    await server.ask("PUT", f"{V3}/profile/@alice:hs.test/displayname", {"displayname": "Alice"}, token=token)
    ended = await confirmed(server, "POST", f"{V3}/account/deactivate", {"erase": True}, token)
    assert ended.json == {"id_server_unbind_result": "success"}
    assert (await server.ask("GET", f"{V3}/account/whoami", token=token)).status == 401
    assert (await server.ask("GET", f"{V3}/profile/@alice:hs.test")).status == 404
    account = await server.administration.user("alice")
    assert (account.deactivated, account.erased) == (True, True)


async def test_nobody_has_third_party_ids(server: Server) -> None:
    token = (await server.sign_up("alice")).json["access_token"]
    assert (await server.ask("GET", f"{V3}/account/3pid", token=token)).json == {"threepids": []}


async def test_the_operator_lists_accounts_and_sets_passwords(server: Server) -> None:
    token = (await server.sign_up("alice")).json["access_token"]
    await server.administration.create_user("root", None, is_admin=True)
    users = [(account.user_id, account.is_admin) async for account in server.administration.users()]
    assert users == [("@alice:hs.test", False), ("@root:hs.test", True)]
    await server.administration.set_password("alice", "battery staple")
    assert (await server.ask("GET", f"{V3}/account/whoami", token=token)).status == 401
    assert (await server.log_in("alice", "battery staple")).status == 200
