"""Networks that are bridged to Matrix, their places and their people.

https://spec.matrix.org/v1.19/client-server-api/#third-party-networks
"""

from __future__ import annotations

from typing import Literal

from tricord.clients.endpoint import Endpoint, Model
from tricord.protocol.identifiers import RoomAlias, UserId


class GetProtocols(Endpoint):
    """Ask which networks are bridged.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartyprotocols
    """

    method = "GET"
    path = "/_matrix/client/v3/thirdparty/protocols"
    hot = True


class GetProtocol(Endpoint):
    """Ask about one network.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartyprotocolprotocol
    """

    method = "GET"
    path = "/_matrix/client/v3/thirdparty/protocol/{protocol}"


class GetLocationsOfProtocol(Endpoint):
    """Ask which rooms lead to a place of a network; the query has the fields of the network.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartylocationprotocol
    """

    method = "GET"
    path = "/_matrix/client/v3/thirdparty/location/{protocol}"


class GetUsersOfProtocol(Endpoint):
    """Ask which Matrix users stand for a user of a network; the query has the fields of the network.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartyuserprotocol
    """

    method = "GET"
    path = "/_matrix/client/v3/thirdparty/user/{protocol}"


class GetLocations(Endpoint):
    """Ask to which places of networks a room leads.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartylocation
    """

    method = "GET"
    path = "/_matrix/client/v3/thirdparty/location"

    class Query(Model):
        """The room."""

        alias: RoomAlias


class GetUsers(Endpoint):
    """Ask for which users of networks a Matrix user stands.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartyuser
    """

    method = "GET"
    path = "/_matrix/client/v3/thirdparty/user"

    class Query(Model):
        """The user."""

        userid: UserId


class SetNetworkVisibility(Endpoint):
    """Put a room into the directory of a bridged network, or take it out; for the application service of the network.

    https://spec.matrix.org/v1.19/application-service-api/#put_matrixclientv3directorylistappservicenetworkidroomid
    """

    method = "PUT"
    path = "/_matrix/client/v3/directory/list/appservice/{network_id}/{room_id}"

    class Body(Model):
        """In or out."""

        visibility: Literal["public", "private"]
