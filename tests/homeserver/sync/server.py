"""A homeserver without a socket, made of the real parts; it can be closed, and another one opened on its database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio

from tests.homeserver.sync.people import Follower
from tricord.clients.api.sliding_sync import SlidingSync
from tricord.clients.api.sync import Sync
from tricord.homeserver.accounts.account_data import AccountData
from tricord.homeserver.accounts.moving_in import CarriedOver
from tricord.homeserver.accounts.presence import Presences
from tricord.homeserver.accounts.revocations import Revocations
from tricord.homeserver.client_api.account_data import AccountDataApi
from tricord.homeserver.client_api.membership import MembershipApi
from tricord.homeserver.client_api.messages import MessagesApi
from tricord.homeserver.client_api.presence import PresenceApi
from tricord.homeserver.client_api.push_rules import PushRulesApi
from tricord.homeserver.client_api.receipts import ReceiptsApi
from tricord.homeserver.client_api.relations import RelationsApi
from tricord.homeserver.client_api.room_creation import RoomCreationApi
from tricord.homeserver.client_api.room_upgrades import RoomUpgradesApi
from tricord.homeserver.client_api.rooms import RoomsApi
from tricord.homeserver.client_api.sliding_sync import SlidingSyncApi
from tricord.homeserver.client_api.sync import SyncApi
from tricord.homeserver.client_api.threads import ThreadsApi
from tricord.homeserver.client_api.typing import TypingApi
from tricord.homeserver.clock import SystemClock
from tricord.homeserver.encryption.device_changes import DeviceChanges
from tricord.homeserver.encryption.device_keys import DeviceKeys
from tricord.homeserver.encryption.device_lists import DeviceLists
from tricord.homeserver.encryption.inboxes import Inboxes
from tricord.homeserver.push.counts import NotificationCounts
from tricord.homeserver.push.rules import PushRules
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
from tricord.homeserver.rooms.read_markers import ReadMarkers
from tricord.homeserver.rooms.receipts import Receipts
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
from tricord.homeserver.rooms.typing import Typing
from tricord.homeserver.rooms.unanswered import Unanswered
from tricord.homeserver.rooms.upgrade import RoomUpgrade
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.serving.call import Requester, Route
from tricord.homeserver.serving.dispatch import Dispatcher
from tricord.homeserver.storage.accounts import insert_account
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.stream import current_position
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.recent_changes import RecentChanges
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
from tricord.protocol.identifiers import DeviceId, RoomId, ServerName, UserId
from tricord.protocol.signing import SigningKey
from tricord.protocol.strict_json import JsonObject

HERE = ServerName("hs.test")
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
    clock, inhabitants = SystemClock(), Inhabitants()
    publisher = Publisher(database, await database.read(current_position))
    changes = RecentChanges(publisher)
    cached_rooms, nodes = CachedRooms(database, publisher), NodeCache(database)
    state = RoomState(database, cached_rooms, nodes)
    timeline = Timeline(database, cached_rooms)
    memberships = Memberships(database, publisher)
    partial_rooms = PartialRooms(database)
    signer = Signer(HERE, SigningKey.generate(), clock)
    committer = Committer(database, publisher, cached_rooms, nodes, memberships, signer)
    log = Log(database, cached_rooms, committer, signer)
    preferences = Preferences(database, publisher)
    visibility = Visibility(state, timeline, memberships, preferences)
    aggregations = Aggregations(database, timeline, visibility, preferences)
    client_events = ClientEvents(timeline, aggregations, clock)
    invitations = Invitations(HERE, preferences)
    moves = MembershipChanges(
        log,
        state,
        memberships,
        invitations,
        RestrictedJoins(memberships, HERE),
        inhabitants,
        Residence(HERE, memberships, state, partial_rooms),
        partial_rooms,
    )
    aliases = Aliases(database, log, state, memberships, visibility, clock, HERE)
    directory = Directory(database, state, memberships, clock, HERE)
    creation = RoomCreation(log, aliases, directory, invitations, inhabitants, clock, default_version="12")
    sending = Sending(log, state, timeline, moves, aliases, RelationChecks(timeline, memberships))
    delayed = DelayedEvents(database, sending, memberships, clock, DelayedEventSettings())
    push_rules = PushRules(database, publisher)
    account_data = AccountData(database, publisher, memberships, push_rules.content)
    upgrade = RoomUpgrade(
        database,
        log,
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
    thread_updates = ThreadUpdates(database, timeline, visibility, preferences, aggregations, clock)
    unanswered = Unanswered(clock, elsewhere=False)
    apis = (
        RoomCreationApi(creation),
        RoomUpgradesApi(upgrade),
        MembershipApi(moves, memberships, aliases),
        RoomsApi(sending, delayed, StateView(state, timeline, visibility, client_events, partial_rooms)),
        MessagesApi(sending, delayed, History(state, timeline, visibility, client_events, publisher), unanswered),
        RelationsApi(Relations(database, timeline, visibility, client_events)),
        ThreadsApi(
            ThreadList(database, timeline, visibility, preferences, aggregations, client_events),
            thread_updates,
            memberships,
        ),
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
    keys = DeviceKeys(database, publisher, DeviceChanges(ServerName("hs.test"), publisher, memberships))
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
            visibility,
            preferences,
            windows,
            invites,
            LazyMembers(state),
            summaries,
            counts,
            aggregations,
            unanswered,
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
            visibility,
            windows,
            summaries,
            counts,
            activity,
            ToldMembers(),
            aggregations,
            unanswered,
            clock,
        ),
        unreadable,
        ExtensionReader(
            database,
            windows,
            account_data_section,
            SlidingDevices(inboxes, devices),
            thread_updates,
        ),
    )
    routes = [route for api in apis for route in api.routes()]
    routes.append(Route(SlidingSyncWithoutSocket, SlidingSyncApi(sliding, presences).sync))
    filters = SyncFilters(database)

    async def published() -> frozenset[RoomId]:
        return frozenset()

    initial_syncs = InitialSyncs(engine, filters, memberships, timeline, client_events, published)
    routes.append(Route(SyncWithoutSocket, SyncApi(engine, filters, presences, initial_syncs).sync))
    dispatcher = Dispatcher(routes, inhabitants)
    websocket = WebSocketSync(engine, filters, presences, inhabitants, Revocations(database), dispatcher, publisher)
    async with trio.open_nursery() as nursery:
        for run in (log.run, publisher.run, typing.run, presences.run):
            nursery.start_soon(run)
        yield SyncServer(dispatcher, engine, filters, account_data, websocket, inhabitants)
        nursery.cancel_scope.cancel()
