"""What passes, and what belongs to one user: account data, push rules, receipts, typing, presence."""

from __future__ import annotations

from tricord.homeserver.accounts.account_data import AccountData
from tricord.homeserver.accounts.moving_in import CarriedOver
from tricord.homeserver.accounts.presence import Presences
from tricord.homeserver.accounts.remote_presence import RemotePresences
from tricord.homeserver.assembly.foundation import Foundation, Run
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.client_api.account_data import AccountDataApi
from tricord.homeserver.client_api.presence import PresenceApi
from tricord.homeserver.client_api.push_rules import PushRulesApi
from tricord.homeserver.client_api.receipts import ReceiptsApi
from tricord.homeserver.client_api.typing import TypingApi
from tricord.homeserver.push.rules import PushRules
from tricord.homeserver.rooms.read_markers import ReadMarkers
from tricord.homeserver.rooms.receipts import Receipts
from tricord.homeserver.rooms.typing import Typing
from tricord.homeserver.serving.call import Route


class Personal:
    """What users have set and read, and what they do right now."""

    def __init__(self, base: Foundation, rooms: Rooms) -> None:
        database, publisher, clock = base.database, base.publisher, base.clock
        self._memberships = rooms.memberships
        self.push_rules = PushRules(database, publisher)
        self.account_data = AccountData(database, publisher, rooms.memberships, self.push_rules.content)
        self.moving_in = CarriedOver(rooms.state, rooms.memberships, self.account_data, self.push_rules)
        self.receipts = Receipts(database, publisher)
        self._read_markers = ReadMarkers(self.receipts, rooms.timeline, rooms.memberships, self.account_data, clock)
        self.typing = Typing(database, publisher, clock)
        self.presences = Presences(database, publisher, rooms.memberships, clock, is_local=rooms.residence.is_local)
        self.remote_presences = RemotePresences(base.server_name, database, publisher, rooms.memberships, clock)

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self.typing.run, self.presences.run, self.remote_presences.run]

    def routes(self) -> list[Route]:
        """Return what clients are answered about them."""
        apis = (
            AccountDataApi(self.account_data),
            TypingApi(self.typing, self._memberships),
            ReceiptsApi(self._read_markers),
            PresenceApi(self.presences),
            PushRulesApi(self.push_rules),
        )
        return [route for api in apis for route in api.routes()]
