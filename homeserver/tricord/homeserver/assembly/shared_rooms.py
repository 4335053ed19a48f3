"""Rooms that are shared with other servers: taking in their events, joining theirs, being host to them."""

from __future__ import annotations

from tricord.homeserver.accounts.profiles import Profiles
from tricord.homeserver.assembly.foundation import Foundation
from tricord.homeserver.assembly.network import Network
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.peers.backfill import Backfill
from tricord.homeserver.peers.closest_event import ClosestElsewhere
from tricord.homeserver.peers.completion import Completing
from tricord.homeserver.peers.early_history import EarlyHistory
from tricord.homeserver.peers.hosting import Hosting
from tricord.homeserver.peers.joining import RemoteJoins
from tricord.homeserver.peers.memberships import RemoteMemberships
from tricord.homeserver.peers.past import PastStates
from tricord.homeserver.peers.removals import Removals
from tricord.homeserver.peers.third_party_invites import ThirdPartyInvites
from tricord.homeserver.peers.told_state import ToldState
from tricord.homeserver.rooms.outliers import Outliers
from tricord.homeserver.rooms.outsiders import Outsiders
from tricord.homeserver.rooms.placement import Placement
from tricord.homeserver.rooms.receive import Receiver
from tricord.homeserver.rooms.resolution import StateResolver
from tricord.homeserver.rooms.server_reads import ServerReads
from tricord.homeserver.rooms.whole_state import WholeStates


class SharedRooms:
    """What other servers have to do with rooms."""

    def __init__(self, base: Foundation, network: Network, rooms: Rooms, profiles: Profiles) -> None:
        database, peers, verifier = base.database, network.peers, network.verifier
        self.outsiders = Outsiders(database, base.publisher, rooms.memberships)
        outliers = Outliers(database, rooms.nodes)
        resolver = StateResolver(database, rooms.nodes)
        placement = Placement(database, rooms.log, rooms.cached, rooms.nodes, resolver)
        self.receiver = Receiver(rooms.cached, outliers, placement, verifier, peers, rooms.policy)
        self.reads = ServerReads(
            database,
            rooms.cached,
            rooms.nodes,
            rooms.state,
            rooms.timeline,
            rooms.memberships,
            rooms.partial,
            rooms.retention,
        )
        told_state = ToldState(verifier)
        self.elsewhere = RemoteMemberships(
            peers,
            RemoteJoins(
                database,
                peers,
                outliers,
                placement,
                verifier,
                self.receiver,
                rooms.residence,
                rooms.partial,
                base.signer,
            ),
            rooms.log,
            placement,
            verifier,
            told_state,
            self.outsiders,
            rooms.memberships,
            rooms.state,
            rooms.timeline,
            base.signer,
            rooms.policy,
        )
        self.hosting = Hosting(
            rooms.log,
            rooms.state,
            self.receiver,
            self.reads,
            rooms.residence,
            rooms.partial,
            rooms.restricted_joins,
            rooms.invitations,
            self.outsiders,
            rooms.memberships,
            profiles,
            verifier,
            told_state,
            base.signer,
            rooms.admission,
        )
        self.third_party_invites = ThirdPartyInvites(
            rooms.log, rooms.state, rooms.residence, self.reads, rooms.invitations, self.elsewhere, peers
        )
        states = PastStates(database, rooms.nodes, resolver, self.receiver)
        early = EarlyHistory(database, rooms.nodes, rooms.residence, rooms.partial, outliers, self.receiver, states)
        self.backfill = Backfill(
            database,
            rooms.cached,
            rooms.nodes,
            rooms.residence,
            rooms.partial,
            peers,
            verifier,
            outliers,
            self.receiver,
            states,
            early,
        )
        self.completing = Completing(
            database,
            peers,
            rooms.cached,
            rooms.partial,
            WholeStates(
                database,
                base.publisher,
                rooms.log,
                rooms.cached,
                rooms.nodes,
                rooms.memberships,
                rooms.partial,
                base.server_name,
            ),
            self.backfill,
            early,
            Removals(
                database,
                rooms.cached,
                rooms.nodes,
                outliers,
                placement,
                verifier,
                rooms.memberships,
                self.outsiders,
                rooms.residence,
            ),
            outliers,
            verifier,
            self.receiver,
            rooms.residence,
            base.clock,
        )
        self.closest = ClosestElsewhere(rooms.timeline, rooms.residence, peers, self.backfill)
