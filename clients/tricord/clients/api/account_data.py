"""What clients keep on the server for their user, and the tags of rooms, which are such data too.

https://spec.matrix.org/v1.19/client-server-api/#client-config
"""

from __future__ import annotations

from typing import Any

from tricord.clients.endpoint import Endpoint, Model

_GLOBAL = "/_matrix/client/v3/user/{user_id}/account_data/{type}"
_OF_ROOM = "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/account_data/{type}"
_TAG = "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags/{tag}"


class GetAccountData(Endpoint):
    """Read a piece of account data.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridaccount_datatype
    """

    method = "GET"
    path = _GLOBAL
    hot = True
    body_kind = "none"


class SetAccountData(Endpoint):
    """Write a piece of account data; the body is the content.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridaccount_datatype
    """

    method = "PUT"
    path = _GLOBAL
    hot = True


class GetRoomAccountData(Endpoint):
    """Read a piece of account data about a room.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridroomsroomidaccount_datatype
    """

    method = "GET"
    path = _OF_ROOM
    hot = True
    body_kind = "none"


class SetRoomAccountData(Endpoint):
    """Write a piece of account data about a room; the body is the content.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridroomsroomidaccount_datatype
    """

    method = "PUT"
    path = _OF_ROOM
    hot = True


class GetTags(Endpoint):
    """List the tags of a room.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridroomsroomidtags
    """

    method = "GET"
    path = "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags"
    hot = True
    body_kind = "none"

    class Response(Model):
        """What is known of each tag, such as its `order`."""

        tags: dict[str, Any]


class SetTag(Endpoint):
    """Tag a room; the body says more about the tag, such as its `order`.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridroomsroomidtagstag
    """

    method = "PUT"
    path = _TAG
    hot = True
    max_body = 64 << 10


class DeleteTag(Endpoint):
    """Take a tag off a room.

    https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3useruseridroomsroomidtagstag
    """

    method = "DELETE"
    path = _TAG
    hot = True
