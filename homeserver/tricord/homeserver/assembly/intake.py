"""Taking in events of other servers."""

from __future__ import annotations

from tricord.homeserver.assembly.foundation import Foundation
from tricord.homeserver.assembly.network import Network
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.rooms.outliers import Outliers
from tricord.homeserver.rooms.outsiders import Outsiders
from tricord.homeserver.rooms.placement import Placement
from tricord.homeserver.rooms.receive import Receiver
from tricord.homeserver.rooms.resolution import StateResolver


class Intake:
    """What events of other servers go through, and where they come to lie."""

    def __init__(self, base: Foundation, network: Network, rooms: Rooms) -> None:
        database = base.database
        self.outsiders = Outsiders(database, base.publisher, rooms.memberships)
        self.outliers = Outliers(database, rooms.nodes)
        self.resolver = StateResolver(database, rooms.nodes)
        self.placement = Placement(database, rooms.log, rooms.cached, rooms.nodes, self.resolver)
        self.receiver = Receiver(
            rooms.cached, self.outliers, self.placement, network.verifier, network.peers, rooms.policy
        )
