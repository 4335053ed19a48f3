"""The page for clients that cannot sign in themselves: what its script does, run by node in place of a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.homeserver.client_api.account_server import Server
from tests.npm import lacking

PAGE = "/_matrix/static/client/login/"
# As much of a browser as the script needs. It writes what was asked for, what was said, and what the client was told.
BROWSER = """
const { script, search, status, answer } = JSON.parse(require("fs").readFileSync(0));
const seen = { told: [] };
const elements = { user: { value: "alice" }, password: { value: "secret" } };
const form = { elements, addEventListener: (_, listener) => { seen.submit = listener; } };
const outcome = {};
globalThis.document = { querySelector: (what) => (what === "form" ? form : outcome) };
globalThis.window = { location: { search }, matrixLogin: { onLogin: (response) => seen.told.push(response) } };
globalThis.fetch = async (url, options) => {
    seen.asked = { url, ...options, body: JSON.parse(options.body) };
    return { ok: status === 200, json: async () => answer };
};
(0, eval)(script);
seen.submit({ preventDefault() {} }).then(() =>
    console.log(JSON.stringify({ asked: seen.asked, told: seen.told, said: outcome.textContent }))
);
"""


async def script_of(server: Server) -> str:
    """Return the script of the page."""
    page = (await server.ask("GET", PAGE)).body.decode()
    found = re.search(r"<script nonce=\S+>(.*)</script>", page, re.DOTALL)
    assert found
    return found[1]


def run(script: str, search: str, status: int, answer: Any) -> Any:
    if (node := shutil.which("node")) is None:
        lacking("node is not installed")
    given = json.dumps({"script": script, "search": search, "status": status, "answer": answer})
    done = subprocess.run([node, "-e", BROWSER], input=given, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


async def test_who_signs_in_on_the_page_is_handed_to_the_client(server: Server) -> None:
    search = "?device_id=PHONE&initial_device_display_name=Phone&refresh_token=true&password=no"
    granted = {"user_id": "@alice:hs.test", "access_token": "t", "device_id": "PHONE"}
    done = run(await script_of(server), search, 200, granted)
    assert (done["asked"]["method"], done["asked"]["url"]) == ("POST", "/_matrix/client/v3/login")
    assert done["told"] == [granted]
    body = done["asked"]["body"]
    assert body["password"] == "secret"
    # What the page asks for is what signs somebody in.
    await server.administration.create_user("alice", "secret")
    session = (await server.ask("POST", done["asked"]["url"], body)).json
    assert session["device_id"] == "PHONE"
    assert "refresh_token" in session


async def test_who_cannot_sign_in_is_told_why(server: Server) -> None:
    done = run(await script_of(server), "", 403, {"errcode": "M_FORBIDDEN", "error": "wrong user name or password"})
    assert done["told"] == []
    assert done["said"] == "wrong user name or password"


@pytest.mark.parametrize("query", ["", '?device_id="><script>alert(1)</script>'])
async def test_nothing_foreign_runs_on_it(server: Server, query: str) -> None:
    reply = await server.ask("GET", PAGE + query)
    assert reply.status == 200
    assert b"alert" not in reply.body
    policy = reply.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    (nonce,) = re.findall(r"script-src 'nonce-([^']+)'", policy)
    assert f'<script nonce="{nonce}">' in reply.body.decode()
