"""What processes on one database tell each other of their commits."""

from __future__ import annotations

import trio
import trio.testing

from tricord.homeserver.storage.database import Database, open_database
from tricord.homeserver.stream.publisher import Commit, Publisher
from tricord.protocol.identifiers import RoomId, UserId

ROOM, ALICE = RoomId("!r:hs"), UserId("@alice:hs")


async def test_a_process_that_ends_has_told_its_last_commits(database: Database, database_url: str) -> None:
    told: list[int] = []
    heard = trio.Event()

    def note(commit: Commit) -> None:
        told.append(commit.position)
        heard.set()

    staying = Publisher(database, 0)
    staying.observe(note, lambda _position: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(database.run_listeners)
        async with open_database(database_url) as elsewhere:
            leaving = Publisher(elsewhere, 0)
            with trio.CancelScope() as scope:
                # Nobody runs its `run` any more: that is how it is when it is cancelled right after a commit.
                leaving.publish(Commit(1, frozenset([ROOM]), frozenset([ALICE])))
                scope.cancel()
                await leaving.close()
        with trio.fail_after(30):
            await heard.wait()
        nursery.cancel_scope.cancel()
    assert told == [1]
    assert staying.position == 1


async def test_who_made_a_commit_goes_on_before_those_who_wait_for_it(database: Database) -> None:
    publisher = Publisher(database, 0)
    for position in range(1, 50):
        went_on: list[str] = []
        committed = trio.Event()

        async def ask(went_on: list[str] = went_on, committed: trio.Event = committed) -> None:
            await committed.wait()
            went_on.append("who asked")

        async def watch(went_on: list[str] = went_on) -> None:
            with publisher.subscribe(ALICE, []) as subscription:
                await subscription.wait()
            went_on.append("who waited")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(watch)
            await trio.testing.wait_all_tasks_blocked()
            publisher.publish(Commit(position, frozenset(), frozenset([ALICE])))
            committed.set()
        assert went_on == ["who asked", "who waited"]
