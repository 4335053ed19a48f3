"""The parts of a homeserver that rooms are made of, on a fresh database, and some people who use them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from tests.homeserver.client_api.account_server import (  # noqa: F401  # fixtures of the tests of accounts
    registration_settings,
    server,
    server_clock,
)
from tests.homeserver.client_api.people import Person
from tests.homeserver.room_parts import HERE, RoomParts
from tricord.homeserver.accounts.account_data import AccountData
from tricord.homeserver.client_api.search import SearchApi
from tricord.homeserver.search.indexer import SearchIndexer
from tricord.homeserver.search.search import Search
from tricord.homeserver.search.stems import Stems
from tricord.homeserver.serving.call import Requester, Route
from tricord.homeserver.serving.dispatch import Dispatcher
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.stream import current_position
from tricord.protocol.identifiers import DeviceId, UserId
from tricord.protocol.strict_json import JsonObject


class SetProfiles:
    """Profiles that tests set."""

    def __init__(self) -> None:
        self.profiles: dict[UserId, JsonObject] = {}

    async def member_profile(self, user_id: UserId) -> JsonObject:
        return self.profiles.get(user_id, {})


class NobodysTokens:
    """Knows no access token: the people here are who they say they are."""

    async def authenticate(
        self, token: str, *, client_address: str, user_agent: str, locked_users_too: bool = False
    ) -> Requester:
        raise NotImplementedError


async def _insert_account(tx: Transaction, user_id: UserId) -> None:
    await tx.execute("INSERT INTO accounts (user_id, created_ts) VALUES ($1, 0) ON CONFLICT DO NOTHING", user_id)


class Everybody:
    """Makes people."""

    def __init__(
        self, database: Database, routes: list[Route], account_data: AccountData, profiles: SetProfiles
    ) -> None:
        self.routes = routes
        self._database = database
        self._dispatcher = Dispatcher(routes, NobodysTokens())
        self._account_data = account_data
        self._profiles = profiles
        self._sessions = 0

    def person(self, name: str, *, is_guest: bool = False) -> Person:
        self._sessions += 1
        user_id = UserId(f"@{name}:{HERE}")

        async def set_account_data(data_type: str, content: dict[str, Any]) -> None:
            # Only who has an account here has data of it.
            await self._database.run(_insert_account, user_id)
            await self._account_data.set(user_id, None, data_type, content)

        async def set_profile(**profile: str) -> None:
            self._profiles.profiles[user_id] = profile

        requester = Requester(user_id, DeviceId("D"), self._sessions, is_guest, is_admin=False)
        return Person(requester, self._dispatcher, set_account_data, set_profile)


async def no_push_rules(_user_id: UserId) -> JsonObject:
    return {}


@pytest.fixture
async def everybody(database: Database) -> AsyncIterator[Everybody]:
    profiles, stems = SetProfiles(), Stems()
    parts = RoomParts(database, await database.read(current_position), profiles)
    publisher, memberships = parts.publisher, parts.memberships
    indexer = SearchIndexer(database, publisher, stems)
    search = Search(
        database,
        publisher,
        memberships,
        parts.state,
        parts.state_view,
        parts.visibility,
        parts.preferences,
        parts.aggregations,
        parts.client_events,
        indexer,
        stems,
    )
    account_data = AccountData(database, publisher, memberships, no_push_rules)
    async with trio.open_nursery() as nursery:
        parts.start(nursery)
        yield Everybody(database, [*parts.routes, *SearchApi(search).routes()], account_data, profiles)
        nursery.cancel_scope.cancel()


@pytest.fixture
def alice(everybody: Everybody) -> Person:
    return everybody.person("alice")


@pytest.fixture
def bob(everybody: Everybody) -> Person:
    return everybody.person("bob")


@pytest.fixture
def carol(everybody: Everybody) -> Person:
    return everybody.person("carol")


@pytest.fixture
def guest(everybody: Everybody) -> Person:
    return everybody.person("guest", is_guest=True)
