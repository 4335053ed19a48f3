"""Statements that write several rows come to them in one order, whatever they were given: none waits in a circle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import pytest
import trio

from tests.homeserver.storage.watching import becomes, watching
from tricord.homeserver.storage.cross_signing import KeySignature, delete_identity, put_key_signatures
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.devices import Sighting, record_sightings
from tricord.homeserver.storage.media import note_uses
from tricord.homeserver.storage.receipts import Receipt, move_receipts
from tricord.homeserver.storage.typing import change_typing, end_typing_until
from tricord.protocol.identifiers import DeviceId, EventId, RoomId, ServerName, UserId
from tricord.protocol.media import Mxc

ALICE = UserId("@alice:hs.test")
HERE = ServerName("hs.test")


async def sightings(tx: Transaction) -> None:
    await record_sightings(tx, [Sighting(ALICE, DeviceId(name), 5, "", "") for name in ("B", "A")])


async def uses(tx: Transaction) -> None:
    await note_uses(tx, {Mxc(HERE, name): 5 for name in ("B", "A")})


async def receipts(tx: Transaction) -> None:
    event_id = EventId("$event")
    await move_receipts(tx, [Receipt(RoomId(name), ALICE, "m.read", "", event_id, 5, 5, 0) for name in ("B", "A")])


async def typing(tx: Transaction) -> None:
    await change_typing(tx, [(RoomId(name), ALICE, 5) for name in ("B", "A")])


async def ends_of_typing(tx: Transaction) -> None:
    await end_typing_until(tx, 5)


async def typing_here_and_there(tx: Transaction) -> None:
    await change_typing(tx, [(RoomId("B"), ALICE, 5), (RoomId("A"), ALICE, None)])


async def signatures(tx: Transaction) -> None:
    await put_key_signatures(tx, [KeySignature(ALICE, name, ALICE, "ed25519:key", "c2ln") for name in ("B", "A")])


async def ends_of_signatures(tx: Transaction) -> None:
    await delete_identity(tx, ALICE)


TYPING = (
    "typing WHERE room_id = $1",
    "INSERT INTO typing (room_id, user_id, until_ts) VALUES ('B', $1, 0), ('A', $1, 0)",
)
SIGNATURES = (
    "key_signatures WHERE name = $1",
    (
        "INSERT INTO key_signatures (user_id, name, signer, key_id, signature, position) "
        "VALUES ($1, 'B', $1, 'ed25519:key', '', 0), ($1, 'A', $1, 'ed25519:key', '', 0)"
    ),
)

# The row of B, and how both are made, the other way round.
ROWS: Mapping[Callable[[Transaction], Awaitable[None]], tuple[str, str]] = {
    sightings: (
        "devices WHERE device_id = $1",
        "INSERT INTO devices (user_id, device_id, created_ts) VALUES ($1, 'B', 0), ($1, 'A', 0)",
    ),
    uses: (
        "media WHERE media_id = $1",
        (
            "INSERT INTO media (server_name, media_id, created_ts, last_used_ts, needs_token, uploader) "
            "VALUES ('hs.test', 'B', 0, 0, false, $1), ('hs.test', 'A', 0, 0, false, $1)"
        ),
    ),
    receipts: (
        "receipts WHERE room_id = $1",
        (
            "INSERT INTO receipts (room_id, user_id, receipt_type, thread_id, event_id, received_ts, position) "
            "VALUES ('B', $1, 'm.read', '', '$before', 0, 0), ('A', $1, 'm.read', '', '$before', 0, 0)"
        ),
    ),
    typing: TYPING,
    ends_of_typing: TYPING,
    typing_here_and_there: TYPING,
    signatures: SIGNATURES,
    ends_of_signatures: SIGNATURES,
}


@pytest.mark.parametrize("write", ROWS, ids=lambda write: write.__name__)
async def test_rows_are_written_in_one_order(
    database: Database, database_url: str, write: Callable[[Transaction], Awaitable[None]]
) -> None:
    row, insert = ROWS[write]
    async with database.transaction() as tx:
        if write is sightings:
            await tx.execute("INSERT INTO accounts (user_id, created_ts) VALUES ($1, 0)", ALICE)
        await tx.execute(insert, ALICE)
    async with watching(database_url) as watcher, trio.open_nursery() as nursery, database.transaction() as tx:
        await tx.execute(f"SELECT FROM {row} FOR UPDATE", "A")
        nursery.start_soon(database.run, write)
        await becomes(watcher.waiting, 1)
        assert await tx.fetch(f"SELECT FROM {row} FOR UPDATE SKIP LOCKED", "B")
