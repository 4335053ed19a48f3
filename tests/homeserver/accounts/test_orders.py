"""Who changes something of an account locks the account first, and the stream last: none waits in a circle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.homeserver.storage.watching import becomes, watching
from tricord.homeserver.accounts.deactivation import Deactivation
from tricord.homeserver.accounts.sessions import NewSession, Sessions
from tricord.homeserver.encryption.key_signatures import put_signatures
from tricord.homeserver.storage.account_data import account_data_of_account, delete_account_data, put_account_data
from tricord.homeserver.storage.accounts import locked_account
from tricord.homeserver.storage.cross_signing import KeySignature, delete_identity
from tricord.homeserver.storage.database import Database
from tricord.protocol.identifiers import UserId

Act = Callable[[Database, Sessions, NewSession], Awaitable[object]]


async def account_data(database: Database, _: Sessions, session: NewSession) -> None:
    assert await database.run_one(put_account_data, session.user_id, None, "m.direct", b"[]")


async def own_signatures(database: Database, _: Sessions, session: NewSession) -> None:
    signature = KeySignature(session.user_id, "PHONE", session.user_id, "ed25519:master", "c2ln")
    await database.run(put_signatures, session.user_id, [signature], {session.device_id})


async def signatures_on_others(database: Database, _: Sessions, session: NewSession) -> None:
    signature = KeySignature(UserId("@bob:hs.test"), "master", session.user_id, "ed25519:user", "c2ln")
    await database.run(put_signatures, session.user_id, [signature], set())


async def end_of_a_session(_: Database, sessions: Sessions, session: NewSession) -> None:
    await sessions.end(session.user_id, [session.device_id])


async def fresh_tokens(_: Database, sessions: Sessions, session: NewSession) -> None:
    await sessions.refresh(session.tokens.refresh_token or "")


@pytest.mark.parametrize(
    "act",
    [account_data, own_signatures, signatures_on_others, end_of_a_session, fresh_tokens],
    ids=lambda act: act.__name__,
)
async def test_who_waits_for_an_account_holds_nothing_that_its_end_needs(
    database: Database, database_url: str, sessions: Sessions, alice: UserId, act: Act
) -> None:
    session = await sessions.start(alice, device_id="PHONE", refreshable=True)
    for piece in (account_data, own_signatures, signatures_on_others):
        await piece(database, sessions, session)
    async with watching(database_url) as watcher, trio.open_nursery() as nursery, database.transaction() as tx:
        await locked_account(tx, alice)
        await delete_identity(tx, alice)
        await delete_account_data(tx, alice)
        await tx.execute("SELECT FROM sessions FOR UPDATE")
        nursery.start_soon(act, database, sessions, session)
        await becomes(watcher.waiting, 1)
        for table in ("account_data", "devices", "key_signatures", "token_pairs", "stream"):
            await tx.execute(f"SELECT FROM {table} FOR UPDATE NOWAIT")


async def test_nothing_is_kept_for_an_account_that_has_ended(
    database: Database, deactivation: Deactivation, alice: UserId
) -> None:
    await database.run_one(put_account_data, alice, None, "m.direct", b"{}")
    await deactivation.deactivate(alice)
    assert await database.run_one(put_account_data, alice, None, "m.direct", b"{}") is None
    assert await database.read(account_data_of_account, alice, upto=2**60) == []
