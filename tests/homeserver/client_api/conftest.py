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
from tricord.homeserver.accounts.account_data import AccountData
from tricord.homeserver.client_api.directory import DirectoryApi
from tricord.homeserver.client_api.membership import MembershipApi
from tricord.homeserver.client_api.messages import MessagesApi
from tricord.homeserver.client_api.relations import RelationsApi
from tricord.homeserver.client_api.room_creation import RoomCreationApi
from tricord.homeserver.client_api.rooms import RoomsApi
from tricord.homeserver.client_api.search import SearchApi
from tricord.homeserver.client_api.threads import ThreadsApi
from tricord.homeserver.clock import SystemClock
from tricord.homeserver.rooms.aggregations import Aggregations
from tricord.homeserver.rooms.aliases import Aliases
from tricord.homeserver.rooms.append import Log
from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.chain import Signer
from tricord.homeserver.rooms.client_events import ClientEvents
from tricord.homeserver.rooms.commit import Committer
from tricord.homeserver.rooms.create import RoomCreation
from tricord.homeserver.rooms.delayed_events import DelayedEvents
from tricord.homeserver.rooms.delayed_settings import DelayedEventSettings
from tricord.homeserver.rooms.directory import Directory
from tricord.homeserver.rooms.history import History
from tricord.homeserver.rooms.invite import Invitations
from tricord.homeserver.rooms.membership_changes import MembershipChanges
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.relation_checks import RelationChecks
from tricord.homeserver.rooms.relations import Relations
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.restricted_joins import RestrictedJoins
from tricord.homeserver.rooms.send import Sending
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.state_view import StateView
from tricord.homeserver.rooms.thread_list import ThreadList
from tricord.homeserver.rooms.thread_updates import ThreadUpdates
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.unanswered import Unanswered
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.search.indexer import SearchIndexer
from tricord.homeserver.search.search import Search
from tricord.homeserver.search.stems import Stems
from tricord.homeserver.serving.call import Requester, Route
from tricord.homeserver.serving.dispatch import Dispatcher
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.stream import current_position
from tricord.homeserver.stream.publisher import Publisher
from tricord.protocol.identifiers import DeviceId, ServerName, UserId
from tricord.protocol.signing import SigningKey
from tricord.protocol.strict_json import JsonObject

HERE = ServerName("hs.test")


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
    clock, profiles = SystemClock(), SetProfiles()
    publisher = Publisher(database, await database.read(current_position))
    cached_rooms, nodes = CachedRooms(database, publisher), NodeCache(database)
    memberships = Memberships(database, publisher)
    partial_rooms = PartialRooms(database)
    signer = Signer(HERE, SigningKey.generate(), clock)
    committer = Committer(database, publisher, cached_rooms, nodes, memberships, signer)
    log = Log(database, cached_rooms, committer, signer)
    state = RoomState(database, cached_rooms, nodes)
    timeline = Timeline(database, cached_rooms)
    preferences = Preferences(database, publisher)
    visibility = Visibility(state, timeline, memberships, preferences)
    aggregations = Aggregations(database, timeline, visibility, preferences)
    client_events = ClientEvents(timeline, aggregations, clock)
    invitations = Invitations(HERE, preferences)
    changes = MembershipChanges(
        log,
        state,
        memberships,
        invitations,
        RestrictedJoins(memberships, HERE),
        profiles,
        Residence(HERE, memberships, state, partial_rooms),
        partial_rooms,
    )
    aliases = Aliases(database, log, state, memberships, visibility, clock, HERE)
    directory = Directory(database, state, memberships, clock, HERE)
    creation = RoomCreation(log, aliases, directory, invitations, profiles, clock, default_version="12")
    sending = Sending(log, state, timeline, changes, aliases, RelationChecks(timeline, memberships))
    delayed = DelayedEvents(database, sending, memberships, clock, DelayedEventSettings())
    stems, state_view = Stems(), StateView(state, timeline, visibility, client_events, partial_rooms)
    indexer = SearchIndexer(database, publisher, stems)
    search = Search(
        database,
        publisher,
        memberships,
        state,
        state_view,
        visibility,
        preferences,
        aggregations,
        client_events,
        indexer,
        stems,
    )
    apis = (
        SearchApi(search),
        RoomCreationApi(creation),
        MembershipApi(changes, memberships, aliases),
        RoomsApi(sending, delayed, state_view),
        MessagesApi(
            sending,
            delayed,
            History(state, timeline, visibility, client_events, publisher),
            Unanswered(clock, elsewhere=False),
        ),
        RelationsApi(Relations(database, timeline, visibility, client_events)),
        ThreadsApi(
            ThreadList(database, timeline, visibility, preferences, aggregations, client_events),
            ThreadUpdates(database, timeline, visibility, preferences, aggregations, clock),
            memberships,
        ),
        DirectoryApi(aliases, directory),
    )
    account_data = AccountData(database, publisher, memberships, no_push_rules)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run)
        nursery.start_soon(publisher.run)
        yield Everybody(database, [route for api in apis for route in api.routes()], account_data, profiles)
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
