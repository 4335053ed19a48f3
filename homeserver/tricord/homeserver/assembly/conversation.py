"""What users do in rooms."""

from __future__ import annotations

from tricord.federation.transport import Outside
from tricord.homeserver.accounts.user_rooms import UserRooms
from tricord.homeserver.assembly.accounts import Accounts
from tricord.homeserver.assembly.foundation import Foundation, Run
from tricord.homeserver.assembly.network import Network
from tricord.homeserver.assembly.personal import Personal
from tricord.homeserver.assembly.reading import Reading
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.assembly.shared_rooms import SharedRooms
from tricord.homeserver.client_api.delayed_events import DelayedEventsApi
from tricord.homeserver.client_api.directory import DirectoryApi
from tricord.homeserver.client_api.membership import MembershipApi
from tricord.homeserver.client_api.messages import MessagesApi
from tricord.homeserver.client_api.room_creation import RoomCreationApi
from tricord.homeserver.client_api.room_upgrades import RoomUpgradesApi
from tricord.homeserver.client_api.rooms import RoomsApi
from tricord.homeserver.moderation.server_notices import NoticeRooms
from tricord.homeserver.peers.identity_servers import IdentityServers
from tricord.homeserver.rooms.aliases import Aliases
from tricord.homeserver.rooms.create import RoomCreation
from tricord.homeserver.rooms.delayed_events import DelayedEvents
from tricord.homeserver.rooms.directory import Directory
from tricord.homeserver.rooms.guest_access import GuestAccess
from tricord.homeserver.rooms.membership_changes import MembershipChanges
from tricord.homeserver.rooms.relation_checks import RelationChecks
from tricord.homeserver.rooms.send import Sending
from tricord.homeserver.rooms.third_parties import ThirdPartyInvitations
from tricord.homeserver.rooms.upgrade import RoomUpgrade
from tricord.homeserver.serving.call import Route


class Conversation:
    """Creating and joining rooms, giving them names, and sending."""

    def __init__(
        self,
        base: Foundation,
        network: Network,
        accounts: Accounts,
        rooms: Rooms,
        shared: SharedRooms,
        personal: Personal,
        reading: Reading,
        outside: Outside,
    ) -> None:
        database, state, memberships, timeline = base.database, rooms.state, rooms.memberships, rooms.timeline
        profiles, server_name, clock = accounts.profiles, base.server_name, base.clock
        self._memberships = memberships
        self._reading = reading
        self._room_updates = accounts.room_updates
        self.changes = MembershipChanges(
            rooms.log,
            state,
            memberships,
            rooms.invitations,
            rooms.restricted_joins,
            profiles,
            rooms.residence,
            rooms.partial,
            shared.elsewhere,
            personal.moving_in,
            NoticeRooms(database),
            rooms.admission,
        )
        self._third_parties = ThirdPartyInvitations(
            rooms.log,
            state,
            profiles,
            rooms.partial,
            self.changes,
            IdentityServers(outside, base.settings.identity_servers.trusted),
        )
        self.aliases = Aliases(
            database, rooms.log, state, memberships, rooms.visibility, clock, server_name, network.queries
        )
        self.directory = Directory(database, state, memberships, clock, server_name, network.queries)
        self.creation = RoomCreation(
            rooms.log,
            self.aliases,
            self.directory,
            rooms.invitations,
            profiles,
            clock,
            default_version=base.settings.default_room_version,
            elsewhere=shared.elsewhere,
            third_parties=self._third_parties,
        )
        self._upgrade = RoomUpgrade(
            database,
            rooms.log,
            state,
            timeline,
            memberships,
            profiles,
            personal.moving_in,
            rooms.partial,
            clock,
            server_name,
        )
        relation_checks = RelationChecks(timeline, memberships)
        self._sending = Sending(rooms.log, state, timeline, self.changes, self.aliases, relation_checks)
        self._delayed = DelayedEvents(database, self._sending, memberships, clock, base.settings.delayed_events)
        self._clock = clock
        self._unanswered = rooms.unanswered
        self._guest_access = GuestAccess(
            database, base.publisher, rooms.log, state, guests_come=base.settings.registration.guests
        )
        self._user_rooms = UserRooms(memberships, state, rooms.log, self.changes, profiles)

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self._tell_rooms, self._guest_access.run, self._delayed.run]

    async def _tell_rooms(self) -> None:
        await self._room_updates.run(self._user_rooms)

    def routes(self) -> list[Route]:
        """Return what clients are answered about rooms."""
        apis = (
            RoomCreationApi(self.creation),
            RoomUpgradesApi(self._upgrade),
            MembershipApi(self.changes, self._memberships, self.aliases, self._third_parties),
            RoomsApi(self._sending, self._delayed, self._reading.state_view),
            MessagesApi(self._sending, self._delayed, self._reading.history, self._unanswered),
            DelayedEventsApi(self._delayed, self._clock),
            DirectoryApi(self.aliases, self.directory),
        )
        return [route for api in apis for route in api.routes()]
