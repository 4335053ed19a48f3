"""`/health` and `/ready`, with the database there, away, and silent."""

from __future__ import annotations

import trio

from tests.homeserver.serving.house import House, opened, request, wire
from tricord.homeserver.serving.health import HealthApi
from tricord.homeserver.storage.errors import DatabaseUnavailable

HEALTH = request("GET", "/health")
READY = request("GET", "/ready")


async def present() -> None:
    await trio.lowlevel.checkpoint()


async def away() -> None:
    raise DatabaseUnavailable("connection refused")


async def test_with_its_database_a_server_is_alive_and_ready(house: House, by_quart: bool) -> None:
    routes = HealthApi(present).routes()
    async with opened(house, everything_by_quart=by_quart, more_routes=routes) as address, wire(address) as client:
        assert (await client.ask(HEALTH)).status == 200
        reply = await client.ask(READY)
        assert (reply.status, reply.json) == (200, {"status": "ready"})


async def test_without_its_database_a_server_is_alive_and_not_ready(house: House, by_quart: bool) -> None:
    routes = HealthApi(away).routes()
    async with opened(house, everything_by_quart=by_quart, more_routes=routes) as address, wire(address) as client:
        assert (await client.ask(HEALTH)).json == {"status": "alive"}
        reply = await client.ask(READY)
        assert reply.status == 503
        assert "connection refused" in reply.json["reason"]


async def test_a_database_that_does_not_answer_is_not_waited_for(house: House) -> None:
    routes = HealthApi(trio.sleep_forever, patience_seconds=0.05).routes()
    async with opened(house, more_routes=routes) as address, wire(address) as client:
        reply = await client.ask(READY)
        assert reply.status == 503
        assert "did not answer" in reply.json["reason"]
        assert (await client.ask(HEALTH)).status == 200
