"""Puts the homeserver together: the only file that knows all the parts, in the order in which they need each other."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import trio

from tricord.clients.api.websocket import PATH as WEBSOCKET_PATH
from tricord.federation.calls import Peers
from tricord.federation.client import FederationClient
from tricord.federation.health import PeerHealth
from tricord.federation.https import HttpsTransport
from tricord.federation.keys import KeyRing
from tricord.federation.request_auth import RequestAuthenticator
from tricord.federation.transport import NoNetwork, Transport
from tricord.homeserver.accounts.account_data import AccountData
from tricord.homeserver.accounts.administration import Administration
from tricord.homeserver.accounts.deactivation import Deactivation
from tricord.homeserver.accounts.devices import Devices
from tricord.homeserver.accounts.endpoint_limits import EndpointLimits
from tricord.homeserver.accounts.filters import Filters
from tricord.homeserver.accounts.interactive_auth import InteractiveAuth
from tricord.homeserver.accounts.login import LoginTokens, PasswordLogin
from tricord.homeserver.accounts.password_change import PasswordChange
from tricord.homeserver.accounts.passwords import HashCost, Passwords
from tricord.homeserver.accounts.presence import Presences
from tricord.homeserver.accounts.profiles import Profiles
from tricord.homeserver.accounts.rate_limits import LoginLimits, RegistrationLimits
from tricord.homeserver.accounts.registration import Registration, SharedSecret
from tricord.homeserver.accounts.remote_presence import RemotePresences
from tricord.homeserver.accounts.requesters import Requesters
from tricord.homeserver.accounts.revocations import Revocations
from tricord.homeserver.accounts.room_updates import RoomUpdates
from tricord.homeserver.accounts.sessions import Sessions
from tricord.homeserver.accounts.sightings import Sightings
from tricord.homeserver.accounts.stages import Stages, terms_params
from tricord.homeserver.accounts.user_rooms import UserRooms
from tricord.homeserver.client_api.account import AccountApi
from tricord.homeserver.client_api.account_data import AccountDataApi
from tricord.homeserver.client_api.devices import DevicesApi
from tricord.homeserver.client_api.directory import DirectoryApi
from tricord.homeserver.client_api.fallback_page import FallbackPageApi
from tricord.homeserver.client_api.filters import FiltersApi
from tricord.homeserver.client_api.login import LoginApi
from tricord.homeserver.client_api.membership import MembershipApi
from tricord.homeserver.client_api.messages import MessagesApi
from tricord.homeserver.client_api.presence import PresenceApi
from tricord.homeserver.client_api.profile import ProfileApi
from tricord.homeserver.client_api.push_rules import PushRulesApi
from tricord.homeserver.client_api.receipts import ReceiptsApi
from tricord.homeserver.client_api.registration import RegistrationApi
from tricord.homeserver.client_api.relations import RelationsApi
from tricord.homeserver.client_api.room_creation import RoomCreationApi
from tricord.homeserver.client_api.rooms import RoomsApi
from tricord.homeserver.client_api.server_info import ServerInfoApi, client_well_known
from tricord.homeserver.client_api.synapse_admin import SynapseAdminApi
from tricord.homeserver.client_api.sync import SyncApi
from tricord.homeserver.client_api.typing import TypingApi
from tricord.homeserver.clock import Clock, SystemClock
from tricord.homeserver.federation_api.keys import KeysApi
from tricord.homeserver.federation_api.memberships import FederationMembershipsApi
from tricord.homeserver.federation_api.queries import FederationQueriesApi
from tricord.homeserver.federation_api.rooms import FederationRoomsApi
from tricord.homeserver.federation_api.transactions import TransactionsApi
from tricord.homeserver.peers.backfill import Backfill
from tricord.homeserver.peers.edus import Edus
from tricord.homeserver.peers.hosting import Hosting
from tricord.homeserver.peers.incoming import IncomingTransactions
from tricord.homeserver.peers.incoming_presence import IncomingPresence
from tricord.homeserver.peers.incoming_receipts import IncomingReceipts
from tricord.homeserver.peers.incoming_typing import IncomingTyping
from tricord.homeserver.peers.joining import RemoteJoins
from tricord.homeserver.peers.key_store import StoredKeys
from tricord.homeserver.peers.memberships import RemoteMemberships
from tricord.homeserver.peers.remote_queries import RemoteQueries
from tricord.homeserver.peers.room_servers import RoomServers
from tricord.homeserver.peers.sender import Sender
from tricord.homeserver.push.counts import NotificationCounts
from tricord.homeserver.push.rules import PushRules
from tricord.homeserver.rooms.aliases import Aliases
from tricord.homeserver.rooms.append import Log
from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.chain import Signer
from tricord.homeserver.rooms.client_events import ClientEvents
from tricord.homeserver.rooms.create import RoomCreation
from tricord.homeserver.rooms.directory import Directory
from tricord.homeserver.rooms.history import History
from tricord.homeserver.rooms.invite import Invitations
from tricord.homeserver.rooms.membership_changes import MembershipChanges
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.outliers import Outliers
from tricord.homeserver.rooms.outsiders import Outsiders
from tricord.homeserver.rooms.placement import Placement
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.read_markers import ReadMarkers
from tricord.homeserver.rooms.receipts import Receipts
from tricord.homeserver.rooms.receive import Receiver
from tricord.homeserver.rooms.relations import Relations
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.resolution import StateResolver
from tricord.homeserver.rooms.restricted_joins import RestrictedJoins
from tricord.homeserver.rooms.send import Sending
from tricord.homeserver.rooms.server_reads import ServerReads
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.state_view import StateView
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.typing import Typing
from tricord.homeserver.rooms.verification import Verifier
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.serving.asgi import Application
from tricord.homeserver.serving.call import PeerAuthenticator, Route, WebSocketRoute
from tricord.homeserver.serving.dispatch import Dispatcher
from tricord.homeserver.serving.health import HealthApi
from tricord.homeserver.serving.server import Listener, listening
from tricord.homeserver.settings import ListenerSettings, Settings
from tricord.homeserver.settings_sources import SettingsError
from tricord.homeserver.signing_key import load_or_create_signing_key
from tricord.homeserver.storage.database import Database, Transaction, open_database
from tricord.homeserver.storage.embedded import embedded_postgres
from tricord.homeserver.storage.migrations import migrate
from tricord.homeserver.storage.server_name import claim_server_name
from tricord.homeserver.storage.stream import current_position
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.homeserver.sync.engine import SyncEngine
from tricord.homeserver.sync.filters import SyncFilters
from tricord.homeserver.sync.sections.account_data import AccountDataSection
from tricord.homeserver.sync.sections.invites import InviteSection
from tricord.homeserver.sync.sections.members import LazyMembers
from tricord.homeserver.sync.sections.presence import PresenceSection
from tricord.homeserver.sync.sections.summary import SummarySection
from tricord.homeserver.sync.websocket import WebSocketSync
from tricord.homeserver.sync.windows import Windows
from tricord.protocol.events import Event
from tricord.protocol.identifiers import RoomId, ServerName
from tricord.protocol.signing import SigningKey

DRAIN_SECONDS = 8


@dataclass(frozen=True, slots=True)
class Homeserver:
    """A homeserver that runs and answers."""

    settings: Settings
    urls: list[str]
    """The base URL of each listener, in the order of the settings."""
    administration: Administration
    state: RoomState

    async def room_state(self, room_id: RoomId) -> list[Event]:
        """Return the state of a room as this server has it, for who runs it."""
        return [stored.event for stored in (await self.state.current_all(room_id)).values()]


@dataclass(frozen=True, slots=True)
class _Accounts:
    """The parts that accounts need even where no server runs, as on the command line."""

    revocations: Revocations
    passwords: Passwords
    registration: Registration
    sessions: Sessions
    password_change: PasswordChange
    deactivation: Deactivation
    administration: Administration


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the listeners and the nursery need of the parts."""

    health_routes: list[Route]
    client_routes: list[Route]
    federation_routes: list[Route]
    peer_authenticator: PeerAuthenticator
    websockets: list[WebSocketRoute]
    requesters: Requesters
    limits: EndpointLimits
    administration: Administration
    state: RoomState
    run: list[Callable[[], Awaitable[None]]]
    """The parts that live long, in the order in which they start."""


@contextlib.asynccontextmanager
async def opened_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database of the settings: the one at `database.url`, or the embedded one; with today's schema."""
    async with contextlib.AsyncExitStack() as stack:
        url = settings.database.url.get_secret_value()
        if not url:
            url = await stack.enter_async_context(embedded_postgres(settings.data_dir / "postgres"))
        await migrate(url)
        database = await stack.enter_async_context(open_database(url, connections=settings.database.connections))
        await database.run(claim_server_name, settings.server_name)
        yield database


@contextlib.asynccontextmanager
async def open_homeserver(
    settings: Settings,
    *,
    clock: Clock | None = None,
    password_cost: HashCost | None = None,
    everything_by_quart: bool = False,
    transport: Transport | None = None,
) -> AsyncIterator[Homeserver]:
    """Run a homeserver while inside the block, and drain it afterwards.

    Raises SettingsError, SigningKeyError, DatabaseError or CannotListen, with words for the operator. The last three
    arguments are for tests: cheap password hashes, the other way through the web framework, and another network between
    servers.
    """
    key = load_or_create_signing_key(settings.data_dir)
    async with opened_database(settings) as database, contextlib.AsyncExitStack() as stack:
        position = await database.read(current_position)
        publisher = Publisher(database, position)
        if transport is None:
            transport = await stack.enter_async_context(_network(settings))
        parts = _parts(settings, database, publisher, key, clock or SystemClock(), password_cost, transport)
        listeners = [_listener(each, parts, everything_by_quart) for each in settings.listeners]
        async with trio.open_nursery() as nursery:
            await nursery.start(database.run_listeners)
            for run in parts.run:
                nursery.start_soon(run)
            async with listening(listeners, drain_seconds=DRAIN_SECONDS) as urls:
                yield Homeserver(settings, urls, parts.administration, parts.state)
            nursery.cancel_scope.cancel()


def administration_of(settings: Settings, database: Database) -> Administration:
    """Return what an operator can do to the accounts of a database, without a server of this process."""
    # A server that runs looks for what its rooms must be told every minute.
    return _accounts(settings, database, SystemClock(), None, rooms_to_tell=lambda: None).administration


@contextlib.asynccontextmanager
async def _network(settings: Settings) -> AsyncIterator[Transport]:
    """Give the way to other servers, if this one meets any."""
    if not any("federation" in listener.serves for listener in settings.listeners):
        yield NoNetwork()
        return
    try:
        transport = HttpsTransport.on_this_machine(
            allowed_addresses=settings.federation.allowed_addresses,
            address_overrides=settings.federation.address_overrides,
            trusted_ca=settings.federation.trusted_ca,
        )
    except OSError as error:  # which ssl's errors are
        ca = settings.federation.trusted_ca
        raise SettingsError(f"federation.trusted_ca: {ca} holds no certificates: {error.strerror}") from error
    try:
        yield transport
    finally:
        await transport.aclose()


def _accounts(
    settings: Settings,
    database: Database,
    clock: Clock,
    password_cost: HashCost | None,
    rooms_to_tell: Callable[[], None],
) -> _Accounts:
    server_name = ServerName(settings.server_name)
    revocations = Revocations(database)
    passwords = Passwords(
        concurrent=settings.login.concurrent_password_checks,
        minimum_length=settings.registration.minimum_password_length,
        cost=password_cost,
    )
    registration = Registration(server_name, database, passwords, clock)
    sessions = Sessions(database, revocations, clock, settings.login)
    password_change = PasswordChange(database, passwords, sessions)
    deactivation = Deactivation(database, revocations, rooms_to_tell=rooms_to_tell)
    administration = Administration(
        server_name, database, registration, password_change, deactivation, revocations, clock
    )
    return _Accounts(revocations, passwords, registration, sessions, password_change, deactivation, administration)


def _listener(settings: ListenerSettings, parts: _Parts, everything_by_quart: bool) -> Listener:
    clients, servers = "client" in settings.serves, "federation" in settings.serves
    routes = [
        *parts.health_routes,
        *(parts.client_routes if clients else ()),
        *(parts.federation_routes if servers else ()),
    ]
    application = Application(
        Dispatcher(routes, parts.requesters, parts.limits, peers=parts.peer_authenticator),
        trusted_proxies=settings.trusted_proxies,
        everything_by_quart=everything_by_quart,
    )
    websockets = {route.path.encode(): route for route in parts.websockets} if clients else {}
    return Listener(settings.bind, application, websockets, settings.tls_certificate, settings.tls_key)


def _parts(
    settings: Settings,
    database: Database,
    publisher: Publisher,
    key: SigningKey,
    clock: Clock,
    password_cost: HashCost | None,
    transport: Transport,
) -> _Parts:
    server_name = ServerName(settings.server_name)
    signer = Signer(server_name, key, clock)

    # Other servers: asking them, and knowing who they are.
    health = PeerHealth()
    peers = Peers(FederationClient(transport, server_name, key, health))
    keys = KeyRing(server_name, key, peers, StoredKeys(database), clock.now_ms)
    verifier = Verifier(keys)
    remote_queries = RemoteQueries(peers)

    # Accounts: who is who, and who may come in.
    room_updates = RoomUpdates(database, clock)
    accounts = _accounts(settings, database, clock, password_cost, room_updates.wake)
    sightings = Sightings(database, clock)
    requesters = Requesters(database, accounts.revocations, sightings, clock)
    login_limits = LoginLimits(settings.rate_limits)
    registration_limits = RegistrationLimits(settings.rate_limits)
    password_login = PasswordLogin(server_name, database, accounts.passwords, login_limits)
    auth = InteractiveAuth(
        database,
        Stages(password_login, accounts.registration),
        clock,
        {"m.login.terms": terms_params(settings.registration.terms)},
    )
    profiles = Profiles(server_name, database, remote_queries, rooms_to_tell=room_updates.wake)

    # Rooms: the log, and what is read from it.
    cached_rooms = CachedRooms(database, publisher)
    nodes = NodeCache(database)
    changes = RecentChanges(publisher)
    state = RoomState(database, cached_rooms, nodes)
    timeline = Timeline(database, cached_rooms)
    memberships = Memberships(database, publisher)
    log = Log(database, publisher, cached_rooms, nodes, memberships, signer)
    preferences = Preferences(database)
    visibility = Visibility(state, timeline, memberships, preferences)
    client_events = ClientEvents(timeline, clock)
    invitations = Invitations(server_name, preferences)
    restricted_joins = RestrictedJoins(memberships, server_name)
    residence = Residence(server_name, memberships, state)

    # Rooms that are shared with other servers.
    outsiders = Outsiders(database, publisher, memberships)
    outliers = Outliers(database, nodes)
    resolver = StateResolver(database, nodes)
    placement = Placement(database, log, cached_rooms, nodes, resolver)
    receiver = Receiver(cached_rooms, outliers, placement, verifier, peers)
    server_reads = ServerReads(database, cached_rooms, nodes, state, timeline, memberships)
    elsewhere = RemoteMemberships(
        peers,
        RemoteJoins(database, peers, outliers, placement, verifier, residence, signer),
        log,
        placement,
        verifier,
        outsiders,
        memberships,
        state,
        timeline,
        signer,
    )
    hosting = Hosting(
        log,
        state,
        receiver,
        server_reads,
        residence,
        restricted_joins,
        invitations,
        outsiders,
        profiles,
        verifier,
        signer,
    )

    # What users do in rooms.
    membership_changes = MembershipChanges(
        log, state, memberships, invitations, restricted_joins, profiles, residence, elsewhere
    )
    aliases = Aliases(database, log, state, memberships, visibility, clock, server_name, remote_queries)
    directory = Directory(database, state, memberships, clock, server_name, remote_queries)
    creation = RoomCreation(
        log,
        aliases,
        directory,
        invitations,
        profiles,
        clock,
        default_version=settings.default_room_version,
        elsewhere=elsewhere,
    )
    sending = Sending(log, state, timeline, membership_changes, aliases)
    backfill = Backfill(database, cached_rooms, nodes, residence, peers, verifier, outliers, receiver, resolver)
    history = History(state, timeline, visibility, client_events, publisher, backfill)
    state_view = StateView(state, timeline, visibility, client_events)
    relations = Relations(database, timeline, visibility, client_events)
    user_rooms = UserRooms(memberships, state, log, membership_changes, profiles)

    # What passes, and what belongs to one user.
    push_rules = PushRules(database, publisher)
    account_data = AccountData(database, publisher, memberships, push_rules.content)
    receipts = Receipts(database, publisher)
    read_markers = ReadMarkers(receipts, timeline, memberships, account_data, clock)
    typing = Typing(database, publisher, clock)
    presences = Presences(database, publisher, memberships, clock, is_local=residence.is_local)
    remote_presences = RemotePresences(server_name, database, publisher, memberships, clock)

    # Sync: what changed between two positions.
    sync_filters = SyncFilters(database)
    engine = SyncEngine(
        database,
        publisher,
        changes,
        timeline,
        state,
        memberships,
        visibility,
        preferences,
        Windows(database, timeline, state, changes),
        AccountDataSection(database, push_rules),
        InviteSection(timeline, state),
        LazyMembers(state),
        PresenceSection(database, memberships, clock, enabled=True),
        SummarySection(memberships, state),
        NotificationCounts(database, timeline, state, memberships, push_rules, changes),
        clock,
    )

    apis = (
        ServerInfoApi(
            server_name,
            settings.default_room_version,
            settings.well_known,
            settings.login,
            unstable_features={"org.tricord.websocket": True},
        ),
        LoginApi(
            settings.login,
            password_login,
            LoginTokens(database, clock),
            login_limits,
            accounts.sessions,
            auth,
            client_well_known(server_name, settings.well_known),
        ),
        RegistrationApi(settings.registration, accounts.registration, auth, accounts.sessions, registration_limits),
        SynapseAdminApi(SharedSecret(settings.registration, clock), accounts.registration, accounts.sessions, profiles),
        FallbackPageApi(settings.registration, auth, registration_limits),
        AccountApi(auth, accounts.password_change, accounts.deactivation),
        DevicesApi(Devices(database), accounts.sessions, auth),
        ProfileApi(profiles),
        AccountDataApi(account_data),
        FiltersApi(Filters(database)),
        RoomCreationApi(creation),
        MembershipApi(membership_changes, memberships, aliases),
        RoomsApi(sending, state_view),
        MessagesApi(sending, history),
        RelationsApi(relations),
        DirectoryApi(aliases, directory),
        TypingApi(typing, memberships),
        ReceiptsApi(read_markers),
        PresenceApi(presences),
        PushRulesApi(push_rules),
        SyncApi(engine, sync_filters, presences),
    )
    routes = [route for api in apis for route in api.routes()]
    edus = Edus(
        {
            "m.typing": IncomingTyping(typing, memberships, server_reads).receive,
            "m.receipt": IncomingReceipts(receipts, timeline, memberships, server_reads, clock).receive,
            "m.presence": IncomingPresence(remote_presences, memberships, clock).receive,
        }
    )
    transactions = IncomingTransactions(
        database,
        cached_rooms,
        receiver,
        server_reads,
        residence,
        memberships,
        outsiders,
        verifier,
        edus,
        clock,
    )
    sender = Sender(
        server_name,
        database,
        publisher,
        RoomServers(database, publisher),
        memberships,
        peers,
        health,
        clock,
        sends_presence=settings.federation.presence,
    )
    federation_apis = (
        KeysApi(keys, server_name, clock),
        TransactionsApi(transactions),
        FederationMembershipsApi(hosting),
        FederationRoomsApi(server_reads, timeline, server_name, clock),
        FederationQueriesApi(aliases, profiles, directory),
    )
    # The WebSocket answers requests as HTTP does.
    limits = EndpointLimits(settings.rate_limits)
    websocket = WebSocketSync(
        engine, sync_filters, presences, requesters, accounts.revocations, Dispatcher(routes, requesters, limits)
    )

    async def tell_rooms() -> None:
        await room_updates.run(user_rooms)

    return _Parts(
        health_routes=HealthApi(lambda: database.read(_answers)).routes(),
        client_routes=routes,
        federation_routes=[route for api in federation_apis for route in api.routes()],
        peer_authenticator=RequestAuthenticator(server_name, keys, health, clock),
        websockets=[WebSocketRoute(WEBSOCKET_PATH, websocket.serve)],
        requesters=requesters,
        limits=limits,
        administration=accounts.administration,
        state=state,
        run=[
            publisher.run,
            log.run,
            sightings.run,
            tell_rooms,
            typing.run,
            presences.run,
            remote_presences.run,
            transactions.run,
            sender.run,
        ],
    )


async def _answers(tx: Transaction) -> None:
    await tx.fetchval("SELECT 1")
