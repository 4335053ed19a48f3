"""Rooms that are shared with other servers: taking in their events, joining theirs, being host to them."""

from __future__ import annotations

from tricord.homeserver.accounts.profiles import Profiles
from tricord.homeserver.assembly.foundation import Foundation
from tricord.homeserver.assembly.intake import Intake
from tricord.homeserver.assembly.network import Network
from tricord.homeserver.assembly.past import Past
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.peers.deliveries import Deliveries
from tricord.homeserver.peers.hosting import Hosting
from tricord.homeserver.peers.joining import RemoteJoins
from tricord.homeserver.peers.memberships import RemoteMemberships
from tricord.homeserver.peers.third_party_invites import ThirdPartyInvites
from tricord.homeserver.peers.told_state import ToldState
from tricord.homeserver.rooms.server_reads import ServerReads


class SharedRooms:
    """What other servers have to do with rooms."""

    def __init__(self, base: Foundation, network: Network, rooms: Rooms, profiles: Profiles) -> None:
        database, peers, verifier = base.database, network.peers, network.verifier
        intake = Intake(base, network, rooms)
        self.receiver, self.outsiders = intake.receiver, intake.outsiders
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
        told_state, deliveries = ToldState(verifier), Deliveries(database)
        self.elsewhere = RemoteMemberships(
            peers,
            deliveries,
            RemoteJoins(
                database,
                peers,
                deliveries,
                intake.outliers,
                intake.placement,
                verifier,
                intake.receiver,
                rooms.residence,
                rooms.partial,
                base.signer,
            ),
            rooms.log,
            intake.placement,
            verifier,
            told_state,
            intake.outsiders,
            rooms.memberships,
            rooms.state,
            rooms.timeline,
            base.signer,
            rooms.policy,
        )
        self.hosting = Hosting(
            rooms.log,
            rooms.state,
            intake.receiver,
            self.reads,
            rooms.residence,
            rooms.partial,
            rooms.restricted_joins,
            rooms.invitations,
            intake.outsiders,
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
        past = Past(base, network, rooms, intake)
        self.backfill, self.completing, self.closest = past.backfill, past.completing, past.closest
