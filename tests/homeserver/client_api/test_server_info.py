"""What the server says of itself."""

from __future__ import annotations

from tests.homeserver.client_api.account_server import Server


async def test_versions_are_told_to_anybody(server: Server) -> None:
    answer = (await server.ask("GET", "/_matrix/client/versions", token="stale")).json
    assert answer["versions"][0] == "v1.1"
    assert answer["versions"][-1] == "v1.19"
    assert all(isinstance(value, bool) for value in answer["unstable_features"].values())


async def test_capabilities_are_told_to_users(server: Server) -> None:
    assert (await server.ask("GET", "/_matrix/client/v3/capabilities")).status == 401
    token = (await server.sign_up("alice")).json["access_token"]
    capabilities = (await server.ask("GET", "/_matrix/client/v3/capabilities", token=token)).json["capabilities"]
    assert capabilities["m.change_password"] == {"enabled": True}
    assert capabilities["m.room_versions"]["default"] == "12"
    assert capabilities["m.room_versions"]["available"]["12"] == "stable"


async def test_it_is_found_by_its_well_known_documents(server: Server) -> None:
    client = await server.ask("GET", "/.well-known/matrix/client")
    assert client.json == {"m.homeserver": {"base_url": "https://matrix.hs.test"}}
    assert client.headers["access-control-allow-origin"] == "*"
    assert (await server.ask("GET", "/.well-known/matrix/server")).status == 404
    support = (await server.ask("GET", "/.well-known/matrix/support")).json
    assert support == {"contacts": [{"role": "m.role.admin", "email_address": "help@hs.test"}]}
