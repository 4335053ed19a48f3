"""A homeserver without a socket, made of the real parts; it can be closed, and another one opened on its database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from tests.homeserver.room_parts import HERE, RoomParts
from tests.homeserver.sync.people import Follower
from tricord.clients.api.sliding_sync import SlidingSync
from tricord.clients.api.sync import Sync
from tricord.homeserver.accounts.account_data import AccountData
from tricord.homeserver.accounts.moving_in import CarriedOver
from tricord.homeserver.accounts.presence import Presences
from tricord.homeserver.accounts.revocations import Revocations
from tricord.homeserver.client_api.account_data import AccountDataApi
from tricord.homeserver.client_api.presence import PresenceApi
from tricord.homeserver.client_api.push_rules import PushRulesApi
from tricord.homeserver.client_api.receipts import ReceiptsApi
from tricord.homeserver.client_api.room_upgrades import RoomUpgradesApi
from tricord.homeserver.client_api.sliding_sync import SlidingSyncApi
from tricord.homeserver.client_api.sync import SyncApi
from tricord.homeserver.client_api.typing import TypingApi
from tricord.homeserver.encryption.device_changes import DeviceChanges
from tricord.homeserver.encryption.device_keys import DeviceKeys
from tricord.homeserver.encryption.device_lists import DeviceLists
from tricord.homeserver.encryption.inboxes import Inboxes
from tricord.homeserver.push.counts import NotificationCounts
from tricord.homeserver.push.rules import PushRules
from tricord.homeserver.rooms.read_markers import ReadMarkers
from tricord.homeserver.rooms.receipts import Receipts
from tricord.homeserver.rooms.typing import Typing
from tricord.homeserver.rooms.upgrade import RoomUpgrade
from tricord.homeserver.serving.call import Requester, Route
from tricord.homeserver.serving.dispatch import Dispatcher
from tricord.homeserver.storage.accounts import insert_account
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.stream import current_position
from tricord.homeserver.sync.engine import SyncEngine
from tricord.homeserver.sync.filters import SyncFilters
from tricord.homeserver.sync.initial import InitialSyncs
from tricord.homeserver.sync.planner import Planner
from tricord.homeserver.sync.room_reads import UnreadableRooms
from tricord.homeserver.sync.sections.account_data import AccountDataSection
from tricord.homeserver.sync.sections.devices import DevicesSection
from tricord.homeserver.sync.sections.invites import InviteSection
from tricord.homeserver.sync.sections.members import LazyMembers
from tricord.homeserver.sync.sections.presence import PresenceSection
from tricord.homeserver.sync.sections.summary import SummarySection
from tricord.homeserver.sync.sliding.activity import RoomActivity
from tricord.homeserver.sync.sliding.connections import Connections
from tricord.homeserver.sync.sliding.devices import SlidingDevices
from tricord.homeserver.sync.sliding.engine import SlidingEngine
from tricord.homeserver.sync.sliding.extensions import ExtensionReader
from tricord.homeserver.sync.sliding.lists import RoomLists
from tricord.homeserver.sync.sliding.own_rooms import RoomsOfUsers
from tricord.homeserver.sync.sliding.rooms import RoomReader
from tricord.homeserver.sync.sliding.told_members import ToldMembers
from tricord.homeserver.sync.teller import RoomTeller
from tricord.homeserver.sync.websocket import WebSocketSync
from tricord.homeserver.sync.windows import Windows
from tricord.protocol.identifiers import DeviceId, RoomId, UserId
from tricord.protocol.strict_json import JsonObject

# Whoever sets account data needs an account.
_WITH_ACCOUNTS = ("alice", "bob", "carol")


class SyncWithoutSocket(Sync):
    """Answered also where there is no connection that could go away."""

    cancel_on_disconnect = False


class SlidingSyncWithoutSocket(SlidingSync):
    """The same."""

    cancel_on_disconnect = False


class Inhabitants:
    """Who is here. They have no profiles, and who knows the number of a session is believed."""

    def __init__(self) -> None:
        self.sessions: dict[str, Requester] = {}

    async def member_profile(self, _user_id: UserId) -> JsonObject:
        return {}

    async def authenticate(
        self,
        token: str,
        *,
        client_address: str,  # noqa: ARG002
        user_agent: str,  # noqa: ARG002
        locked_users_too: bool = False,  # noqa: ARG002
    ) -> Requester:
        return self.sessions[token]


@dataclass(frozen=True)
class SyncServer:
    """What people are served by."""

    dispatcher: Dispatcher
    engine: SyncEngine
    filters: SyncFilters
    account_data: AccountData
    websocket: WebSocketSync
    inhabitants: Inhabitants

    def person(self, name: str) -> Follower:
        """Return somebody, on a new device."""
        session = len(self.inhabitants.sessions) + 1
        user_id = UserId(f"@{name}:{HERE}")

        async def set_profile(**_profile: Any) -> None:
            raise NotImplementedError

        requester = Requester(user_id, DeviceId(f"D{session}"), session, is_guest=False, is_admin=False)
        self.inhabitants.sessions[str(session)] = requester
        return Follower(
            requester,
            self.dispatcher,
            partial(self.account_data.set, user_id, None),
            set_profile,
            engine=self.engine,
            filters=self.filters,
        )

    def take_over(self, person: Follower) -> None:
        """Serve somebody whom another server served before."""
        self.inhabitants.sessions[str(person.requester.session_id)] = person.requester
        person.dispatcher, person.engine, person.filters = self.dispatcher, self.engine, self.filters
        person.set_account_data = partial(self.account_data.set, person.user_id, None)


@asynccontextmanager
async def sync_server(database: Database) -> AsyncIterator[SyncServer]:
    """Open a server on a database, which may be that of another one before it."""
    for name in _WITH_ACCOUNTS:
        await database.run(insert_account, UserId(f"@{name}:{HERE}"), None, 0, is_admin=False, user_type=None)
    inhabitants = Inhabitants()
    parts = RoomParts(database, await database.read(current_position), inhabitants)
    clock, publisher, changes, preferences = parts.clock, parts.publisher, parts.changes, parts.preferences
    state, timeline, memberships, partial_rooms = parts.state, parts.timeline, parts.memberships, parts.partial_rooms
    push_rules = PushRules(database, publisher)
    account_data = AccountData(database, publisher, memberships, push_rules.content)
    upgrade = RoomUpgrade(
        database,
        parts.log,
        state,
        timeline,
        memberships,
        inhabitants,
        CarriedOver(state, memberships, account_data, push_rules),
        partial_rooms,
        clock,
        HERE,
    )
    receipts = Receipts(database, publisher)
    typing = Typing(database, publisher, clock)
    presences = Presences(database, publisher, memberships, clock)
    apis = (
        RoomUpgradesApi(upgrade),
        AccountDataApi(account_data),
        TypingApi(typing, memberships),
        ReceiptsApi(ReadMarkers(receipts, timeline, memberships, account_data, clock)),
        PresenceApi(presences),
        PushRulesApi(push_rules),
    )
    windows = Windows(database, timeline, state, changes)
    account_data_section, invites = (
        AccountDataSection(database, push_rules),
        InviteSection(timeline, state, preferences),
    )
    summaries = SummarySection(memberships, state)
    counts = NotificationCounts(database, timeline, state, memberships, push_rules, changes, preferences)
    activity = RoomActivity(database, publisher)
    inboxes = Inboxes(database, changes)
    keys = DeviceKeys(database, publisher, DeviceChanges(HERE, publisher, memberships))
    devices = DevicesSection(keys, inboxes, DeviceLists(database, timeline), memberships, publisher, changes)
    unreadable = UnreadableRooms()
    engine = SyncEngine(
        database,
        publisher,
        changes,
        memberships,
        Planner(timeline, state, memberships, partial_rooms, windows),
        RoomTeller(
            database,
            memberships,
            parts.visibility,
            preferences,
            windows,
            invites,
            LazyMembers(state),
            summaries,
            counts,
            parts.aggregations,
            parts.unanswered,
            clock,
        ),
        unreadable,
        account_data_section,
        PresenceSection(database, memberships, preferences, clock, enabled=True),
        devices,
    )
    sliding = SlidingEngine(
        engine,
        publisher,
        changes,
        memberships,
        partial_rooms,
        windows,
        account_data_section,
        preferences,
        Connections(database),
        RoomsOfUsers(database, publisher, changes, memberships, timeline, state, invites),
        RoomLists(activity, state),
        RoomReader(
            timeline,
            state,
            parts.visibility,
            windows,
            summaries,
            counts,
            activity,
            ToldMembers(),
            parts.aggregations,
            parts.unanswered,
            clock,
        ),
        unreadable,
        ExtensionReader(
            database,
            windows,
            account_data_section,
            SlidingDevices(inboxes, devices),
            parts.thread_updates,
        ),
    )
    routes = [*parts.routes, *(route for api in apis for route in api.routes())]
    routes.append(Route(SlidingSyncWithoutSocket, SlidingSyncApi(sliding, presences).sync))
    filters = SyncFilters(database)

    async def published() -> frozenset[RoomId]:
        return frozenset()

    initial_syncs = InitialSyncs(engine, filters, memberships, timeline, parts.client_events, published)
    routes.append(Route(SyncWithoutSocket, SyncApi(engine, filters, presences, initial_syncs).sync))
    dispatcher = Dispatcher(routes, inhabitants)
    websocket = WebSocketSync(engine, filters, presences, inhabitants, Revocations(database), dispatcher, publisher)
    async with trio.open_nursery() as nursery:
        parts.start(nursery)
        for run in (typing.run, presences.run):
            nursery.start_soon(run)
        yield SyncServer(dispatcher, engine, filters, account_data, websocket, inhabitants)
        nursery.cancel_scope.cancel()
