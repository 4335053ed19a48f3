"""The parts of a homeserver that rooms are made of, on a database, with the routes by which clients use them."""

from __future__ import annotations

import trio

from tricord.homeserver.client_api.directory import DirectoryApi
from tricord.homeserver.client_api.membership import MembershipApi
from tricord.homeserver.client_api.messages import MessagesApi
from tricord.homeserver.client_api.relations import RelationsApi
from tricord.homeserver.client_api.room_creation import RoomCreationApi
from tricord.homeserver.client_api.rooms import RoomsApi
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
from tricord.homeserver.rooms.people import Profiles
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
from tricord.homeserver.serving.call import Route
from tricord.homeserver.storage.database import Database
from tricord.homeserver.stream.publisher import Publisher
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.protocol.identifiers import ServerName
from tricord.protocol.signing import SigningKey

HERE = ServerName("hs.test")


class RoomParts:
    """The real parts; what people are called, a test says. The database may have been that of others before."""

    def __init__(self, database: Database, position: int, profiles: Profiles) -> None:
        self.clock = clock = SystemClock()
        self.publisher = publisher = Publisher(database, position)
        self.changes = RecentChanges(publisher)
        cached_rooms, nodes = CachedRooms(database, publisher), NodeCache(database)
        self.state = state = RoomState(database, cached_rooms, nodes)
        self.timeline = timeline = Timeline(database, cached_rooms)
        self.memberships = memberships = Memberships(database, publisher)
        self.partial_rooms = partial_rooms = PartialRooms(database)
        signer = Signer(HERE, SigningKey.generate(), clock)
        committer = Committer(database, publisher, cached_rooms, nodes, memberships, signer)
        self.log = log = Log(database, cached_rooms, committer, signer)
        self.preferences = preferences = Preferences(database, publisher)
        self.visibility = visibility = Visibility(state, timeline, memberships, preferences)
        self.aggregations = aggregations = Aggregations(database, timeline, visibility, preferences)
        self.client_events = client_events = ClientEvents(timeline, aggregations, clock)
        self.state_view = StateView(state, timeline, visibility, client_events, partial_rooms)
        self.thread_updates = ThreadUpdates(database, timeline, visibility, preferences, aggregations, clock)
        self.unanswered = Unanswered(clock, elsewhere=False)
        invitations = Invitations(HERE, preferences)
        moves = MembershipChanges(
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
        sending = Sending(log, state, timeline, moves, aliases, RelationChecks(timeline, memberships))
        delayed = DelayedEvents(database, sending, memberships, clock, DelayedEventSettings())
        history = History(state, timeline, visibility, client_events, publisher)
        threads = ThreadList(database, timeline, visibility, preferences, aggregations, client_events)
        apis = (
            RoomCreationApi(creation),
            MembershipApi(moves, memberships, aliases),
            RoomsApi(sending, delayed, self.state_view),
            MessagesApi(sending, delayed, history, self.unanswered),
            RelationsApi(Relations(database, timeline, visibility, client_events)),
            ThreadsApi(threads, self.thread_updates, memberships),
            DirectoryApi(aliases, directory),
        )
        self.routes: list[Route] = [route for api in apis for route in api.routes()]

    def start(self, nursery: trio.Nursery) -> None:
        """Start those that live long."""
        nursery.start_soon(self.log.run)
        nursery.start_soon(self.publisher.run)
