"""Accounts made as `register_new_matrix_user` and its like make them, against `tricord serve`.

https://element-hq.github.io/synapse/latest/admin_api/register_api.html
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.servers import SERVER_NAME, SHARED_SECRET, server_process

pytestmark = pytest.mark.peer

PATH = "/_synapse/admin/v1/register"
PASSWORD = "pässword"
_BLOCK_BYTES = 64


def mac(secret: str, *parts: str) -> str:
    """Return the HMAC-SHA1 of the parts, computed as RFC 2104 writes it down."""
    key = secret.encode().ljust(_BLOCK_BYTES, b"\0")
    inner = hashlib.sha1(bytes(byte ^ 0x36 for byte in key) + "\0".join(parts).encode()).digest()  # noqa: S324  # theirs
    return hashlib.sha1(bytes(byte ^ 0x5C for byte in key) + inner).hexdigest()  # noqa: S324


async def registered(http: httpx.AsyncClient, name: str, *, admin: bool = False, **more: Any) -> httpx.Response:
    """Make an account as the script does."""
    nonce = (await http.get(PATH)).json()["nonce"]
    parts = [nonce, name, PASSWORD, "admin" if admin else "notadmin"]
    if "user_type" in more:
        parts.append(more["user_type"])
    body = {"nonce": nonce, "username": name, "password": PASSWORD, "admin": admin, "mac": mac(SHARED_SECRET, *parts)}
    return await http.post(PATH, json=body | more)


async def test_scripts_that_know_the_secret_make_accounts(database_url: str, tmp_path: Path) -> None:
    closed = 'enabled = false\nshared_secret_file = "secret"'
    (tmp_path / "secret").write_text(f"{SHARED_SECRET}\n", encoding="utf-8")
    async with (
        server_process(database_url, tmp_path, registration=closed) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        alice = await registered(http, "alice", admin=True, displayname="Alice in W.")
        assert alice.status_code == 200, alice.text
        assert alice.json()["user_id"] == f"@alice:{SERVER_NAME}"
        assert {"access_token", "device_id", "home_server"} <= alice.json().keys()
        token = {"Authorization": f"Bearer {alice.json()['access_token']}"}
        who = await http.get("/_matrix/client/v3/account/whoami", headers=token)
        assert who.json()["user_id"] == f"@alice:{SERVER_NAME}"
        name = await http.get(f"/_matrix/client/v3/profile/@alice:{SERVER_NAME}/displayname")
        assert name.json() == {"displayname": "Alice in W."}

        assert (await registered(http, "robot", user_type="bot")).status_code == 200
        again = await registered(http, "alice")
        assert (again.status_code, again.json()["errcode"]) == (400, "M_USER_IN_USE")
        stranger = await registered(http, "mallory", mac=mac("a guess", "mallory"))
        assert (stranger.status_code, stranger.json()["errcode"]) == (403, "M_FORBIDDEN")
        stale = await registered(http, "mallory", nonce="never given")
        assert stale.status_code == 400
        public = await http.post("/_matrix/client/v3/register", json={"username": "bob", "password": PASSWORD})
        assert (public.status_code, public.json()["errcode"]) == (403, "M_FORBIDDEN")
