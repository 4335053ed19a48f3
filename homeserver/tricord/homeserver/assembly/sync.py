"""Sync: what changed between two positions, over HTTP and WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tricord.clients.api.websocket import PATH as WEBSOCKET_PATH
from tricord.homeserver.assembly.accounts import Accounts
from tricord.homeserver.assembly.encryption import Encryption
from tricord.homeserver.assembly.foundation import Foundation, LetGo
from tricord.homeserver.assembly.personal import Personal
from tricord.homeserver.assembly.push import Push
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.client_api.sync import SyncApi
from tricord.homeserver.serving.call import LateRoutes, Route, WebSocketRoute
from tricord.homeserver.serving.dispatch import Dispatcher
from tricord.homeserver.storage.aliases import published_rooms
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
from tricord.homeserver.sync.teller import RoomTeller
from tricord.homeserver.sync.websocket import WebSocketSync
from tricord.homeserver.sync.windows import Windows
from tricord.protocol.identifiers import RoomId


class Sync:
    """The engine of sync, and the ways in which clients follow it."""

    def __init__(
        self, base: Foundation, accounts: Accounts, rooms: Rooms, personal: Personal, push: Push, encryption: Encryption
    ) -> None:
        database, state, timeline, memberships = base.database, rooms.state, rooms.timeline, rooms.memberships
        self._accounts = accounts
        self._presences = personal.presences
        self._filters = SyncFilters(database)
        self._database = database
        self._publisher, self._observe = base.publisher, base.observe
        self._windows = windows = Windows(database, timeline, state, rooms.changes, rooms.retention)
        account_data = AccountDataSection(database, personal.push_rules)
        invites = InviteSection(timeline, state, rooms.preferences)
        summaries = SummarySection(memberships, state)
        devices = DevicesSection(
            encryption.device_keys,
            encryption.inboxes,
            encryption.device_lists,
            memberships,
            base.publisher,
            rooms.changes,
        )
        unreadable = UnreadableRooms()
        self._engine = SyncEngine(
            database,
            base.publisher,
            rooms.changes,
            memberships,
            Planner(timeline, state, memberships, rooms.partial, windows),
            RoomTeller(
                database,
                memberships,
                rooms.visibility,
                rooms.preferences,
                windows,
                invites,
                LazyMembers(state),
                summaries,
                push.counts,
                rooms.aggregations,
                rooms.unanswered,
                base.clock,
            ),
            unreadable,
            account_data,
            PresenceSection(database, memberships, rooms.preferences, base.clock, enabled=True),
            devices,
        )
        self._initial_syncs = InitialSyncs(
            self._engine, self._filters, memberships, timeline, rooms.client_events, self._published
        )

        def load_sliding() -> Callable[[], list[Route]]:
            from tricord.homeserver.assembly.sliding_sync import sliding_routes

            return partial(
                sliding_routes,
                base,
                rooms,
                push,
                encryption,
                personal.presences,
                engine=self._engine,
                windows=windows,
                account_data=account_data,
                invites=invites,
                summaries=summaries,
                devices=devices,
                unreadable=unreadable,
            )

        self._sliding = LateRoutes("/_matrix/client/unstable/org.matrix.simplified_msc3575", load=load_sliding)

    @property
    def let_go(self) -> list[LetGo]:
        """Return how the parts forget."""
        return [self._windows.let_go]

    async def _published(self) -> frozenset[RoomId]:
        return frozenset(await self._database.read(published_rooms))

    def routes(self) -> list[Route | LateRoutes]:
        """Return what clients are answered who follow by HTTP."""
        return [
            *SyncApi(self._engine, self._filters, self._presences, self._initial_syncs).routes(),
            self._sliding,
        ]

    def websockets(self, requests: Sequence[Route | LateRoutes]) -> list[WebSocketRoute]:
        """Return the sockets by which clients follow; requests over them are answered as over HTTP."""
        requesters, revocations = self._accounts.requesters, self._accounts.book.revocations
        dispatcher = Dispatcher(
            requests, requesters, self._accounts.limits, observe=self._observe, others=self._publisher
        )
        socket = WebSocketSync(
            self._engine, self._filters, self._presences, requesters, revocations, dispatcher, self._publisher
        )
        return [WebSocketRoute(WEBSOCKET_PATH, socket.serve)]
