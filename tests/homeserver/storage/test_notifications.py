"""LISTEN and NOTIFY, through connections that break."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from tests.homeserver.storage.watching import Heard, becomes, watching
from tricord.homeserver.storage.database import Database


async def test_notifications_reach_all_who_listen(database: Database, nursery: trio.Nursery) -> None:
    heard = Heard()
    database.listen("news", heard.take)
    database.listen("news", heard.take_too)
    database.listen('Odd "channel"', heard.take)
    await nursery.start(database.run_listeners)
    await database.notify("news", "payload with ' and \\ and ü")
    await database.notify('Odd "channel"', "")
    await database.notify("elsewhere", "nobody hears this")
    await database.notify("news", "x" * 7999)
    await heard.holds("payload with ' and \\ and ü", "", "x" * 7999)
    assert heard.too == ["payload with ' and \\ and ü", "x" * 7999]


async def test_a_listening_backend_that_was_ended_is_replaced_and_the_gap_is_told(
    database: Database, database_url: str, nursery: trio.Nursery
) -> None:
    heard = Heard()
    database.listen("news", heard.take)
    await nursery.start(database.run_listeners)
    await database.notify("news", "before")
    await heard.holds("before")
    async with watching(database_url) as watcher:
        for gaps in (1, 2):
            await watcher.terminate_others()
            await heard.holds("before", *[""] * gaps)
    await database.notify("news", "after")
    await heard.holds("before", "", "", "after")


async def test_an_error_in_who_listens_is_raised_where_the_listeners_run(database: Database) -> None:
    def fail(payload: str) -> None:
        raise ZeroDivisionError(payload)

    database.listen("news", fail)
    with pytest.RaisesGroup(ZeroDivisionError):
        async with trio.open_nursery() as nursery:
            await nursery.start(database.run_listeners)
            await database.notify("news", "bad news")


async def test_listening_ends_with_its_task(database: Database, database_url: str) -> None:
    database.listen("news", print)
    async with watching(database_url) as watcher:
        async with trio.open_nursery() as nursery:
            await nursery.start(database.run_listeners)
            await becomes(partial(watcher.sessions, "idle"), 1)
            nursery.cancel_scope.cancel()
        await becomes(watcher.sessions, 0)
