"""What a database says of itself."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from tests.homeserver.storage.limits import role_limited_to
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.errors import DatabaseError, DatabaseUnavailable
from tricord.homeserver.storage.inspection import inspect_database


async def test_a_database_tells_its_version_its_settings_and_its_time(database_url: str) -> None:
    seen = await inspect_database(database_url)
    assert seen.major >= 14
    assert seen.version.startswith(str(seen.major))
    assert seen.encoding == "UTF8"
    assert seen.synchronous_commit
    assert abs(seen.clock_ahead_seconds) < 5


async def test_a_database_tells_how_many_connections_it_allows(database: Database, database_url: str) -> None:
    async with database.transaction() as tx:
        allowed = int(await tx.fetchval("SHOW max_connections"))
    assert (await inspect_database(database_url)).connections == allowed
    async with role_limited_to(1000, database, database_url) as (url, limit):
        assert (await inspect_database(url)).connections < allowed, "some are kept for superusers"
        await limit(2)
        assert (await inspect_database(url)).connections == 2


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable):
        await inspect_database("postgresql://tricord@/tricord?host=/nowhere")
    with pytest.raises(DatabaseError):
        await inspect_database("postgresql://tricord@/tricord?port=none")


async def test_a_database_that_does_not_answer_is_given_up(autojump_clock: MockClock) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, silent, [listener])
        with pytest.raises(DatabaseUnavailable, match="did not answer within 10 s"):
            await inspect_database(f"postgresql://tricord@127.0.0.1:{port}/tricord")
        nursery.cancel_scope.cancel()
