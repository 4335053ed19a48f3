"""The exchange with other servers: the transactions that come in and go out, and what they ask of us."""

from __future__ import annotations

from tricord.homeserver.assembly.accounts import Accounts
from tricord.homeserver.assembly.conversation import Conversation
from tricord.homeserver.assembly.discovery import Discovery
from tricord.homeserver.assembly.encryption import Encryption
from tricord.homeserver.assembly.foundation import Foundation, Run
from tricord.homeserver.assembly.network import Network
from tricord.homeserver.assembly.personal import Personal
from tricord.homeserver.assembly.rooms import Rooms
from tricord.homeserver.assembly.shared_rooms import SharedRooms
from tricord.homeserver.federation_api.encryption import FederationKeysApi
from tricord.homeserver.federation_api.keys import KeysApi
from tricord.homeserver.federation_api.memberships import FederationMembershipsApi
from tricord.homeserver.federation_api.openid import OpenIdUserInfoApi
from tricord.homeserver.federation_api.policy import PolicyApi
from tricord.homeserver.federation_api.queries import FederationQueriesApi
from tricord.homeserver.federation_api.rooms import FederationRoomsApi
from tricord.homeserver.federation_api.spaces import FederationSpacesApi
from tricord.homeserver.federation_api.third_party import ThirdPartyInvitesApi
from tricord.homeserver.federation_api.transactions import TransactionsApi
from tricord.homeserver.peers.edus import Edus
from tricord.homeserver.peers.incoming import IncomingTransactions
from tricord.homeserver.peers.incoming_presence import IncomingPresence
from tricord.homeserver.peers.incoming_receipts import IncomingReceipts
from tricord.homeserver.peers.incoming_typing import IncomingTyping
from tricord.homeserver.peers.room_servers import RoomServers
from tricord.homeserver.peers.sender import Sender
from tricord.homeserver.serving.call import Route


class Exchange:
    """What comes from other servers, and what goes to them."""

    def __init__(
        self,
        base: Foundation,
        network: Network,
        rooms: Rooms,
        shared: SharedRooms,
        accounts: Accounts,
        personal: Personal,
        conversation: Conversation,
        discovery: Discovery,
        encryption: Encryption,
    ) -> None:
        database, clock, memberships = base.database, base.clock, rooms.memberships
        timeline, reads = rooms.timeline, shared.reads
        edus = Edus(
            {
                "m.typing": IncomingTyping(personal.typing, memberships, reads).receive,
                "m.receipt": IncomingReceipts(personal.receipts, timeline, memberships, reads, clock).receive,
                "m.presence": IncomingPresence(personal.remote_presences, memberships, clock).receive,
                "m.direct_to_device": encryption.incoming.receive_messages,
                "m.device_list_update": encryption.incoming.receive_update,
                "m.signing_key_update": encryption.incoming.receive_identity,
            }
        )
        self._incoming = IncomingTransactions(
            database,
            rooms.cached,
            shared.receiver,
            reads,
            rooms.residence,
            rooms.partial,
            memberships,
            shared.outsiders,
            network.verifier,
            edus,
            clock,
        )
        self._sender = Sender(
            base.server_name,
            database,
            base.publisher,
            RoomServers(database, base.publisher),
            memberships,
            network.peers,
            network.health,
            clock,
            sends_presence=base.settings.federation.presence,
            tells_device_names=base.settings.federation.device_names,
        )
        encryption.on_edus(self._sender.look_for_edus)
        policy = rooms.recommendations
        self._completing = shared.completing
        self._apis = (
            *(() if policy is None else (PolicyApi(policy, rooms.cached, rooms.policy, reads, network.verifier),)),
            KeysApi(network.keys, base.server_name, clock),
            TransactionsApi(self._incoming),
            FederationMembershipsApi(shared.hosting),
            FederationRoomsApi(reads, timeline, base.server_name, clock),
            FederationSpacesApi(discovery.previews),
            FederationKeysApi(encryption.queries),
            ThirdPartyInvitesApi(shared.third_party_invites),
            OpenIdUserInfoApi(accounts.openid_tokens),
            FederationQueriesApi(conversation.aliases, accounts.profiles, conversation.directory),
        )

    @property
    def outboxes_waiting(self) -> int:
        """How many other servers something waits for."""
        return self._sender.waiting

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self._incoming.run, self._sender.run, self._completing.run]

    def routes(self) -> list[Route]:
        """Return what other servers are answered."""
        return [route for api in self._apis for route in api.routes()]
