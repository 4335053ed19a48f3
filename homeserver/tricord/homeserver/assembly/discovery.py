"""Finding rooms and people that one does not know yet."""

from __future__ import annotations

from tricord.homeserver.accounts.mutual_rooms import MutualRooms
from tricord.homeserver.accounts.user_directory import DirectoryKeeper, UserDirectory
from tricord.homeserver.assembly.conversation import Conversation
from tricord.homeserver.assembly.foundation import Foundation, Run
from tricord.homeserver.assembly.network import Network
from tricord.homeserver.assembly.personal import Personal
from tricord.homeserver.assembly.reading import Reading
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.client_api.people import PeopleApi
from tricord.homeserver.client_api.previews import PreviewsApi
from tricord.homeserver.client_api.spaces import SpacesApi
from tricord.homeserver.client_api.third_party import ThirdPartyApi
from tricord.homeserver.peers.remote_previews import RemotePreviews
from tricord.homeserver.rooms.hierarchy import Hierarchy
from tricord.homeserver.rooms.peeking import Peeking
from tricord.homeserver.rooms.previews import Previews
from tricord.homeserver.rooms.summaries import Summaries
from tricord.homeserver.serving.call import Route


class Discovery:
    """Spaces, rooms from outside, people, bridged networks."""

    def __init__(
        self,
        base: Foundation,
        network: Network,
        rooms: Rooms,
        personal: Personal,
        reading: Reading,
        conversation: Conversation,
    ) -> None:
        elsewhere = RemotePreviews(network.peers, base.server_name)
        self.previews = Previews(rooms.state, rooms.memberships, base.server_name)
        hierarchy = Hierarchy(base.database, self.previews, rooms.memberships, base.clock, elsewhere)
        summaries = Summaries(self.previews, rooms.memberships, elsewhere)
        people = UserDirectory(
            base.database, rooms.memberships, rooms.state, all_local_users=base.settings.user_directory.all_local_users
        )
        self._keeper = DirectoryKeeper(base.database, base.publisher, rooms.residence)
        peeking = Peeking(
            reading.history,
            reading.state_view,
            rooms.timeline,
            rooms.visibility,
            rooms.client_events,
            rooms.memberships,
            conversation.directory,
            base.publisher,
            personal.account_data.of_room,
        )
        self._apis = (
            PreviewsApi(peeking),
            SpacesApi(hierarchy, summaries, conversation.aliases),
            PeopleApi(people, MutualRooms(rooms.memberships)),
            ThirdPartyApi(),
        )

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self._keeper.run]

    def routes(self) -> list[Route]:
        """Return what clients are answered."""
        return [route for api in self._apis for route in api.routes()]
