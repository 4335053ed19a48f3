"""Puts the homeserver together: opens its departments in the order in which they need each other, and its listeners."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

import trio

from tricord.clients.api import websocket
from tricord.federation.transport import Outside, Transport
from tricord.homeserver.accounts.administration import Administration
from tricord.homeserver.accounts.passwords import HashCost
from tricord.homeserver.assembly.accounts import AccountBook, Accounts
from tricord.homeserver.assembly.conversation import Conversation
from tricord.homeserver.assembly.database import opened_database
from tricord.homeserver.assembly.discovery import Discovery
from tricord.homeserver.assembly.encryption import Encryption
from tricord.homeserver.assembly.exchange import Exchange
from tricord.homeserver.assembly.foundation import Common, Foundation, Run
from tricord.homeserver.assembly.measuring import metrics_if_wanted, telling
from tricord.homeserver.assembly.media import Media
from tricord.homeserver.assembly.moderation import Moderation
from tricord.homeserver.assembly.network import Network, open_transport, open_way_out
from tricord.homeserver.assembly.personal import Personal
from tricord.homeserver.assembly.push import Push
from tricord.homeserver.assembly.reading import Reading
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.assembly.searching import Searching
from tricord.homeserver.assembly.shared_rooms import SharedRooms
from tricord.homeserver.assembly.sync import Sync
from tricord.homeserver.assembly.upkeep import Upkeep
from tricord.homeserver.client_api.rtc import RtcApi
from tricord.homeserver.client_api.server_info import ServerInfoApi
from tricord.homeserver.clock import Clock, SystemClock
from tricord.homeserver.heap import give_back_memory
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.serving.application import Application
from tricord.homeserver.serving.call import LateRoutes, Route, WebSocketRoute
from tricord.homeserver.serving.dispatch import Dispatcher
from tricord.homeserver.serving.front_page import FrontPageApi
from tricord.homeserver.serving.health import HealthApi
from tricord.homeserver.serving.server import Listener, listening
from tricord.homeserver.settings import ListenerSettings, Settings
from tricord.homeserver.signing_key import (
    begin_with_signing_key,
    load_or_create_policy_key,
    load_or_create_signing_key,
    retired_signing_keys,
)
from tricord.homeserver.storage.database import Database, Transaction
from tricord.homeserver.storage.stream import current_position
from tricord.homeserver.stream.publisher import Publisher, announce_unknown_changes
from tricord.protocol.events import Event
from tricord.protocol.identifiers import RoomId, UserId

DRAIN_SECONDS = 8


@dataclass(frozen=True, slots=True)
class Homeserver:
    """A homeserver that runs and answers."""

    settings: Settings
    database: Database
    urls: list[str]
    """The base URL of each listener, in the order of the settings."""
    administration: Administration
    state: RoomState
    metrics_url: str = ""
    """Where figures are told; empty if they are not."""

    async def room_state(self, room_id: RoomId) -> list[Event]:
        """Return the state of a room as this server has it, for who runs it."""
        return [stored.event for stored in (await self.state.current_all(room_id)).values()]


class _House:
    """All departments of one homeserver."""

    def __init__(
        self, base: Foundation, transport: Transport, outside: Outside, password_cost: HashCost | None
    ) -> None:
        self.publisher, self.observe = base.publisher, base.observe
        self.network = Network(base, transport)
        self.rooms = Rooms(base, self.network)
        encryption = Encryption(base, self.network, self.rooms)
        self.accounts = Accounts(base, self.network, password_cost, encryption.device_changes.announce)
        shared = SharedRooms(base, self.network, self.rooms, self.accounts.profiles)
        personal = Personal(base, self.rooms)
        reading = Reading(base, self.rooms, shared)
        conversation = Conversation(base, self.network, self.accounts, self.rooms, shared, personal, reading, outside)
        discovery = Discovery(base, self.network, self.rooms, personal, reading, conversation)
        searching = Searching(base, self.rooms)
        moderation = Moderation(base, self.accounts, self.rooms, personal, conversation)
        push = Push(base, self.rooms, personal, outside)
        sync = Sync(base, self.accounts, self.rooms, personal, push, encryption)
        exchange = Exchange(
            base, self.network, self.rooms, shared, self.accounts, personal, conversation, discovery, encryption
        )
        self.exchange = exchange
        media = Media(base, self.network)
        upkeep = Upkeep(base, self.rooms)
        self.health_routes = HealthApi(lambda: base.database.read(_answers)).routes()
        self.client_routes: list[Route | LateRoutes] = [
            route
            for department in (
                FrontPageApi(base.server_name),
                _server_info(base, push),
                RtcApi(base.settings.rtc),
                self.accounts,
                reading,
                conversation,
                discovery,
                searching,
                moderation,
                personal,
                push,
                sync,
                media,
            )
            for route in department.routes()
        ]
        self.client_routes += encryption.routes(self.accounts.auth)
        self.websockets: list[WebSocketRoute] = sync.websockets(self.client_routes)
        self.federation_routes: list[Route] = [*exchange.routes(), *media.federation_routes()]
        departments = (
            self.rooms,
            self.accounts,
            conversation,
            discovery,
            searching,
            moderation,
            personal,
            push,
            encryption,
            exchange,
            media,
            upkeep,
        )
        let_go = [
            base.database.pool.let_go,
            *self.rooms.let_go,
            *self.accounts.let_go,
            *push.let_go,
            *sync.let_go,
            *media.let_go,
        ]
        self.run: list[Run] = [
            base.publisher.run,
            partial(give_back_memory, let_go),
            *(run for department in departments for run in department.run),
        ]


def _server_info(base: Foundation, push: Push) -> ServerInfoApi:
    settings = base.settings
    return ServerInfoApi(
        base.server_name,
        settings.default_room_version,
        settings.well_known,
        settings.login,
        policy_key=base.policy_key,
        rtc=settings.rtc,
        unstable_features={
            websocket.FEATURE: True,
            "org.matrix.simplified_msc3575": True,
            "org.matrix.msc3814": True,
            "org.matrix.msc4140": settings.delayed_events.longest_delay_seconds > 0,
        },
        web_push_key=push.web_push_key.public,
    )


@contextlib.asynccontextmanager
async def open_homeserver(
    settings: Settings,
    *,
    clock: Clock | None = None,
    password_cost: HashCost | None = None,
    everything_by_quart: bool = False,
    transport: Transport | None = None,
    outside: Outside | None = None,
    common: Common | None = None,
) -> AsyncIterator[Homeserver]:
    """Run a homeserver while inside the block, and drain it afterwards.

    Raises SettingsError, SigningKeyError, DatabaseError or CannotListen, with words for the operator. The last
    arguments are for tests: cheap password hashes, the other way through the web framework, another network between
    servers, and one of several on one database.
    """
    clock = clock or SystemClock()
    begin_with_signing_key(settings.data_dir)
    async with (
        opened_database(settings) as database,
        run_on(
            database,
            settings,
            clock=clock,
            password_cost=password_cost,
            everything_by_quart=everything_by_quart,
            transport=transport,
            outside=outside,
            common=common,
        ) as homeserver,
    ):
        yield homeserver


@contextlib.asynccontextmanager
async def run_on(
    database: Database,
    settings: Settings,
    *,
    clock: Clock | None = None,
    password_cost: HashCost | None = None,
    everything_by_quart: bool = False,
    transport: Transport | None = None,
    outside: Outside | None = None,
    common: Common | None = None,
    sockets: Sequence[socket.socket] = (),
) -> AsyncIterator[Homeserver]:
    """Run a homeserver on a database that is prepared, and on sockets that are open; alone, or as one of several."""
    clock = clock or SystemClock()
    key, retired = load_or_create_signing_key(settings.data_dir), retired_signing_keys(settings.data_dir)
    policy_key = load_or_create_policy_key(settings.data_dir) if settings.policy_server.enabled else None
    async with contextlib.AsyncExitStack() as stack:
        position = await database.read(current_position)
        if common is None:
            publisher = Publisher(database, position)
        else:
            publisher = Publisher(database, position, common.memory.frontier, common.siblings)
        stack.push_async_callback(publisher.close)
        if transport is None:
            transport = await stack.enter_async_context(open_transport(settings))
        if outside is None:
            outside = await stack.enter_async_context(open_way_out(settings))
        metrics = metrics_if_wanted(settings.metrics)
        base = Foundation(
            settings,
            database,
            publisher,
            key,
            retired,
            clock,
            policy_key,
            common,
            None if metrics is None else metrics.observe_request,
        )
        house = _House(base, transport, outside, password_cost)
        listeners = [_listener(each, house, everything_by_quart) for each in settings.listeners]
        if metrics is not None:
            metrics.watch(
                publisher,
                database.pool,
                connections=lambda: sum(each.application.connections for each in listeners),
                outboxes=lambda: house.exchange.outboxes_waiting,
            )
        async with trio.open_nursery() as nursery:
            await nursery.start(database.run_listeners)
            if common is not None:
                await nursery.start(common.siblings.run)
            for run in house.run:
                nursery.start_soon(run)
            place = 0 if common is None else common.memory.place
            share = None if common is None or not sockets else common.share
            async with (
                telling(metrics, settings.metrics, place, house.accounts.requesters) as metrics_url,
                listening(listeners, sockets=sockets, share=share, drain_seconds=DRAIN_SECONDS) as urls,
            ):
                administration = house.accounts.book.administration
                yield Homeserver(settings, database, urls, administration, house.rooms.state, metrics_url)
            nursery.cancel_scope.cancel()


def administration_of(settings: Settings, database: Database) -> Administration:
    """Return what an operator can do to the accounts of a database, without a server of this process."""

    async def have_all_look_again(_user_id: UserId, _position: int) -> None:
        await announce_unknown_changes(database)

    # A server that runs looks for what its rooms must be told every minute.
    return AccountBook(settings, database, SystemClock(), None, lambda: None, have_all_look_again).administration


def _listener(settings: ListenerSettings, house: _House, everything_by_quart: bool) -> Listener:
    clients, servers = "client" in settings.serves, "federation" in settings.serves
    routes = [
        *house.health_routes,
        *(house.client_routes if clients else ()),
        *(house.federation_routes if servers else ()),
    ]
    accounts = house.accounts
    application = Application(
        Dispatcher(
            routes,
            accounts.requesters,
            accounts.limits,
            peers=house.network.authenticator,
            observe=house.observe,
            others=house.publisher,
            sessions=accounts.book.revocations,
        ),
        trusted_proxies=settings.trusted_proxies,
        everything_by_quart=everything_by_quart,
    )
    websockets = {route.path.encode(): route for route in house.websockets} if clients else {}
    return Listener(settings.bind, application, websockets, settings.tls_certificate, settings.tls_key)


async def _answers(tx: Transaction) -> None:
    await tx.fetchval("SELECT 1")
