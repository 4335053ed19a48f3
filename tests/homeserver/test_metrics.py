"""Figures for Prometheus."""

from __future__ import annotations

from pathlib import Path

import httpx
import orjson
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio_websocket import open_websocket_url

from tests.servers import PASSWORD, settings_for
from tricord.clients import Client, Refused
from tricord.clients.api.websocket import PATH
from tricord.homeserver.app import Homeserver, open_homeserver
from tricord.homeserver.assembly.measuring import address_of
from tricord.protocol.identifiers import RoomId

SYNC = "/_matrix/client/v3/sync"
SEND = "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}"


async def told(homeserver: Homeserver) -> dict[tuple[str, ...], float]:
    """Return the figures, each by its name and the values of its labels, in the order of their names."""
    async with httpx.AsyncClient() as prometheus:
        answer = await prometheus.get(f"{homeserver.metrics_url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_what_is_done_is_counted_and_what_is_there_is_told(database_url: str, tmp_path: Path) -> None:
    settings = settings_for(database_url, tmp_path, metrics={"bind": "127.0.0.1:0"})
    async with open_homeserver(settings) as homeserver, Client(homeserver.urls[0]) as alice:
        await alice.register("alice", PASSWORD)
        room_id = await alice.create_room()
        before = await told(homeserver)
        for number in range(3):
            await alice.send_text(room_id, str(number))
        with pytest.raises(Refused):
            await alice.send_text(RoomId("!elsewhere:hs.test"), "nobody")
        await alice.sync()
        after = await told(homeserver)

        assert after["tricord_requests_total", SEND, "PUT", "200"] == 3
        assert after["tricord_requests_total", SEND, "PUT", "404"] == 1
        assert after["tricord_requests_total", SYNC, "GET", "200"] == 1
        assert after["tricord_request_seconds_count", SEND, "PUT"] == 4
        assert after["tricord_request_seconds_bucket", SEND, "+Inf", "PUT"] == 4
        assert 0 < after["tricord_request_seconds_sum", SEND, "PUT"] < 60
        assert after["tricord_events_total",] - before["tricord_events_total",] == 3
        assert after["tricord_commits_total",] > before["tricord_commits_total",]
        assert after["tricord_position",] > before["tricord_position",]
        assert after["tricord_connections",] >= 1
        assert after["tricord_outboxes_waiting",] == 0
        assert after["tricord_database_connections_idle",] >= 1
        assert after["process_resident_memory_bytes",] > 10_000_000
        # Nobody is named.
        assert not [name for name in after if room_id in name or alice.user_id in name]


async def test_requests_over_a_websocket_count_too(database_url: str, tmp_path: Path) -> None:
    settings = settings_for(database_url, tmp_path, metrics={"bind": "127.0.0.1:0"})
    async with open_homeserver(settings) as homeserver, Client(homeserver.urls[0]) as alice:
        session = await alice.register("alice", PASSWORD)
        async with open_websocket_url(homeserver.urls[0].replace("http", "ws", 1) + PATH) as socket:
            for message in (
                {"type": "sign_in", "access_token": session.access_token},
                {"type": "request", "id": 1, "method": "GET", "path": "/_matrix/client/v3/joined_rooms", "body": {}},
            ):
                await socket.send_message(orjson.dumps(message).decode())
            with trio.fail_after(60):
                while '"response"' not in (answer := await socket.get_message()):
                    pass
        assert orjson.loads(answer)["status"] == 200
        assert (await told(homeserver))["tricord_requests_total", "/_matrix/client/v3/joined_rooms", "GET", "200"] == 1


async def test_figures_are_told_at_their_own_address_only(database_url: str, tmp_path: Path) -> None:
    settings = settings_for(database_url, tmp_path, metrics={"bind": "127.0.0.1:0"})
    async with open_homeserver(settings) as homeserver, httpx.AsyncClient() as anybody:
        assert (await anybody.get(f"{homeserver.urls[0]}/metrics")).status_code == 404
        assert (await anybody.get(f"{homeserver.metrics_url}/_matrix/client/versions")).status_code == 404


@pytest.mark.parametrize(
    ("bind", "place", "address"),
    [
        ("127.0.0.1:9100", 0, "127.0.0.1:9100"),
        ("127.0.0.1:9100", 3, "127.0.0.1:9103"),
        ("[::]:9100", 1, "[::]:9101"),
        ("127.0.0.1:0", 1, "127.0.0.1:0"),
    ],
)
def test_each_process_has_an_address_of_its_own(bind: str, place: int, address: str) -> None:
    assert address_of(bind, place) == address


async def test_where_nobody_asks_for_figures_there_are_none(database_url: str, tmp_path: Path) -> None:
    async with open_homeserver(settings_for(database_url, tmp_path)) as homeserver:
        assert homeserver.metrics_url == ""
