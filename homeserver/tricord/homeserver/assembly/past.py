"""Fetching from other servers what happened before, and who is there."""

from __future__ import annotations

from tricord.homeserver.assembly.foundation import Foundation
from tricord.homeserver.assembly.intake import Intake
from tricord.homeserver.assembly.network import Network
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.peers.backfill import Backfill
from tricord.homeserver.peers.closest_event import ClosestElsewhere
from tricord.homeserver.peers.completion import Completing
from tricord.homeserver.peers.early_history import EarlyHistory
from tricord.homeserver.peers.past import PastStates
from tricord.homeserver.peers.removals import Removals
from tricord.homeserver.rooms.whole_state import WholeStates


class Past:
    """The history of rooms that began elsewhere, and the members that were left out when they were joined."""

    def __init__(self, base: Foundation, network: Network, rooms: Rooms, intake: Intake) -> None:
        database, peers, verifier = base.database, network.peers, network.verifier
        states = PastStates(database, rooms.nodes, intake.resolver, intake.receiver)
        early = EarlyHistory(
            database, rooms.nodes, rooms.residence, rooms.partial, intake.outliers, intake.receiver, states
        )
        self.backfill = Backfill(
            database,
            rooms.cached,
            rooms.nodes,
            rooms.residence,
            rooms.partial,
            peers,
            verifier,
            intake.outliers,
            intake.receiver,
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
                intake.outliers,
                intake.placement,
                verifier,
                rooms.memberships,
                intake.outsiders,
                rooms.residence,
            ),
            intake.outliers,
            verifier,
            intake.receiver,
            rooms.residence,
            base.clock,
        )
        self.closest = ClosestElsewhere(rooms.timeline, rooms.residence, peers, self.backfill)
