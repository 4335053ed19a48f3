"""Rooms: the log of events, and what is read from it."""

from __future__ import annotations

from tricord.homeserver.assembly.foundation import Foundation, LetGo, Run
from tricord.homeserver.assembly.network import Network
from tricord.homeserver.moderation.policy_lists import PolicyLists
from tricord.homeserver.peers.policy_servers import PolicyServers
from tricord.homeserver.peers.recommendations import Recommendations
from tricord.homeserver.rooms.aggregations import Aggregations
from tricord.homeserver.rooms.append import Log
from tricord.homeserver.rooms.cached_rooms import CachedRooms
from tricord.homeserver.rooms.client_events import ClientEvents
from tricord.homeserver.rooms.commit import Committer
from tricord.homeserver.rooms.invite import Invitations
from tricord.homeserver.rooms.memberships import Memberships
from tricord.homeserver.rooms.node_cache import NodeCache
from tricord.homeserver.rooms.partial_rooms import PartialRooms
from tricord.homeserver.rooms.preferences import Preferences
from tricord.homeserver.rooms.residence import Residence
from tricord.homeserver.rooms.restricted_joins import RestrictedJoins
from tricord.homeserver.rooms.retention import Retention
from tricord.homeserver.rooms.state import RoomState
from tricord.homeserver.rooms.thread_updates import ThreadUpdates
from tricord.homeserver.rooms.timeline import Timeline
from tricord.homeserver.rooms.unanswered import Unanswered
from tricord.homeserver.rooms.visibility import Visibility
from tricord.homeserver.rooms.writing_turns import WritingTurns
from tricord.homeserver.stream.recent_changes import RecentChanges
from tricord.protocol.identifiers import RoomId


class Rooms:
    """The log and its readers, whoever sent the events."""

    def __init__(self, base: Foundation, network: Network) -> None:
        database, publisher = base.database, base.publisher
        common = base.common
        self.cached = CachedRooms(database, publisher, None if common is None else common.siblings)
        self.nodes = NodeCache(database)
        self.changes = RecentChanges(publisher)
        self.state = RoomState(database, self.cached, self.nodes)
        self.timeline = Timeline(database, self.cached)
        self.memberships = Memberships(database, publisher)
        self.recommendations = (
            None if base.policy_key is None else Recommendations(base.settings.policy_server, base.policy_key)
        )
        self.policy = PolicyServers(base.server_name, self.state, self.memberships, network.peers, self.recommendations)
        self.log = Log(
            database,
            self.cached,
            Committer(database, publisher, self.cached, self.nodes, self.memberships, base.signer),
            base.signer,
            self.policy,
            None if common is None else WritingTurns(common.siblings, common.memory, self.cached),
        )
        self.partial = PartialRooms(database)
        self.preferences = Preferences(database, publisher)
        self.retention = Retention(self.state, base.clock, base.settings.retention)
        self.visibility = Visibility(self.state, self.timeline, self.memberships, self.preferences, self.retention)
        self.aggregations = Aggregations(database, self.timeline, self.visibility, self.preferences)
        self.thread_updates = ThreadUpdates(
            database, self.timeline, self.visibility, self.preferences, self.aggregations, base.clock
        )
        self.unanswered = Unanswered(base.clock, elsewhere=common is not None)
        self.client_events = ClientEvents(self.timeline, self.aggregations, base.clock)
        lists = [RoomId(room_id) for room_id in base.settings.moderation.policy_lists]
        self.admission = PolicyLists(lists, base.server_name, self.state, publisher)
        self.invitations = Invitations(base.server_name, self.preferences, self.admission)
        self.restricted_joins = RestrictedJoins(self.memberships, base.server_name)
        self.residence = Residence(base.server_name, self.memberships, self.state, self.partial)

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self.log.run]

    @property
    def let_go(self) -> list[LetGo]:
        """Return how they forget."""
        return [self.cached.let_go, self.nodes.let_go]
