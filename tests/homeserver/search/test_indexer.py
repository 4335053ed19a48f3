"""The search index is kept behind the log, by whichever process comes first, and loses nothing."""

from __future__ import annotations

import trio

from tests.homeserver.rooms.house import House, opened_house
from tricord.homeserver.search.indexer import SearchIndexer
from tricord.homeserver.search.stems import Stems
from tricord.homeserver.storage.database import Transaction
from tricord.protocol.identifiers import RoomId


def indexer_of(house: House) -> SearchIndexer:
    return SearchIndexer(house.database, house.publisher, Stems())


async def count(house: House) -> int:
    async def read(tx: Transaction) -> int:
        found: int = await tx.fetchval("SELECT count(*) FROM search_index")
        return found

    return await house.database.read(read)


async def say_many(house: House, room_id: RoomId, number: int) -> None:
    async with trio.open_nursery() as nursery:
        for one in range(number):
            nursery.start_soon(house.say, room_id, f"text {one}")


async def test_all_that_was_said_is_indexed(database_url: str) -> None:
    async with opened_house(database_url) as house:
        indexer = indexer_of(house)
        room_id = await house.create()
        await say_many(house, room_id, 250)
        await indexer.catch_up()
        assert await count(house) == 250
        await house.say(room_id, "one more")
        await indexer.catch_up()
        assert await count(house) == 251


async def test_processes_index_together(database_url: str) -> None:
    async with opened_house(database_url) as one, opened_house(database_url) as other:
        indexers = [indexer_of(one), indexer_of(other)]
        room_id = await one.create()
        await say_many(one, room_id, 150)
        await say_many(other, room_id, 150)
        with trio.fail_after(60):
            while other.publisher.position < one.publisher.position:  # noqa: ASYNC110
                await trio.sleep(0.01)
            async with trio.open_nursery() as nursery:
                for indexer in indexers:
                    nursery.start_soon(indexer.catch_up)
        assert await count(one) == 300


async def test_what_is_for_another_process_to_index_is_left_to_it(database_url: str) -> None:
    asked = trio.Event()
    is_ours = False

    def is_ours_now() -> bool:
        asked.set()
        return is_ours

    async with opened_house(database_url) as house, trio.open_nursery() as nursery:
        room_id = await house.create()
        await house.say(room_id, "said while another process is there")
        indexer = SearchIndexer(house.database, house.publisher, Stems(), is_ours=is_ours_now)
        nursery.start_soon(indexer.run)
        with trio.fail_after(60):
            await asked.wait()
            assert await count(house) == 0
            is_ours = True
            await house.say(room_id, "said when it has gone")
            while await count(house) < 2:  # noqa: ASYNC110
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_a_restart_goes_on_where_the_last_one_ended(database_url: str) -> None:
    async with opened_house(database_url) as house:
        room_id = await house.create()
        await say_many(house, room_id, 120)
        await indexer_of(house).catch_up()
        await say_many(house, room_id, 120)
    async with opened_house(database_url) as house, trio.open_nursery() as nursery:
        nursery.start_soon(indexer_of(house).run)
        with trio.fail_after(60):
            while await count(house) < 240:  # noqa: ASYNC110
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_history_that_is_fetched_later_is_indexed_too(database_url: str) -> None:
    async with opened_house(database_url) as house:
        indexer = indexer_of(house)
        room_id = await house.create()
        said = await house.say(room_id, "long ago")
        await indexer.catch_up()

        async def fetched_later(tx: Transaction) -> None:
            await tx.execute("DELETE FROM search_index")
            await tx.execute("INSERT INTO search_queue (event_nid) VALUES ($1)", said.nid)

        await house.database.run(fetched_later)
        await house.say(room_id, "now")
        await indexer.catch_up()
        assert await count(house) == 2
