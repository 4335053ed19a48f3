"""Every endpoint between servers is there, for those who sign what they ask, and for nobody else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.conversations.hostile import Peer, peer
from tests.conversations.network import Network
from tests.conversations.towns import Town, towns
from tests.postgres import PostgresServer
from tricord.homeserver.specification import EndpointRow, endpoint_tables
from tricord.protocol.identifiers import RoomId
from tricord.protocol.strict_json import JsonObject

[TABLE] = [table for table in endpoint_tables() if table.api == "Server-Server API"]
# By the text, these need no signature. The first is served with what is for clients.
UNSIGNED = {
    "/_matrix/federation/v1/3pid/onbind",
    "/_matrix/federation/v1/openid/userinfo",
    "/_matrix/federation/v1/version",
    "/_matrix/key/v2/query",
    "/_matrix/key/v2/query/{serverName}",
    "/_matrix/key/v2/server",
}
ROWS = [row for row in TABLE.rows if row.path.startswith("/_matrix/")]


@pytest.fixture
async def town(postgres: PostgresServer, tmp_path: Path, network: Network) -> AsyncIterator[Town]:
    """A town that is a policy server too, so that nothing is left out."""
    async with towns(postgres, tmp_path, network, {"policy_server": {"enabled": True}}, hs=["alice"]) as [found]:
        yield found


@pytest.fixture
async def other(network: Network) -> AsyncIterator[Peer]:
    """Another server."""
    async with peer("peer.test", network) as found:
        yield found


def uri_of(row: EndpointRow, town: Town, other: Peer, room_id: RoomId) -> str:
    values = {
        "roomId": room_id,
        "eventId": "$none",
        "userId": other.user("paul"),
        "serverName": town.name,
        "mediaId": "none",
        "txnId": "1",
        "queryType": "weather",
    }
    return re.sub(r"\{(\w+)\}", lambda found: quote(values[found[1]], safe=""), row.path)


async def test_with_a_signature_everything_is_known(town: Town, other: Peer) -> None:
    room_id = await town["alice"].create_room(preset="public_chat")
    unknown = []
    for row in ROWS:
        body: JsonObject | None = None if row.method == "GET" else {}
        answer = await other.request(town.name, row.method, uri_of(row, town, other, room_id), body)
        refusal = answer.json() if answer.status_code >= 400 else {}
        if refusal.get("errcode") in ("M_UNRECOGNIZED", "M_UNAUTHORIZED") or answer.status_code >= 500:
            unknown.append(f"{row.method} {row.path}: {answer.status_code} {answer.text}")
        elif refusal and not isinstance(refusal.get("error"), str):
            unknown.append(f"{row.method} {row.path}: {answer.status_code} without words: {answer.text}")
    assert not unknown, "\n".join(unknown)


async def test_without_a_signature_nothing_is_told_that_needs_one(town: Town, other: Peer, network: Network) -> None:
    room_id = await town["alice"].create_room(preset="public_chat")
    strangers = {"nothing": {}, "a token": {"Authorization": f"Bearer {town['alice'].access_token}"}}
    told = []
    for row in ROWS:
        uri = uri_of(row, town, other, room_id)
        for what, headers in strangers.items():
            async with httpx.AsyncClient(headers=headers) as http:
                body: JsonObject | None = None if row.method == "GET" else {}
                answer = await http.request(row.method, network.urls[town.name] + uri, json=body)
            refused = answer.status_code == 401 and answer.json()["errcode"] in ("M_UNAUTHORIZED", "M_MISSING_TOKEN")
            if refused == (row.path in UNSIGNED):
                told.append(f"{row.method} {row.path} with {what}: {answer.status_code} {answer.text}")
    assert not told, "\n".join(told)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/_matrix/federation/v1/nonsense", 404),
        ("PUT", "/_matrix/federation/v3/send/1", 404),
        ("GET", "/_matrix/federation/v1", 404),
        ("GET", "/_matrix/federation/v1/send/1", 405),
        ("POST", "/_matrix/federation/v1/version", 405),
        ("DELETE", "/_matrix/key/v2/server", 405),
        ("GET", "/_matrix/policy/v1/sign", 405),
        ("GET", "/_matrix/policy/v1/nonsense", 404),
    ],
)
async def test_what_is_unknown_is_unrecognized(
    town: Town, network: Network, method: str, path: str, status: int
) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.request(method, network.urls[town.name] + path)
    assert (answer.status_code, answer.json()["errcode"]) == (status, "M_UNRECOGNIZED")
